"""Purges that were killed, or run beside others: they go on, or are dropped, as a whole."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from code_forensics.engine.report.tally import summarise
from code_forensics.index.errors import WorkspaceError
from code_forensics.index.upkeep import purge as purge_module
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.upkeep.purge_plan import Purged, PurgeRequest
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as run_here
from tests.index.purging import assert_sound, count, purge, record_two, traces
from tests.index.stored import (
    ENCODER,
    STEPS,
    make_workspace,
    record_scan,
    references,
    sha256_of,
    vector_of,
)

KILLED = """
import os, signal, sys
from code_forensics.engine.report.tally import summarise
from code_forensics.index.searching.faiss_files import FaissFiles
from code_forensics.index.upkeep.purge import Purger
from code_forensics.index.upkeep.purge_pending import Pending
from code_forensics.index.upkeep.purge_plan import PurgeRequest
from code_forensics.index.workspace import Workspace

folder, step = sys.argv[1:]
owner = next(owner for owner in (Purger, FaissFiles, Pending) if hasattr(owner, step))
setattr(owner, step, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
purger = Workspace(folder).purger(summarise)
purger.carry_out(purger.plan(PurgeRequest(("latest",), ("seized",), ("g",))))
"""


def purge_killed(space: Workspace, step: str) -> None:
    """Purge the newest scan, seized/ and gallery g, and be killed before a step."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(space.folder), step], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.fixture
def seized(tmp_path: Path) -> Workspace:
    """Scan 1 of a/, scan 2 of seized/30.png and a/31.png, scan 3 of b/ (5-14)."""
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(3))
    record_two(workspace)
    record_scan(workspace, "b", [2, 5])
    (collection,) = workspace.scanned.collections()
    workspace.scanned.search(collection, vector_of(0)[None], 1)
    yield workspace
    workspace.close()


@pytest.mark.parametrize(
    "step",
    [
        "write",
        "_remove_scan",
        "_remove_paths",
        "_cut",
        "_delete_files",
        "_remove_gallery",
        "_remove_unused",
        "forget_all",
        "sweep",
        "_compact",
        "_empty_log",
        "clear",
    ],
)
def test_a_purge_that_was_killed_goes_on(seized: Workspace, step: str) -> None:
    purge_killed(seized, step)
    named = "--scan latest --path seized --gallery g" if step == "write" else "--resume"
    run_here("code-index", "purge", "--yes", *named.split(), "--workspace", seized.folder)
    secrets = [sha256_of(5), sha256_of(30)]
    needles = [b"seized", b"b/5.png", vector_of(5).tobytes(), vector_of(30).tobytes()]
    assert traces(seized, *needles, *(secret.encode() for secret in secrets)) == []
    assert traces(seized, references(10)[5].vector.tobytes()) == []
    assert [info.key for info in seized.scans.all()] == [1, 2]
    assert count(seized, "verdicts") == count(seized, "contents") == 4
    assert count(seized, "settings WHERE key = 'purge'") == 0
    assert_sound(seized)


def test_names_mean_what_they_meant_when_the_purge_was_interrupted(seized: Workspace) -> None:
    purge_killed(seized, "_remove_paths")
    verified = run_here("code-index", "verify", "--workspace", seized.folder, code=1)
    assert "a purge was interrupted, and is not through: scan 3, seized, gallery g" in " ".join(
        verified.stderr.split()
    )
    seized.galleries.remove("g")
    seized.galleries.create("g", ENCODER, STEPS, references(4, seed=7), "build")
    record_scan(seized, "seized", [30, 31])
    where = ("--yes", "--workspace", seized.folder)
    for named in ("", "--scan latest", "--path seized", "--gallery g"):  # not while one is pending
        refused = run_here("code-index", "purge", *named.split(), *where, code=2).stderr
        assert "a purge was interrupted" in refused and "--resume" in refused
    alone = run_here("code-index", "purge", "--resume", "--path", "a", *where, code=2).stderr
    assert "each stands alone" in alone
    said = run_here("code-index", "purge", "--resume", *where).stderr
    assert "going on with a purge that was interrupted: scan 3, seized, gallery g" in said
    assert [info.key for info in seized.scans.all()] == [1, 2, 4]
    assert [row["path"] for row in seized.scans.rows(seized.scans.info("4"))] == [
        "seized/30.png",
        "seized/31.png",
    ]
    assert seized.scans.info("2").run["arguments"]["paths"] == ["(purged)", "a"]
    assert count(seized, "files WHERE path LIKE 'seized/%'") == 2
    assert seized.galleries.names() == ["g"]
    assert_sound(seized)
    with pytest.raises(WorkspaceError, match="no purge was interrupted"):
        seized.purger(summarise).resume()
    with pytest.raises(WorkspaceError, match="nothing is named"):
        purge(seized)
    assert purge(seized, paths=("seized",)).scans == 1  # named anew, it means all that is there


@pytest.mark.parametrize("step", ["_remove_scan", "_remove_paths", "_remove_unused"])
def test_a_purge_that_was_interrupted_can_be_dropped(seized: Workspace, step: str) -> None:
    purge_killed(seized, step)
    where = ("--yes", "--workspace", seized.folder)
    said = run_here("code-index", "purge", "--forget", *where).stderr
    assert "the rest of what it named stays" in said
    left = {"_remove_scan": [1, 2, 3]}.get(step, [1, 2])
    assert [info.key for info in seized.scans.all()] == left
    assert bool(traces(seized, b"seized/30.png")) == (step != "_remove_unused")
    taken = traces(seized, b"b/5.png", sha256_of(5).encode(), vector_of(5).tobytes())
    assert bool(taken) == (step == "_remove_scan")
    assert_sound(seized)


