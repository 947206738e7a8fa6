"""What a scan shows on a real terminal, of the width that it has, and what it shows elsewhere."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import draw_photo

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")

BIN = Path(sys.executable).parent
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(columns: int, *arguments: str | Path, **environment: str) -> str:
    """Run code-scan on a terminal of this width; everything that it wrote there."""
    command = [str(BIN / "code-scan"), *map(str, arguments)]
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop("CI", None)
        os.environ.update(TERM="xterm", COLUMNS=str(columns), **environment)
        os.execv(command[0], command)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's word for the end
            break
        if not part:
            break
        written += part
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, written
    return written.decode()


@pytest.fixture(scope="module")
def photos(reported: Path) -> Path:
    for number in range(3):
        draw_photo(reported / "more" / f"{number}.jpg", 500 + number)
    return reported / "more"


def test_progress_fits_a_narrow_terminal(reported: Path, photos: Path) -> None:
    written = on_a_terminal(40, photos, "--reembed", "--workspace", reported / "ws")
    assert "\x1b[" in written  # drawn and redrawn
    progress = [CONTROL.sub("", line) for line in re.split(r"[\r\n]", written)]
    assert any(re.search(r"3/3", line) for line in progress)
    assert max(len(line) for line in progress if "files/s" in line or "/3" in line) <= 40


def test_the_summary_of_a_narrow_terminal_breaks_between_words(
    reported: Path, photos: Path
) -> None:
    rates = ("--target-fpr", "0.2", "--target-fnr", "0.2", "-k", "1")
    command = (reported / "photos", *rates, "--workspace", reported / "ws")
    for columns, whole in ((60, False), (100, True)):
        lines = CONTROL.sub("", on_a_terminal(columns, *command)).replace("\r", "").split("\n")
        said = lines[next(n for n, line in enumerate(lines) if line.startswith("gallery g:")) :]
        assert all(len(line) <= columns for line in said)
        joined = " ".join(line.strip() for line in said)
        assert "the likelihood ratio, assumes nothing of the kind." in joined
        (head,) = (line.split() for line in said if line.split()[:2] == ["verdict", "p_fake"])
        assert head == ["verdict", "p_fake", "score", *["attribution", "nearest"] * whole, "file"]


def test_no_color_means_no_colour(reported: Path, photos: Path) -> None:
    written = on_a_terminal(100, photos, "--workspace", reported / "ws", NO_COLOR="1")
    colours = re.findall(r"\x1b\[[0-9;]*3[0-7][0-9;]*m", written)
    assert colours == []


def test_a_log_gets_lines_and_no_control(reported: Path, photos: Path) -> None:
    done = subprocess.run(
        [BIN / "code-scan", photos, "-v", "--workspace", reported / "ws"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert len(re.findall(r"\d\.jpg", done.stderr)) == 3  # --verbose: a line a file


def test_the_most_suspicious_are_shown_with_their_attribution(
    reported: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [BIN / "code-scan", reported / "photos", "--csv", tmp_path / "r.csv",
         "--target-fpr", "0.2", "--target-fnr", "0.2", "--workspace", reported / "ws"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if "most suspicious" in line) + 1
    assert lines[start].split() == ["verdict", "p_fake", "score", "attribution", "nearest", "file"]
    column = slice(lines[start].index("attribution"), lines[start].index("nearest"))
    shown = {line.split("photos/")[-1].strip(): line[column].strip() for line in lines[start + 1 :]}
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        known = {
            row["path"].split("photos/")[-1]: row["attribution"] for row in csv.DictReader(file)
        }
    assert shown
    assert all(known[path] == attribution for path, attribution in shown.items())


@pytest.mark.parametrize(("columns", "shown"), [(60, "files  fake  case"), (80, "gallery")])
def test_the_list_of_scans_takes_a_line_a_scan(
    reported: Path, photos: Path, columns: int, shown: str
) -> None:
    subprocess.run(
        [BIN / "code-scan", photos, "-q", "--case", "2026-17", "--workspace", reported / "ws"],
        check=True,
    )
    done = subprocess.run(
        [BIN / "code-report", "list", "--workspace", reported / "ws"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": str(columns)},
    )  # fmt: skip
    title, head, *lines = done.stdout.splitlines()
    assert shown in head
    assert [int(line.split()[0]) for line in lines] == list(range(1, int(title.split()[0]) + 1))
    assert max(len(line) for line in lines) <= columns
    assert "2026-17" in lines[-1] and lines[-1].rstrip().endswith("more")
    assert "T" not in lines[-1] and "+00:00" not in lines[-1]


def test_the_reports_that_were_written_are_named(
    reported: Path, photos: Path, tmp_path: Path
) -> None:
    space = ("--workspace", reported / "ws")
    both = ("--csv", "r.csv", "--html", "r.html")

    def said(*command: str | Path) -> str:
        command = (BIN / command[0], *command[1:], *space)
        return subprocess.run(command, stderr=-1, text=True, check=True, cwd=tmp_path).stderr

    assert "\nwrote r.csv, r.html\n" in f"\n{said('code-scan', photos, *both)}"
    assert said("code-scan", photos, *both, "-q") == ""
    assert said("code-report", "export", "1", "--json", "r.json") == "wrote r.json\n"
    assert said("code-report", "export", "1", "--csv", "-") == ""


def test_names_with_colons_are_shown_as_they_are(
    reported: Path, photos: Path, tmp_path: Path
) -> None:
    """Rich takes some words between colons for emoji."""
    names = ("IMG:x:2.jpg", ":skull:.jpg")
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes((photos / f"{number}.jpg").read_bytes())
    done = subprocess.run(
        [BIN / "code-scan", tmp_path, "-v", "--workspace", reported / "ws"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert all(name in done.stderr for name in names)  # --verbose: a line a file
    assert all(name in done.stdout for name in names)  # the most suspicious


def test_quiet_says_nothing(reported: Path, photos: Path) -> None:
    done = subprocess.run(
        [BIN / "code-scan", photos, "--quiet", "--workspace", reported / "ws"],
        capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_reader_that_leaves_ends_it_silently(reported: Path, photos: Path) -> None:
    process = subprocess.Popen(
        [BIN / "code-scan", photos, "-q", "--jsonl", "-", "--workspace", reported / "ws"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 2  # 1 would say that --fail-on matched
