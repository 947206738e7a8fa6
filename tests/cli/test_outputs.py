"""Reports that cannot be written: one line that says so, and what was done is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from code_forensics.cli import outputs
from code_forensics.engine.errors import InputError

from tests.cli.in_process import run
from tests.conftest import draw_photo

BIN = Path(sys.executable).parent
FULL = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """photos/ and ws/ with a gallery of them."""
    folder = tmp_path_factory.mktemp("outputs")
    draw_photo(folder / "photos" / "a.png", 1)
    run(
        *("code-index", "build", "g", "--real", folder / "photos", "--fake", folder / "photos"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder


@pytest.mark.parametrize(
    ("options", "state"),
    [
        (("--jsonl", "/dev/full"), "failed"),
        (("--jsonl", "-"), "failed"),
        (("--csv", "-"), "finished"),
        ((), "finished"),
    ],
    ids=["lines", "lines on stdout", "a report", "the summary"],
)
def test_a_full_disk_is_said_in_a_line(space: Path, options: tuple[str, ...], state: str) -> None:
    with FULL.open("w") as stdout:
        done = subprocess.run(
            [BIN / "code-scan", space / "photos", *options],
            stdout=stdout, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "CODE_WORKSPACE": str(space / "ws"), "NO_COLOR": "1"},
        )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and ("space" in last or "room" in last)
    listed = run("code-report", "list", "--workspace", space / "ws").stdout
    assert state in listed.splitlines()[-1]


@pytest.mark.parametrize("option", ["--csv", "--jsonl", "--html"])
def test_a_report_never_takes_the_place_of_a_picture(space: Path, option: str) -> None:
    picture = space / "photos" / "a.png"
    before = picture.read_bytes()
    refused = run(
        "code-scan", space / "photos", option, picture, "--workspace", space / "ws", code=2
    )
    assert "would overwrite a file that is not a report" in refused.stderr
    assert picture.read_bytes() == before


def test_two_reports_to_one_file_are_noticed_however_it_is_spelt(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for other in (tmp_path / "both.txt", Path("link/both.txt")):
        done = run(
            *("code-scan", space / "photos", "--csv", "both.txt", "--json", other),
            *("--workspace", space / "ws"),
            code=2,
        )
        assert "to one place" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_pipe_is_written_to_and_not_read(space: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        run("code-scan", space / "photos", "-q", "--jsonl", pipe, "--workspace", space / "ws")
        assert '"verdict"' in reader.communicate(timeout=30)[0]


def test_lines_of_a_scan_are_those_of_its_export(space: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw_photo(folder / "b.jpg", 2)
    workspace = ("--workspace", space / "ws")
    run("code-scan", folder, "-q", "--jsonl", tmp_path / "scan.jsonl", *workspace)
    run("code-report", "export", "latest", "--jsonl", tmp_path / "export.jsonl", *workspace)
    assert (tmp_path / "scan.jsonl").read_bytes() == (tmp_path / "export.jsonl").read_bytes()


def write(target: Path, text: str) -> None:
    with outputs.whole(target) as stream:
        stream.write(text)


def test_pipes_and_devices_are_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "null"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    outputs.check_targets([pipe, link])
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        write(pipe, "rows")
        assert reader.communicate(timeout=30)[0] == "rows"
    write(link, "rows")
    assert pipe.is_fifo() and link.is_symlink() and Path("/dev/null").is_char_device()


@pytest.mark.skipif(os.name != "posix", reason="other shells close nothing")
def test_a_report_is_written_where_there_is_no_stdout(space: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.csv"
    target.touch()
    command = (BIN / "code-scan", space / "photos", "-q", "--csv", target)
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command, "--workspace", space / "ws"], check=False
    )
    assert done.returncode == 0
    assert target.read_text().startswith("path,sha256,")


@pytest.mark.skipif(os.name != "posix", reason="other shells close nothing")
@pytest.mark.parametrize(
    ("closed", "said"),
    [
        (">&-", "error: standard output is closed; name a file instead of -\n"),
        (">&- 2>&-", ""),
        ("2>&-", None),
    ],
)
def test_closed_streams_stop_nothing_but_what_was_to_go_there(
    space: Path, closed: str, said: str | None
) -> None:
    def ran(*command: str | Path) -> subprocess.CompletedProcess[str]:
        shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command, "--workspace", space / "ws"]
        return subprocess.run(shell, capture_output=True, text=True, check=False)

    scan = (BIN / "code-scan", space / "photos")
    for command in (scan, (BIN / "code-report", "list"), (BIN / "code-report", "show", "latest")):
        done = ran(*command)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    done = ran(*scan, "--csv", "-")
    if said is None:
        assert done.stdout.startswith("path,sha256,")
    else:
        assert (done.returncode, done.stderr) == (2, said)


def test_a_command_ends_with_all_it_has_written_and_without_pythons_farewell(space: Path) -> None:
    program = (
        "import atexit\n"
        "from code_forensics.cli.report import main\n"
        "atexit.register(print, 'farewell')\n"
        "main()\n"
    )
    listed = [
        subprocess.run(
            [*command, "list", "--workspace", space / "ws"], capture_output=True, check=True
        )
        for command in ([sys.executable, "-c", program], [BIN / "code-report"])
    ]
    assert listed[0].stdout == listed[1].stdout != b""


def test_another_name_of_stdout_is_stdout(space: Path, tmp_path: Path) -> None:
    command = [BIN / "code-report", "export", "latest", "--csv", "/dev/stdout"]
    run("code-scan", space / "photos", "-q", "--workspace", space / "ws")
    with (tmp_path / "out.csv").open("w") as stdout:
        subprocess.run([*command, "--workspace", space / "ws"], stdout=stdout, check=True)
    assert (tmp_path / "out.csv").read_text().startswith("path,sha256,")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to("real.csv")
    outputs.check_targets([tmp_path / "link.csv"])
    write(tmp_path / "link.csv", "rows")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "rows"


def test_one_place_by_two_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for other in (
        tmp_path / "a.csv",
        Path("link/a.csv"),
        Path("link", "..", tmp_path.name, "a.csv"),
    ):
        with pytest.raises(InputError, match="one place"):
            outputs.check_targets([Path("a.csv"), other])


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "report").touch()
    outputs.check_targets([tmp_path / "report"])


def test_reports_of_every_format_are_replaced(space: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    workspace, scanned = ("--workspace", space / "ws"), space / "photos"
    formats = ("csv", "json", "jsonl", "html", "parquet", "case-uco")
    reports = [part for name in formats for part in (f"--{name}", tmp_path / name)]
    found, gallery = tmp_path / "found.json", tmp_path / "gallery.json"
    run("code-scan", scanned, "-q", *workspace)
    for _ in range(2):
        run("code-report", "export", "latest", *reports, *workspace)
        run("code-index", "search", scanned / "a.png", "--json", found, *workspace)
        run("code-index", "doctor", "g", "--json", gallery, *workspace)
    outputs.check_targets([tmp_path / name for name in formats])


EVIDENCE = (
    *(b"PK\x03\x04", b"path,label", b"From: a@b.org", b"text"),
    *(b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"PAR1" + b"\xff" * 8 + b"PAR1"),
    *(
        b'{"chat": "of a suspect"}',
        b'{\n "schema": "other/1"}',
        b"<!doctype html>\n<html><p>a page",
    ),
)


@pytest.mark.parametrize("begin", EVIDENCE)
def test_nothing_but_an_earlier_report_is_replaced(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "evidence").write_bytes(begin)
    with pytest.raises(InputError, match="is not a report"):
        outputs.check_targets([tmp_path / "evidence"])


def test_a_workspaces_own_files_are_no_place_for_a_report(space: Path, tmp_path: Path) -> None:
    (encoder,) = (space / "ws" / "encoders").iterdir()
    (tmp_path / "link").symlink_to(encoder)
    for target in (
        space / "ws" / "workspace.sqlite",
        tmp_path / "workspace.sqlite-wal",  # a workspace may be made there yet
        encoder / "config.json",
        tmp_path / "link" / "new.json",
    ):
        with pytest.raises(InputError, match="workspace's own files"):
            outputs.check_targets([target])
    outputs.check_targets([space / "ws" / "report.csv"])


def test_a_name_is_as_long_as_the_system_allows(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".csv")
    outputs.check_targets([target])
    write(target, "rows")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    with pytest.raises(InputError, match="cannot write a report"):
        outputs.check_targets([tmp_path / ("n" * 252 + ".csv")])
