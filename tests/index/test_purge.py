"""Purge: what is named goes without a trace, the rest stays, and a scan that runs is not harmed."""

import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from unittest import mock

import pytest
from code_forensics.engine.report.purges import purges_in_words
from code_forensics.engine.report.tally import summarise
from code_forensics.index.errors import WorkspaceError
from code_forensics.index.scans import ScanInfo, Scans
from code_forensics.index.upkeep import purge as purge_module
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.upkeep.purge_plan import Purged, PurgeRequest
from code_forensics.index.upkeep.purge_scan import Restated, restate
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as run_here
from tests.cli.test_scan import _run, run
from tests.index.stored import (
    ENCODER,
    STEPS,
    begin_scan,
    content_of,
    file_of,
    make_workspace,
    record_one,
    record_scan,
    references,
    sha256_of,
    vector_of,
)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Scan 1 of a/ (0-9), scan 2 of b/ (5-14), and a FAISS file of both."""
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(10))
    record_scan(workspace, "b", range(5, 15))
    (collection,) = workspace.scanned.collections()
    workspace.scanned.search(collection, vector_of(0)[None], 1)
    yield workspace
    workspace.close()


def purge(space: Workspace, **what: tuple[str, ...]) -> Purged:
    purger = space.purger(summarise)
    return purger.carry_out(purger.plan(PurgeRequest(**what)))


def count(space: Workspace, table: str) -> int:
    number: int = space._database.conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    return number


def traces(space: Workspace, *needles: bytes) -> list[Path]:
    """Files of the workspace that hold any of these bytes."""
    return [
        path
        for path in space.folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def assert_sound(space: Workspace) -> None:
    findings = [f for result in space.verify(lambda folder: ENCODER) for f in result.findings]
    assert [f for f in findings if f.outcome is not Outcome.NOTED] == []


def test_a_scan_goes_with_what_it_alone_knew(space: Workspace) -> None:
    shared, own = sha256_of(7).encode(), sha256_of(2).encode()
    assert traces(space, own) and traces(space, vector_of(2).tobytes())
    done = purge(space, scans=("1",))
    assert done.counts() == {
        "scans": 1,
        "rows": 10,
        "mentions": 0,
        "galleries": 0,
        "references": 0,
        "files": 10,
        "contents": 5,
        "embeddings": 5,
    }
    assert traces(space, own, b"a/2.png", b"a/7.png", vector_of(2).tobytes()) == []
    assert traces(space, shared) and traces(space, vector_of(7).tobytes())
    assert [info.key for info in space.scans.all()] == [2]
    assert len(list(space.scans.rows(space.scans.info("2")))) == 10
    assert count(space, "neighbours") == 10
    assert_sound(space)


def test_paths_go_from_every_scan(space: Workspace) -> None:
    record_scan(space, "b/deeper", [20])
    record_scan(space, "bb", [21])
    recorder = begin_scan(space, "c")
    record_one(recorder, "c/x.png", content_of(21))
    recorder.finish("finished", {})
    done = purge(space, paths=("b",))
    # scans 2 and 3 are empty now, and would still name their paths
    assert (done.scans, done.rows, done.files) == (2, 11, 11)
    assert [info.key for info in space.scans.all()] == [1, 4, 5]
    assert traces(space, b"b/7.png", b"deeper", sha256_of(20).encode()) == []
    assert traces(space, b"bb/21.png")
    assert_sound(space)
    done = purge(space, paths=("./a/3.png", "bb/"))
    assert (done.scans, done.rows, done.contents) == (1, 2, 1)
    assert len(list(space.scans.rows(space.scans.info("1")))) == 9


def test_rows_that_call_a_purged_path_their_first_forget_it(space: Workspace) -> None:
    space._database.conn.execute(
        "UPDATE verdicts SET duplicate_of = 'a/1.png' WHERE scan_id = 2 AND position = 0"
    )
    purge(space, paths=("a/1.png",))
    assert next(space.scans.rows(space.scans.info("2")))["duplicate_of"] is None
    assert traces(space, b"a/1.png") == []


def test_undecodable_names_below_a_path(space: Workspace) -> None:
    record_scan(space, "d", [30])
    recorder = begin_scan(space, "d")
    record_one(recorder, "d/\udcff.png", content_of(31))
    recorder.finish("finished", {})
    assert purge(space, paths=("d",)).rows == 2
    assert traces(space, b"d/\xff.png") == []


def test_a_scan_of_the_current_folder(space: Workspace) -> None:
    record_scan(space, "./here", [30])
    assert purge(space, paths=("here",)).rows == 1


def test_a_gallery_goes_with_its_withdrawn_references(space: Workspace) -> None:
    space.galleries.add(
        space.galleries.info("g"), references(3, seed=5000, source="secret-source"), "add"
    )
    space.galleries.withdraw("g", "remove", sources=["secret-source"])
    space.galleries.create("other", ENCODER, STEPS, references(4, seed=7), "build")
    space.set_default_gallery("g")
    space.galleries.open(space.galleries.info("g"))
    vector = references(3, seed=5000)[0].vector.tobytes()
    assert traces(space, vector)
    done = purge(space, galleries=("g",))
    assert (done.galleries, done.references, done.scans) == (1, 26, 0)
    assert traces(space, vector, b"secret-source") == []
    assert space.galleries.names() == ["other"]
    assert space.default_gallery() is None
    assert count(space, "neighbours") == 0
    assert len(list(space.scans.rows(space.scans.info("1")))) == 10  # complete in themselves
    assert count(space, "sqlite_master WHERE name = 'for_purge'") == 0
    assert_sound(space)


def test_a_removed_gallery_can_be_purged(space: Workspace) -> None:
    space.galleries.remove("g")
    assert count(space, '"references"') == 20
    assert purge(space, galleries=("g",)).references == 20
    assert count(space, '"references"') == 0


def test_embeddings_of_references_stay_with_their_gallery(space: Workspace) -> None:
    with Workspace(space.folder) as builder:
        store = builder.contents(ENCODER, STEPS)
        store.remember([(file_of("ref.png"), content_of(40))])
    (new,) = references(1, seed=3)[:1]
    space.galleries.add(
        space.galleries.info("g"), [replace(new, sha256=sha256_of(40), path="/ref.png")], "add"
    )
    assert purge(space, scans=("1", "2")).contents == 15
    assert count(space, "contents") == count(space, "files") == 1
    assert purge(space, galleries=("g",)).contents == 1


def test_a_running_scan_is_not_harmed(space: Workspace) -> None:
    recorder = begin_scan(space, "a")
    known = {n: recorder.known_content(sha256_of(n)) for n in range(10)}
    record_one(recorder, "a/0.png", known[0])
    with Workspace(space.folder) as other:
        for what in ({"scans": ("3",)}, {"galleries": ("g",)}):
            with pytest.raises(WorkspaceError, match="scan 3 is running"):
                purge(other, **what)
        done = purge(other, scans=("1", "2"), paths=("a",))
    assert any("scan 3 is running: its rows stay" in note for note in done.notes)
    assert (done.rows, done.contents) == (20, 14)
    for number in range(1, 10):  # looked up before, recorded after
        content = known[number]
        assert content is not None and content.vector is not None
        record_one(recorder, f"a/{number}.png", content)
    recorder.finish("finished", {})
    assert len(list(space.scans.rows(space.scans.info("3")))) == 10
    again = space.contents(ENCODER, STEPS).known_content(sha256_of(9))
    assert again is not None and again.vector is not None
    assert again.vector.tobytes() == vector_of(9).tobytes()
    assert_sound(space)


def test_a_search_that_began_before_a_purge_keeps_no_file_of_it(space: Workspace) -> None:
    name = space._files.names()[0]
    loaded = space._files.load(name, 16)
    assert loaded is not None
    with Workspace(space.folder) as other:
        purge(other, scans=("1",))
    space._files.save(name, loaded.index, loaded.watermark)
    assert list((space.folder / "faiss").iterdir()) == []


def test_nothing_is_purged_under_a_build(space: Workspace) -> None:
    with Workspace(space.folder) as builder:
        builder.contents(ENCODER, STEPS)
        with pytest.raises(WorkspaceError, match="being built"):
            purge(space, scans=("1",))
    assert purge(space, scans=("1",)).scans == 1


def test_a_scan_that_loses_rows_is_counted_again_and_says_so(space: Workspace) -> None:
    recorder = record_scan(space, "c", range(20, 24), finish=False)
    before = {
        **summarise(space.scans.rows(space.scans.info(str(recorder.key)))),
        "left_out": 7,
    }
    recorder.finish("finished", before)
    other = space.scans.info("1")
    purge(space, paths=("c/21.png", "c/23.png"))
    info = space.scans.info("3")
    assert info.summary == {**summarise(space.scans.rows(info)), "left_out": 7}
    assert info.summary["files"] == 2
    assert info.summary["results_sha256"] != before["results_sha256"]
    (purged,) = info.run["purged"]
    assert datetime.fromisoformat(purged.pop("at")).tzinfo is not None
    assert purged == {
        "rows": 2,
        "gallery": False,
        "results_sha256": before["results_sha256"],
        "intact": True,
    }
    assert space.scans.info("1") == other
    purge(space, paths=("c/20.png",))
    again = space.scans.info("3")
    assert [purged["rows"] for purged in again.run["purged"]] == [2, 1]
    assert again.run["purged"][1]["results_sha256"] == info.summary["results_sha256"]


def test_a_purge_does_not_make_changed_rows_right(space: Workspace) -> None:
    recorder = record_scan(space, "c", range(20, 24), finish=False)
    recorder.finish("finished", summarise(space.scans.rows(space.scans.info("3"))))
    space._database.conn.execute("UPDATE verdicts SET verdict = 'fake' WHERE path = 'c/20.png'")
    purge(space, paths=("c/21.png",))
    assert space.scans.info("3").run["purged"][0]["intact"] is False


def test_a_scan_without_a_digest_gets_none(space: Workspace) -> None:
    record_scan(space, "killed", [30, 31], finish=False)
    space.close()
    with Workspace(space.folder) as later:
        purge(later, paths=("a/1.png", "killed/30.png"))
        counted, killed = later.scans.info("1"), later.scans.info("3")
        assert counted.summary["files"] == 9 and "results_sha256" not in counted.summary
        assert killed.summary is None
        assert [s.run["purged"][0]["intact"] for s in (counted, killed)] == [None, None]


def test_a_scan_whose_gallery_goes_is_counted_again_too(space: Workspace) -> None:
    recorder = record_scan(space, "c", range(20, 24), finish=False)
    recorder.finish("finished", summarise(space.scans.rows(space.scans.info("3"))))
    purge(space, galleries=("g",))
    info = space.scans.info("3")
    assert info.summary == summarise(space.scans.rows(info))
    (purged,) = info.run["purged"]
    assert (purged["rows"], purged["gallery"], purged["intact"]) == (0, True, True)


def test_counts_and_rows_go_together_or_not_at_all(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = space.scans.info("1")

    def change_and_restate(scans: Scans, info: ScanInfo, *rest: object) -> Restated:
        restated = restate(scans, info, *rest)
        space._database.conn.execute("UPDATE scans SET summary = '{}' WHERE id = 1")
        return restated

    monkeypatch.setattr(purge_module, "restate", change_and_restate)
    with pytest.raises(WorkspaceError, match="changed scan 1 meanwhile"):
        purge(space, paths=("a/1.png",))
    assert space.scans.count(before) == 10
    assert "purged" not in space.scans.info("1").run


def test_the_plan_names_the_scans_that_go_as_a_whole(space: Workspace) -> None:
    record_scan(space, "b/deeper", [20])
    record_scan(space, "a", [1, 2])
    plan = space.purger(summarise).plan(
        PurgeRequest(scans=("2",), paths=("b", "a/1.png", "a/2.png"))
    )
    assert [info.key for info in plan.scans] == [2]
    assert [info.key for info in plan.emptied] == [3, 4]
    assert plan.rows == 5


def test_an_empty_text_names_not_even_the_only_scan(space: Workspace) -> None:
    purge(space, scans=("2",))
    record_scan(space, ".", [30])
    purge(space, scans=("1",))
    for what in ({"scans": ("",)}, {"paths": ("",)}):
        with pytest.raises(WorkspaceError, match="''"):
            purge(space, **what)
    assert count(space, "verdicts") == 1


@pytest.mark.parametrize(
    "named", ["http://host:80/x/30.png", "http://host:80/x/", "http://host:80/x"]
)
def test_addresses_are_taken_as_they_are(space: Workspace, named: str) -> None:
    record_scan(space, "http://host:80/x", [30, 31])
    record_scan(space, "http://host:80/xx", [32])
    assert purge(space, paths=(named,)).rows == (1 if named.endswith("png") else 2)
    assert traces(space, b"//host:80/x/30.png") == []
    assert traces(space, b"//host:80/xx/32.png")


def test_a_path_with_dots_in_its_middle_goes_as_it_was_scanned(space: Workspace) -> None:
    record_scan(space, "c/../d", [30])
    assert purge(space, paths=("c/../d",)).rows == 1


def record_two(space: Workspace) -> ScanInfo:
    """A scan that was asked for a file and for a folder."""
    gallery = space.galleries.info("g")
    asked = {"arguments": {"paths": ["./seized/30.png", "a"]}, "gallery": {"name": "g"}}
    recorder = space.recorder(gallery, asked)
    record_one(recorder, "seized/30.png", content_of(30))
    record_one(recorder, "a/31.png", content_of(31))
    recorder.finish("finished", summarise(space.scans.rows(space.scans.info(str(recorder.key)))))
    return space.scans.info(str(recorder.key))


@pytest.mark.parametrize("named", ["seized/30.png", "seized/"])
def test_a_scan_no_longer_says_that_it_was_asked_for_a_purged_path(
    space: Workspace, named: str
) -> None:
    before = record_two(space)
    done = purge(space, paths=(named,))
    assert (done.rows, done.mentions) == (1, 1)
    assert traces(space, b"seized") == []
    after = space.scans.info(str(before.key))
    assert after.run["arguments"]["paths"] == ["(purged)", "a"]
    assert [(one["rows"], one["paths"]) for one in after.run["purged"]] == [(1, 1)]


def test_a_path_without_rows_that_a_scan_was_asked_for_goes_too(space: Workspace) -> None:
    key = record_two(space).key
    space._database.conn.execute("DELETE FROM verdicts WHERE path = 'seized/30.png'")
    space._database.conn.execute("DELETE FROM files WHERE path = 'seized/30.png'")
    plan = space.purger(summarise).plan(PurgeRequest(paths=("seized",)))
    assert (plan.rows, plan.naming, plan.emptied) == (0, 1, ())
    assert purge(space, paths=("seized",)).mentions == 1
    assert traces(space, b"seized") == []
    info = space.scans.info(str(key))
    assert purges_in_words(info.run)[0].startswith("the name of a path that was asked for was")


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


@pytest.mark.parametrize("value", ["9223372036854775807", "9" * 30, "-9223372036854775808", "x"])
def test_a_last_key_of_galleries_that_was_made_up(space: Workspace, value: str) -> None:
    space._database.conn.execute("INSERT INTO settings VALUES ('last_gallery', ?)", (value,))
    space.galleries.create("h", ENCODER, STEPS, references(4, seed=7), "build")
    purge(space, galleries=("g",))
    space.galleries.create("g", ENCODER, STEPS, references(4, seed=8), "build")
    assert space.galleries.names() == ["g", "h"]


def test_a_scan_of_many_rows_is_not_counted_again_and_again(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge_module, "_CHUNK", 3)
    counted: list[str] = []
    space._database.conn.set_trace_callback(counted.append)
    assert purge(space, scans=("1",)).rows == 10
    space._database.conn.set_trace_callback(None)
    counts = [text for text in counted if text.startswith("SELECT COUNT(*) FROM verdicts WHERE")]
    assert len(counts) == 1


def test_a_running_scan_that_was_asked_for_a_path_and_has_no_row_there_yet(
    space: Workspace,
) -> None:
    recorder = begin_scan(space, "c")
    (note, *_) = purge(space, paths=("c",)).notes
    assert note == "scan 3 is running: its rows stay until a later purge, and what it was asked for"
    recorder.finish("finished", {})
    assert purge(space, paths=("c",)).mentions == 1
    assert traces(space, b'["c"]') == []


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


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "nothing is named"),
        ({"scans": ("9",)}, "no scan"),
        ({"paths": ("nowhere",)}, "nothing at 'nowhere'"),
        ({"galleries": ("h",)}, "no gallery 'h'"),
        ({"scans": ("",)}, "no scan ''"),
        ({"paths": ("",)}, "nothing at ''"),
        ({"galleries": ("",)}, "no gallery ''"),
    ],
)
def test_what_is_not_there(space: Workspace, what: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(WorkspaceError, match=said):
        purge(space, **what)
    assert count(space, "verdicts") == 20


def test_the_command_asks_first(space: Workspace) -> None:
    where = ("--workspace", space.folder)
    refused = _run("code-index", "purge", "--scan", "1", *where)
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert count(space, "scans") == 2
    refused = _run("code-index", "purge", "--path", "a", *where)
    assert "scan 1 of" in refused.stderr and "goes as a whole" in refused.stderr
    done = _run("code-index", "purge", "--scan", "1", "--path", "b/6.png", "--yes", *where)
    assert done.returncode == 0
    assert "purged: 1 scans, 11 rows, 11 files, 6 contents, 6 embeddings" in done.stderr
    assert count(space, "scans") == 1
    run("code-index", "purge", "--scan", "2", "-y", *where)
    assert count(space, "contents") == 0
