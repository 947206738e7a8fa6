"""``--processes``: the plain run's rows, also when a process, or the driver, is killed."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from code_forensics.engine.embedding.load import backend_of
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as here
from tests.cli.whole_scans import (
    BIN,
    build,
    check_same_build,
    digest,
    processes,
    rows,
    start,
    until,
    wanted,
)
from tests.conftest import draw_photo

TWO = ("--processes", "2")

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="processes are found in /proc"
)


def children(parent: int) -> set[int]:
    """Embedding processes of a running scan."""
    found = set()
    for one in processes("engine.cluster.child"):
        try:
            stat = Path(f"/proc/{one}/stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            found.add(one)
    return found


def alive(pids: set[int]) -> bool:
    return bool(pids & processes("engine.cluster.child"))


def test_the_rows_are_those_of_one_process(
    mixed: Path, plain_rows: list[dict], tmp_path: Path
) -> None:
    build(mixed, "ws-two")
    command = wanted(mixed, mixed / "ws-two", tmp_path / "rows.jsonl", *TWO)
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert rows(tmp_path / "rows.jsonl") == plain_rows
    assert digest(mixed / "ws-two") == digest(mixed / "ws")
    with Workspace(mixed / "ws-two") as space:
        record = space.scans.info("latest").run
        assert record["processes"] == {"number": 2, "device": "cpu"}
        assert record["encoder"]["backend"] == backend_of("cpu", "float32")
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0
    usable = {row["path"] for row in plain_rows if row["status"] in ("scanned", "duplicate")}
    cached = {row["path"] for row in rows(tmp_path / "rows.jsonl") if row["status"] == "cached"}
    assert cached == usable


def test_every_view_and_frame(mixed: Path, tmp_path: Path) -> None:
    seen = []
    for further in ((), TWO):
        workspace, lines = f"ws-views{len(further)}", tmp_path / f"{len(further)}.jsonl"
        build(mixed, workspace)
        more = ("--crops", "five", "--probe", "--frames", "all", "--stats", *further)
        command = wanted(mixed, mixed / workspace, lines, *more)
        subprocess.run(command, capture_output=True, check=True)
        seen.append(rows(lines))
    assert seen[0] == seen[1] and len(seen[0][0]["crops"]) > 1 and seen[0][0]["probe"]


def test_a_build_is_the_same_gallery(mixed: Path, tmp_path: Path) -> None:
    check_same_build(mixed, tmp_path / "ws", *TWO)


@needs_proc
def test_a_killed_process_loses_nothing(
    mixed: Path, plain_rows: list[dict], tmp_path: Path
) -> None:
    build(mixed, "ws-killed")
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(mixed, mixed / "ws-killed", lines, *TWO))
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    os.kill(min(children(process.pid)), signal.SIGKILL)
    at = lines.read_text().count("\n")
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert at < len(plain_rows)  # it was at work
    assert rows(lines) == plain_rows


@needs_proc
@pytest.mark.parametrize("after", [0.0, 0.1, 0.6])
def test_a_process_that_is_killed_while_it_starts_is_replaced(
    after: float, mixed: Path, plain_rows: list[dict], tmp_path: Path
) -> None:
    workspace = f"ws-started-{after}"
    build(mixed, workspace)
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(mixed, mixed / workspace, lines, *TWO))
    until(lambda: children(process.pid), process)
    time.sleep(after)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert rows(lines) == plain_rows


@needs_proc
def test_ctrl_c_while_processes_start(mixed: Path, tmp_path: Path) -> None:
    command = wanted(mixed, mixed / "ws", tmp_path / "rows.jsonl", "--rehash", "--reembed", *TWO)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: children(process.pid), process)
    helpers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in stderr and "Traceback" not in stderr
    until(lambda: not alive(helpers))


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_leaves_no_process_and_the_next_run_goes_on(
    how: signal.Signals, mixed: Path, plain_rows: list[dict], tmp_path: Path
) -> None:
    workspace = f"ws-{how.name}"
    build(mixed, workspace)
    lines = tmp_path / "rows.jsonl"
    command = wanted(mixed, mixed / workspace, lines, *TWO)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    helpers = children(process.pid)
    assert len(helpers) == 2
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does it: all of them hear it
    else:
        process.kill()
    _, stderr = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in stderr and "Traceback" not in stderr
    until(lambda: not alive(helpers))
    assert subprocess.run(command, capture_output=True).returncode == 0
    found = rows(lines)
    assert any(row["status"] == "cached" for row in found)
    assert [{**row, "status": ""} for row in found] == [{**row, "status": ""} for row in plain_rows]


def test_a_file_that_kills_its_decoder_costs_itself_alone(mixed: Path, tmp_path: Path) -> None:
    """In the processes small PNGs are decoded by threads: what dies there is tried with care."""
    photos = tmp_path / "photos"
    for number in range(40):
        size = (400, 300) if number == 17 else (230, 240)
        draw_photo(photos / f"{number:02}.png", number, size)
    deadly = (photos / "17.png").read_bytes()
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom PIL.PngImagePlugin import PngImageFile\n_open = PngImageFile._open\n"
        "def fatal(image):\n"
        f"    if len(image.fp.getbuffer()) == {len(deadly)}:\n"
        f"        try:\n            open({str(tmp_path / 'died')!r}, 'a').write('x')\n"
        "        except OSError: pass  # in a decoding process, which may not write\n"
        "        os.abort()\n"
        "    _open(image)\nPngImageFile._open = fatal\n"
    )
    assert sum(len(one.read_bytes()) == len(deadly) for one in photos.iterdir()) == 1
    build(mixed, "ws-deadly")
    lines = tmp_path / "rows.jsonl"
    ran = subprocess.run(
        [
            *(str(BIN / "code-scan"), str(photos), "-q", "--jsonl", str(lines), *TWO),
            *("--workspace", str(mixed / "ws-deadly")),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (tmp_path / "died").read_text() == "x"
    said = {Path(row["path"]).name: row["reason"] for row in rows(lines)}
    assert said.pop("17.png") == "decoder_crashed"
    assert len(said) == 39 and "decoder_crashed" not in said.values()


def test_what_goes_wrong_in_a_process_is_told_in_its_words(mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif sys.argv == ['-m']:\n"
        "    from code_forensics.engine.errors import EngineError\n"
        "    from code_forensics.engine.pipeline import pipeline\n"
        "    def wrong(*_, **__):\n        raise EngineError('threads are out', 'take fewer')\n"
        "    pipeline.Pipeline.__init__ = wrong\n"
    )
    command = wanted(mixed, mixed / "ws", tmp_path / "rows.jsonl", "--rehash", *TWO)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "error: threads are out; take fewer\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((*TWO, "--precision", "bfloat16"), "--processes computes in float32"),
        ((*TWO, "--ray", "local"), "drop one"),
    ],
)
def test_what_cannot_be(options: tuple[str, ...], words: str, mixed: Path) -> None:
    ran = here("code-scan", mixed / "photos", "--workspace", mixed / "ws", *options, code=2)
    assert words in ran.stderr and len(ran.stderr.splitlines()) == 1
