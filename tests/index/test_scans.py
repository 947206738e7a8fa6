"""Scans on record: named by a text, and compared row by row."""

from pathlib import Path

import pytest
from code_forensics.index.errors import WorkspaceError
from code_forensics.index.scans import ScanInfo
from code_forensics.index.workspace import Workspace

from tests.index.stored import begin_scan, content_of, make_workspace, record_one, sha256_of


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "ws")
    yield workspace
    workspace.close()


def watched(space: Workspace, *rows: tuple[str, int]) -> ScanInfo:
    """A scan with a row for each path and picture; a path may come several times."""
    recorder = begin_scan(space, "a")
    for path, number in rows:
        record_one(recorder, path, content_of(number))
    recorder.finish("finished", {})
    return space.scans.info(str(recorder.key))


def pairs(space: Workspace, first: ScanInfo, second: ScanInfo) -> list[tuple[str, int, int]]:
    return [
        (a.path, *(int(facts.sha256 or "", 16) for facts in (a, b)))
        for a, b in space.scans.pairs(first, second)
    ]


def test_rows_of_one_path_are_paired_in_their_order(space: Workspace) -> None:
    first = watched(space, ("b", 1), ("a", 2), ("b", 3), ("x\udcff", 4))
    second = watched(space, ("a", 5), ("x\udcff", 6), ("b", 7), ("b", 8), ("b", 9), ("c", 10))
    assert pairs(space, first, first) == [("b", 1, 1), ("a", 2, 2), ("b", 3, 3), ("x\udcff", 4, 4)]
    assert pairs(space, first, second) == [
        *(("b", 1, 7), ("a", 2, 5), ("b", 3, 8), ("x\udcff", 4, 6))
    ]
    assert next(space.scans.pairs(second, first))[0].sha256 == sha256_of(5)  # and no more of them
    assert (space.scans.only_in(first, second), space.scans.only_in(second, first)) == (0, 2)
    assert space.scans.only_in(first, first) == 0
    both = zip(space.scans.pairs(first, second), space.scans.pairs(second, first), strict=True)
    assert len(list(both)) == 4  # read side by side
    left = space._database.conn.execute("SELECT COUNT(*) FROM sqlite_temp_master").fetchone()
    assert left == (0,)


def test_rows_are_counted_without_a_summary(space: Workspace) -> None:
    recorder = begin_scan(space, "a")
    for number in range(3):
        record_one(recorder, f"{number}", content_of(number))
    info = space.scans.info(str(recorder.key))
    assert info.summary is None
    assert space.scans.tally(info) == (3, 0)
    space._database.conn.execute("UPDATE verdicts SET verdict = 'fake' WHERE path = '1'")
    assert space.scans.tally(info) == (3, 1)


def test_an_empty_text_names_no_scan(space: Workspace) -> None:
    only = watched(space, ("a", 1))
    assert space.scans.info(only.uuid[:8]) == only
    with pytest.raises(WorkspaceError, match="no scan ''"):
        space.scans.info("")
