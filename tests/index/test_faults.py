"""Scans and gallery adds killed at random moments: nothing is lost, and the rerun ends the same."""

import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.index.upkeep.findings import CheckResult
from code_forensics.index.workspace import Workspace

from tests.conftest import draw_photo
from tests.index.fork_server import Child, ForkServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="killed processes are forked"),
]

KILLS = int(os.environ.get("CODE_FORENSICS_KILLS", "30"))
"""In all; a quarter of them while references are added."""

IN_A_ROW = 4
"""Kills that one workspace has to bear before a run is left to finish."""

TABLES = ("contents", "embeddings", "failures", "files", '"references"', "verdicts", "neighbours")


@dataclass(frozen=True, slots=True)
class Stage:
    """Pictures, a workspace with a gallery, and what runs that nobody kills make of them."""

    folder: Path
    server: ForkServer
    seconds: float  # of an unkilled scan
    scanned: list[str]  # its report
    added: list[str]  # the report of a scan after references were added

    def copy(self) -> Path:
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / "template", target)
        return target

    def scan(self, space: Path) -> tuple[str | Path, ...]:
        return ("code-scan", self.folder / "photos", "-q", "--workers", "2", "--workspace", space)

    def add(self, space: Path) -> tuple[str | Path, ...]:
        more = self.folder / "more"
        return (
            *("code-index", "add", "desk", "--real", more / "real", "--fake", f"new={more}/fake"),
            *("-q", "--workers", "2", "--workspace", space),
        )

    def report(self, space: Path) -> list[str]:
        """The report of the last scan, sorted, without what may differ."""
        table, lines = self.folder / "r.csv", self.folder / "r.jsonl"
        self.server.run(
            *("code-report", "export", "latest", "--csv", table, "--jsonl", lines),
            *("--workspace", space),
        )
        rows = list(csv.reader(io.StringIO(table.read_text(), newline="")))
        status = rows[0].index("status")
        report = [repr(row[:status] + row[status + 1 :]) for row in rows]
        for line in lines.read_text().splitlines():
            record = json.loads(line)
            del record["status"]
            report.append(json.dumps(record, sort_keys=True))
        return sorted(report)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("faults")
    for number in range(4):
        draw_photo(folder / "real" / f"s{number % 2}" / f"{number}.png", number, (50, 40))
        draw_photo(folder / "fake" / "old" / f"{number}.png", 50 + number, (50, 40), 16)
    for number in range(16):
        draw_photo(folder / "more" / "real" / f"{number}.png", 100 + number, (50, 40))
        draw_photo(folder / "more" / "fake" / f"{number}.png", 150 + number, (50, 40), 16)
    photos = folder / "photos"
    for number in range(48):
        photo = draw_photo(photos / f"{number:02}.png", 200 + number, (50, 40), 1 + number % 9)
        if number % 6 == 0:
            shutil.copy(photo, photos / f"{number + 5:02}-copy.png")
        if number % 12 == 0:
            (photos / f"{number:02}-cut.png").write_bytes(photo.read_bytes()[:300])
    (photos / "text.jpg").write_text("this is no picture")
    (photos / "empty.jpg").touch()
    server = ForkServer(folder)
    template = folder / "template"
    server.run(
        *("code-index", "build", "desk", "--real", folder / "real", "--fake", folder / "fake"),
        *("--weights", small_checkpoint, "-q", "--workspace", template),
    )
    bare = Stage(folder, server, 0.0, [], [])
    space = bare.copy()
    started = time.monotonic()
    server.run(*bare.scan(space))
    seconds = time.monotonic() - started
    scanned = bare.report(space)
    space = bare.copy()
    server.run(*bare.add(space))
    server.run(*bare.scan(space))
    yield Stage(folder, server, seconds, scanned, bare.report(space))
    server.close()


