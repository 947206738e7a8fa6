"""``code-scan --watch``: what arrives is scanned once it is whole, until Ctrl-C."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.watch import watch

from tests.cli.in_process import run
from tests.conftest import draw_photo

pytestmark = pytest.mark.slow


class Watched:
    """A running ``code-scan --watch`` and its lines."""

    def __init__(self, process: "subprocess.Popen[str]", lines: Path) -> None:
        self.process = process
        self._lines = lines

    def rows(self) -> list[dict[str, object]]:
        return list(map(json.loads, self._lines.read_text("utf-8").splitlines()))

    def until(self, count: int) -> list[dict[str, object]]:
        for _ in range(600):
            if len(self.rows()) >= count:
                return self.rows()
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.1)
        pytest.fail(f"{count} rows never came: {self.rows()}")


@pytest.fixture
def watched(tmp_path: Path, reported: Path) -> Iterator[Watched]:
    folder = tmp_path / "incoming"
    draw_photo(folder / "first.jpg", 700)
    lines = tmp_path / "lines.jsonl"
    process = subprocess.Popen(
        [Path(sys.executable).parent / "code-scan", "--watch", folder, "--settle", "1",
         "--jsonl", lines, "--workspace", reported / "ws"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not lines.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    yield Watched(process, lines)
    process.kill()
    process.wait()


def test_what_arrives_is_scanned_and_recorded(
    watched: Watched, tmp_path: Path, reported: Path
) -> None:
    folder = tmp_path / "incoming"
    watched.until(1)
    whole = draw_photo(tmp_path / "whole.jpg", 701).read_bytes()
    with (folder / "slow.jpg").open("wb") as slow:  # takes longer to write than a file settles
        for part in range(6):
            slow.write(whole[part * len(whole) // 6 : (part + 1) * len(whole) // 6])
            slow.flush()
            time.sleep(0.4)
    watched.until(2)
    draw_photo(tmp_path / "moved" / "sub" / "deep.png", 702)
    shutil.move(tmp_path / "moved", folder / "moved")
    rows = watched.until(3)
    names = [Path(str(row["path"])).name for row in rows]
    assert names == ["first.jpg", "slow.jpg", "deep.png"]
    assert [row["status"] for row in rows] == ["scanned"] * 3
    draw_photo(folder / "first.jpg", 703)
    again = watched.until(4)[3]
    assert (Path(str(again["path"])).name, again["status"]) == ("first.jpg", "scanned")
    assert again["sha256"] != rows[0]["sha256"]
    watched.process.send_signal(signal.SIGINT)
    out, err = watched.process.communicate(timeout=60)
    assert watched.process.returncode == 0, err
    assert "4 files" in out
    shown = run("code-report", "show", "latest", "--workspace", reported / "ws").stdout
    assert "state         finished" in shown
    assert "files         4" in shown
    again = run(
        "code-report", "verify", "latest", "--jsonl", "-", "--workspace", reported / "ws", code=1
    )
    outcomes = [json.loads(line)["outcome"] for line in again.stdout.splitlines()]
    assert outcomes == ["changed", "reproduced", "reproduced", "reproduced"]  # first.jpg twice
    page = tmp_path / "report.html"
    run("code-report", "export", "latest", "--html", page, "--workspace", reported / "ws")
    text = page.read_text("utf-8")
    assert "before they had stayed unchanged for 1 s" in text
    assert "Every file under the given paths has a row" not in text
    assert "Traceback" not in err


def test_what_does_not_belong_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no" / "deep").mkdir(parents=True)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            (tmp_path / "no" / "deep" / "a.jpg").write_bytes(b"a")
            (tmp_path / "b.txt").write_bytes(b"b")
            (tmp_path / "c.jpg").write_bytes(b"c")
            (tmp_path / "gone.jpg").write_bytes(b"d")
            (tmp_path / "gone.jpg").unlink()
            (tmp_path / "report.jpg").write_bytes(b"e")
        return asked > 12

    options = WalkOptions(include=("*.jpg",), exclude=("no",), omit=(tmp_path / "report.jpg",))
    monkeypatch.chdir(tmp_path)
    found = [file.path for ready in watch(walk(["."], options), stop, 0.0) for file in ready]
    assert found == [str(file.path) for file in walk(["."], options)] == ["./c.jpg"]
