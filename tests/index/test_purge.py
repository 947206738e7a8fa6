"""Purge: what is named goes without a trace, the rest stays, and a scan that runs is not harmed."""

from dataclasses import replace
from datetime import datetime

import pytest
from code_forensics.engine.report.purges import purges_in_words
from code_forensics.engine.report.tally import summarise
from code_forensics.index.errors import WorkspaceError
from code_forensics.index.scans import ScanInfo, Scans
from code_forensics.index.upkeep import purge as purge_module
from code_forensics.index.upkeep.purge_plan import PurgeRequest
from code_forensics.index.upkeep.purge_scan import Restated, restate
from code_forensics.index.workspace import Workspace

from tests.cli.test_scan import _run, run
from tests.index.purging import assert_sound, count, purge, record_two, traces
from tests.index.stored import (
    ENCODER,
    STEPS,
    begin_scan,
    content_of,
    file_of,
    record_one,
    record_scan,
    references,
    sha256_of,
    vector_of,
)


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
    assert "purged: 1 scan, 11 rows, 11 files, 6 contents, 6 embeddings" in done.stderr
    assert count(space, "scans") == 1
    run("code-index", "purge", "--scan", "2", "-y", *where)
    assert count(space, "contents") == 0