def rows_of(space: Path) -> dict[str, set[tuple[object, ...]]]:
    """Every row that is committed now."""
    connection = sqlite3.connect(space / "workspace.sqlite", timeout=60)
    try:
        connection.execute("BEGIN")  # all tables at one moment
        found = {table: set(connection.execute(f"SELECT * FROM {table}")) for table in TABLES}
        found["scans"] = set(connection.execute("SELECT id, uuid, started, run FROM scans"))
    finally:
        connection.close()
    return found


def verify(space: Path) -> list[CheckResult]:
    with Workspace(space) as workspace:
        return list(workspace.verify(lambda folder: read_checkpoint(folder).sha256))


def kill_at_random(stage: Stage, space: Path, child: Child, rng: random.Random) -> bool:
    """Kill a child, either anywhere or while it commits; whether it was still at work."""
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0.0, stage.seconds))
    else:
        _wait_for_rows(space, stage.seconds)
        time.sleep(rng.uniform(0.0, 0.3 * stage.seconds))
    before = rows_of(space)
    killed = stage.server.kill(child) == -signal.SIGKILL
    after = rows_of(space)
    for table, rows in before.items():
        assert rows <= after[table], f"rows of {table} are lost"
    return killed


def _wait_for_rows(space: Path, longest: float) -> None:
    connection = sqlite3.connect(space / "workspace.sqlite", timeout=60)
    try:
        count = "SELECT (SELECT COUNT(*) FROM verdicts) + (SELECT COUNT(*) FROM embeddings)"
        before = connection.execute(count).fetchone()
        end = time.monotonic() + longest
        while time.monotonic() < end and connection.execute(count).fetchone() == before:
            time.sleep(0.001)
    finally:
        connection.close()


def assert_sound(space: Path) -> None:
    results = verify(space)
    assert all(result.clean for result in results), results
    again = [finding for result in verify(space) for finding in result.findings]
    assert again == []  # what was repaired is repaired
    with Workspace(space) as workspace:
        running = "SELECT COUNT(*) FROM scans WHERE state = 'running'"
        assert workspace._database.conn.execute(running).fetchone() == (0,)


def test_killed_scans_go_on_and_end_the_same(stage: Stage) -> None:
    rng = random.Random(1)
    killed = cut = 0
    for _ in range(10 * KILLS):
        space = stage.copy()
        for _ in range(IN_A_ROW):
            child = stage.server.start(*stage.scan(space))
            if not kill_at_random(stage, space, child, rng):
                assert child.wait() == 0, child.text()
                break
            killed += 1
            with Workspace(space) as workspace:
                rows = [sum(1 for _ in workspace.scans.rows(s)) for s in workspace.scans.all()]
            cut += bool(rows) and 0 < rows[-1] < (len(stage.scanned) - 1) // 2
            assert_sound(space)
        stage.server.run(*stage.scan(space))
        assert stage.report(space) == stage.scanned
        assert_sound(space)
        if killed >= KILLS * 3 // 4:
            break
    print(f"{killed} scans killed, {cut} of them between two commits")
    assert killed >= KILLS * 3 // 4
    assert cut


def test_killed_adds_happen_wholly_or_not_at_all(stage: Stage) -> None:
    rng = random.Random(2)
    killed = undone = 0
    for _ in range(10 * KILLS):
        space = stage.copy()
        for _ in range(IN_A_ROW):
            child = stage.server.start(*stage.add(space))
            killed += kill_at_random(stage, space, child, rng)
            assert_sound(space)
            with Workspace(space) as workspace:
                info = workspace.galleries.info("desk")
            assert (info.generation, info.reals, info.fakes) in ((1, 4, 4), (2, 20, 20))
            if info.generation == 2:
                break
            undone += 1
        else:
            stage.server.run(*stage.add(space))
        stage.server.run(*stage.scan(space))
        assert stage.report(space) == stage.added
        assert_sound(space)
        if killed >= KILLS // 4:
            break
    print(f"{killed} adds killed, {undone} of them before they were committed")
    assert killed >= KILLS // 4
    assert undone
