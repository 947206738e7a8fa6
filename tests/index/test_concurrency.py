"""Several processes in one workspace, and workspaces that cannot be written to."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.index import database
from code_forensics.index.errors import UnusableWorkspaceError
from code_forensics.index.workspace import Workspace

from tests.cli.test_scan import BIN
from tests.conftest import draw_photo
from tests.index.fork_server import ForkServer
from tests.index.stored import content_of, make_workspace, record_one, record_scan

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        draw_photo(folder / f"{number:02}.png", number, (60, 50), 1 + number % 9)
    return folder


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, labelled: Path, small_checkpoint: Path
) -> Iterator[tuple[ForkServer, Path]]:
    folder = tmp_path_factory.mktemp("template")
    server = ForkServer(folder)
    server.run(
        *("code-index", "build", "desk", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "-q", "--workspace", folder / "ws"),
    )
    yield server, folder / "ws"
    server.close()


@pytest.fixture
def server(template: tuple[ForkServer, Path]) -> ForkServer:
    return template[0]


@pytest.fixture
def space(template: tuple[ForkServer, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(template[1], tmp_path / "ws"))


def assert_sound(space: Path) -> None:
    with Workspace(space) as workspace:
        results = list(workspace.verify(lambda folder: read_checkpoint(folder).sha256))
    assert all(result.clean for result in results), results


def judged(space: Path, scan: int) -> list[tuple[object, ...]]:
    with Workspace(space) as workspace:
        info = workspace.scans.info(str(scan))
        assert info.state == "finished"
        return [(r["path"], r["sha256"], r["margin"]) for r in workspace.scans.rows(info)]


def test_two_scans_into_one_workspace(server: ForkServer, space: Path, photos: Path) -> None:
    command = ("code-scan", photos, "-q", "--workers", "1", "--workspace", space)
    children = [server.start(*command) for _ in range(3)]
    for child in children:
        assert child.wait() == 0, child.text()
    first, second, third = (judged(space, scan) for scan in (1, 2, 3))
    assert len(first) == 60
    assert first == second == third
    with Workspace(space) as workspace:
        count = "SELECT COUNT(*), COUNT(DISTINCT content_id) FROM embeddings"
        (rows, contents) = workspace._database.conn.execute(count).fetchone()
        assert rows == contents == 60 + 12
    assert_sound(space)


def test_a_scan_while_references_are_added(
    server: ForkServer, space: Path, photos: Path, labelled: Path
) -> None:
    add = server.start(
        *("code-index", "add", "desk", "--real", photos, "--workers", "1", "-q"),
        *("--workspace", space),
    )
    scans = [
        server.start("code-scan", labelled / "photos", "-q", "--workers", "1", "--workspace", space)
        for _ in range(2)
    ]
    for child in (add, *scans):
        assert child.wait() == 0, child.text()
    with Workspace(space) as workspace:
        assert workspace.galleries.info("desk").reals == 6 + 60
        for info in workspace.scans.all():
            reals = info.run["gallery"]["reals"]  # each scan is of one generation
            assert reals in (6, 66)
            keys = [n["key"] for r in workspace.scans.rows(info) for n in r["neighbours"]]
            assert keys and (reals == 66 or max(keys) <= 12)
    assert_sound(space)


def test_a_writer_waits_for_another_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    with make_workspace(tmp_path / "ws") as space:
        other = sqlite3.connect(tmp_path / "ws" / "workspace.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = pytest.raises(UnusableWorkspaceError, match="another process")
        with refused as caught, space.guarded():
            record_scan(space, "a", range(3))
        assert "run the command again" in caught.value.hint
        other.close()  # its transaction dies with it
        record_scan(space, "a", range(3))
        assert [info.state for info in space.scans.all()] == ["finished"]


PROGRAM = """
import os, sys
{before}
os.execv(sys.argv[1], sys.argv[1:])
"""
BOUND_BY_MODES = """
if os.geteuid() == 0:  # even root, without the capability to override them
    import ctypes
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
        sys.exit(99)
"""
SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
"""


def run(before: str, command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(before=before)
    return subprocess.run(
        [sys.executable, "-c", program, BIN / command, *arguments], capture_output=True, text=True
    )


def assert_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert ";" in line  # what to do


def test_a_read_only_workspace(space: Path, photos: Path) -> None:
    before = (space / "workspace.sqlite").read_bytes()
    everything = [space, *space.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if run(BOUND_BY_MODES, "code-index", "--help").returncode == 99:
            pytest.skip("root may write anywhere here")
        for command in (
            ("code-scan", photos, "-q", "--workers", "1"),
            ("code-index", "verify"),
            ("code-index", "purge", "--gallery", "desk", "--yes"),
        ):
            done = run(BOUND_BY_MODES, *command, "--workspace", space)
            assert_one_line(done, "cannot be written to")
        inside = run(BOUND_BY_MODES, "code-scan", photos, "-q", "--workspace", space / "new")
        assert_one_line(inside, "cannot make")
    finally:
        for path in everything:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert (space / "workspace.sqlite").read_bytes() == before
    assert_sound(space)


@pytest.mark.parametrize("limit", [30_000, 60_000, 120_000])
def test_a_full_disk(server: ForkServer, space: Path, photos: Path, limit: int) -> None:
    command = ("code-scan", photos, "-q", "--workers", "1", "--workspace", space)
    done = run(SMALL_DISK.format(limit=limit), *command)
    assert_one_line(done, "full or failing")
    with Workspace(space) as workspace:
        kept = sum(1 for s in workspace.scans.all() for _ in workspace.scans.rows(s))
    assert kept < 60
    assert_sound(space)
    server.run(*command)
    with Workspace(space) as workspace:
        rows = list(workspace.scans.rows(workspace.scans.info("latest")))
    assert len(rows) == 60 and all(row["verdict"] for row in rows)


def test_a_failed_commit_leaves_no_transaction_open(tmp_path: Path) -> None:
    with make_workspace(tmp_path / "ws") as space:
        recorder = record_scan(space, "a", range(3), finish=False)
        connection = space._database.conn
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnusableWorkspaceError, match="full"), space.guarded():
            for number in range(3, 3000):
                record_one(recorder, f"a/{number}.png", content_of(number))
        assert not connection.in_transaction
        connection.execute("PRAGMA max_page_count = 1000000")
        recorder.finish("failed", {})
        assert [info.state for info in space.scans.all()] == ["failed"]
