"""Reports that cannot be written: one line that says so, and what was done is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "would overwrite a picture" in refused.stderr
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