def read_along(space: Workspace) -> sqlite3.Connection:
    """Another connection, in the midst of reading; nobody waits long for it."""
    space._database.conn.execute("PRAGMA busy_timeout = 20")
    reader = sqlite3.connect(space.folder / "workspace.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM verdicts").fetchone()
    return reader


def test_a_purge_is_not_through_while_the_log_holds_what_went(
    seized: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, waits = purge_module.Purger._empty_log, []

    def wait(purger: purge_module.Purger) -> bool:
        waits.append(purger)
        return empty(purger)

    monkeypatch.setattr(purge_module.Purger, "_empty_log", wait)
    reader = read_along(seized)
    (note,) = purge(seized, paths=("seized",)).notes
    assert "the write-ahead log still holds" in note and "purge --resume" in note
    assert len(waits) == 1
    (found,) = [r for r in seized.verify(lambda _: ENCODER) if r.name == "unfinished purges"]
    assert not found.clean
    assert "the clean-up after what went" in found.findings[0].what
    assert traces(seized, b"seized/30.png")
    reader.close()
    purger = seized.purger(summarise)
    assert purger.carry_out(purger.resume()).notes == ()
    assert traces(seized, b"seized") == []
    assert_sound(seized)


def test_a_purge_that_is_running_is_not_interrupted(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, Outcome]] = []
    other = Workspace(space.folder)
    late = other.purger(summarise)
    plan = late.plan(PurgeRequest(scans=("2",)))

    def look(_purger: object, _done: Purged) -> None:
        for result in other.verify(lambda _: ENCODER):
            if result.name == "unfinished purges":
                found.extend((f.what, f.outcome) for f in result.findings)
        for act in (lambda: purge(other, scans=("2",)), late.resume, lambda: late.carry_out(plan)):
            with pytest.raises(WorkspaceError, match="another purge is running"):
                act()

    with monkeypatch.context() as patch:
        patch.setattr(purge_module.Purger, "_remove_unused", look)
        purge(space, paths=("a",))
    assert found == [("a purge is running: a", Outcome.NOTED)]
    assert late.carry_out(plan).scans == 1
    other.close()


def test_a_plan_is_not_carried_out_over_a_purge_that_was_interrupted(seized: Workspace) -> None:
    purger = seized.purger(summarise)
    plan = purger.plan(PurgeRequest(scans=("1",)))
    purge_killed(seized, "_remove_paths")
    with pytest.raises(WorkspaceError, match="has begun or ended meanwhile"):
        purger.carry_out(plan)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no JSON",
        "[" * 100_000,
        '{"scans": {"1": "1"}, "paths": [], "galleries": {}}',
        '{"scans": {"1": 9223372036854775808}, "paths": [], "galleries": {}}',
        '{"scans": {}, "paths": "a", "galleries": {}}',
        '{"scans": {}, "paths": [], "galleries": {"g": 1}}',
        '{"scans": {}, "paths": ["a"], "galleries": {}, "last_scan": null}',
    ],
)
def test_a_record_of_a_purge_that_is_damaged_can_be_dropped(space: Workspace, text: str) -> None:
    space._database.conn.execute("INSERT INTO settings VALUES ('purge', ?)", (text,))
    where = ("--workspace", space.folder)
    assert "is damaged" in run_here("code-index", "verify", *where, code=1).stderr
    for named in ("--scan=1", "--resume"):
        refused = run_here("code-index", "purge", named, "--yes", *where, code=2).stderr
        assert "is damaged" in refused and "--forget" in refused
    run_here("code-index", "purge", "--forget", "--yes", *where)
    assert count(space, "verdicts") == 20
    assert_sound(space)


def test_a_record_of_a_purge_without_its_newest_scan_can_be_read(space: Workspace) -> None:
    text = '{"scans": {"latest": 2}, "paths": ["a/1.png"], "galleries": {"g": [1]}}'
    space._database.conn.execute("INSERT INTO settings VALUES ('purge', ?)", (text,))
    purger = space.purger(summarise)
    done = purger.carry_out(purger.resume())
    assert (done.scans, done.rows, done.galleries) == (1, 11, 1)


def test_a_purge_begins_under_no_build_and_goes_on_after_one(
    seized: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    purger = seized.purger(summarise)
    plan = purger.plan(PurgeRequest(paths=("seized",)))
    with Workspace(seized.folder) as builder:
        builder.contents(ENCODER, STEPS)
        with pytest.raises(WorkspaceError, match="being built"):
            purger.carry_out(plan)  # it has begun while the user was asked
    assert traces(seized, b"seized/30.png")
    full = sqlite3.OperationalError("database or disk is full")
    with monkeypatch.context() as patch:
        patch.setattr(purge_module.Purger, "_compact", mock.Mock(side_effect=full))
        with pytest.raises(sqlite3.OperationalError):
            purger.carry_out(plan)
    purger.carry_out(purger.resume())
    assert traces(seized, b"seized", vector_of(30).tobytes()) == []
