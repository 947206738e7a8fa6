"""Large galleries in cells, with small numbers: recall, exact cosines, changes, damage, restarts."""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.gallery_records import NewReference
from code_forensics.index.open_gallery import OpenGallery
from code_forensics.index.searching import inverted_lists, large_class, tuning
from code_forensics.index.searching.approximate import ApproximateIndex
from code_forensics.index.searching.exact_rows import ExactRows
from code_forensics.index.searching.inverted_lists import PROPOSED, InvertedLists, Kind, Trained
from code_forensics.index.searching.tuning import tune
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.workspace import Workspace
from numpy.typing import NDArray

from tests.index.stored import DIMENSION, ENCODER, STEPS

REALS = 1500
_THEMES = np.random.default_rng(9).normal(size=(40, DIMENSION)) * 3


def clustered(count: int, seed: int) -> list[NewReference]:
    """Real references around forty centres."""
    rng = np.random.default_rng(seed)
    vectors = _THEMES[rng.integers(0, 40, count)] + rng.normal(size=(count, DIMENSION))
    return [NewReference("real", "", f"s{seed}", v.astype(np.float32)) for v in vectors]


def fakes(count: int) -> list[NewReference]:
    rng = np.random.default_rng(77)
    return [NewReference("fake", "gen", "f", v.astype(np.float32))
            for v in rng.normal(size=(count, DIMENSION))]  # fmt: skip


@pytest.fixture(params=list(Kind))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    monkeypatch.setattr(large_class, "kind_for", lambda count: request.param)
    return request.param


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(large_class, "EXACT", 1000)
    monkeypatch.setattr(large_class, "cells_for", lambda count: 64)
    workspace = Workspace(tmp_path / "ws")
    workspace.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "test")
    workspace.galleries.create("g", ENCODER, STEPS, [*clustered(REALS, 0), *fakes(50)], "build")
    yield workspace
    workspace.close()


def truth(space: Workspace, queries: NDArray[np.float32], k: int) -> tuple[NDArray, NDArray]:
    """Neighbours by brute force over what SQLite holds."""
    rows = space._database.conn.execute(
        "SELECT id, vector FROM \"references\" WHERE label = 'real' AND removed IS NULL ORDER BY id"
    ).fetchall()
    matrix = np.stack([np.frombuffer(blob, "<f4") for _, blob in rows]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    asked = queries.astype(np.float64)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    cosines = asked @ matrix.T
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.array([key for key, _ in rows])[best], np.take_along_axis(cosines, best, axis=1)


def queries(count: int = 200) -> NDArray[np.float32]:
    return np.stack([reference.vector for reference in clustered(count, 5)])


def agreement(space: Workspace, gallery: OpenGallery) -> float:
    """Share of queries whose nearest is the true one; all cosines must be true ones."""
    keys, cosines = gallery.search("real", queries(), 5)
    best, values = truth(space, queries(), 5)
    same = keys == best
    assert np.allclose(cosines[same], values[same], atol=1e-6)
    assert (cosines <= values + 1e-6).all() and (np.diff(cosines, axis=1) <= 0).all()
    return float(same[:, 0].mean())


def test_the_nearest_are_found_and_recall_is_known(space: Workspace, kind: Kind) -> None:
    gallery = space.galleries.open(space.galleries.info("g"))
    assert list(gallery.searching) == ["real"]  # the few fakes are all compared
    trained = gallery.searching["real"]
    assert trained.kind is kind and trained.probes < trained.cells
    assert trained.recall_1 >= 0.995 and trained.recall_10 > 0.9
    assert agreement(space, gallery) >= 0.97
    shown = space.galleries.searches(space.galleries.info("g"))
    assert shown == {"real": trained, "fake": None}
    assert "recall@1" in str(trained)


def test_where_codes_are_too_coarse_more_rows_are_compared_not_more_cells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(16, DIMENSION))
    vectors = centres[rng.integers(0, 16, 4000)] + 0.05 * rng.normal(size=(4000, DIMENSION))
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = ExactRows(np.arange(4000), units)
    lists = InvertedLists.train(rows, Kind.PQ4, 64)
    lists.fill(rows)
    found = tune(lists, rows, units[:0], proposed=2)
    assert found.lack == 0
    assert found.proposed > 2 and found.probes < 64
    monkeypatch.setattr(tuning, "MOST_PROPOSED", 2)
    bounded = tune(lists, rows, units[:0], proposed=2)
    assert bounded.lack > 0 and bounded.proposed == 2
    assert bounded.probes < 64  # no number of cells would do


def test_an_older_record_of_a_search_compares_as_many_as_it_did() -> None:
    written = json.loads(Trained(Kind.SQ8, 4, 2, 9, 9, 0.1, 1, 1, 1, 1, 0, 9, 48).to_json())
    assert Trained.from_json(json.dumps(written)).proposed == 48
    del written["proposed"]
    assert Trained.from_json(json.dumps(written)).proposed == PROPOSED[Kind.SQ8]
    with pytest.raises(ValueError, match="not a record of a search"):
        Trained.from_json("[" * 100_000)


def test_all_can_be_compared_and_the_record_says_so(space: Workspace, kind: Kind) -> None:
    opened, exact = (
        space.galleries.open(space.galleries.info("g")),
        space.galleries.open(space.galleries.info("g"), exact=True),
    )
    trained = opened.searching["real"]
    assert opened.search_record() == {
        "real": {
            "kind": str(kind),
            "cells": 64,
            "probes": trained.probes,
            "compared": PROPOSED[kind],
        },
        "fake": {"kind": "exact"},
    }
    assert exact.search_record() == {"real": {"kind": "exact"}, "fake": {"kind": "exact"}}
    assert np.array_equal(exact.search("real", queries(), 5)[0], truth(space, queries(), 5)[0])


def test_an_answer_depends_on_its_own_query_alone(space: Workspace, kind: Kind) -> None:
    gallery = space.galleries.open(space.galleries.info("g"))
    keys, cosines = gallery.search("real", queries(), 4)
    order = np.random.default_rng(3).permutation(len(keys))
    again, values = gallery.search("real", queries()[order], 4)
    assert np.array_equal(again, keys[order]) and np.array_equal(values, cosines[order])
    for row in range(0, 200, 17):
        alone, value = gallery.search("real", queries()[row : row + 1], 4)
        assert np.array_equal(alone[0], keys[row]) and np.array_equal(value[0], cosines[row])


def test_more_neighbours_than_near_cells_hold(space: Workspace, kind: Kind) -> None:
    gallery = space.galleries.open(space.galleries.info("g"))
    keys, cosines = gallery.search("real", queries(3), REALS + 7)
    assert (keys[:, :REALS] >= 0).all() and (keys[:, REALS:] == -1).all()
    best, values = truth(space, queries(3), REALS)
    assert all(set(found) == set(all_) for found, all_ in zip(keys[:, :REALS], best, strict=True))
    assert (
        np.allclose(cosines[:, :REALS], values, atol=1e-6) and np.isneginf(cosines[:, REALS:]).all()
    )


def test_the_same_references_give_the_same_files(space: Workspace, kind: Kind) -> None:
    space.galleries.open(space.galleries.info("g"))
    folder = space.folder / "faiss"
    names = [f"gallery-1-real-{part}.faiss" for part in ("rows", "cells")]
    before = [(folder / name).read_bytes() for name in names]
    shutil.rmtree(folder)
    trained = space.galleries.open(space.galleries.info("g")).searching["real"]
    assert [(folder / name).read_bytes() for name in names] == before
    assert trained == space.galleries.searches(space.galleries.info("g"))["real"]


def test_opening_neither_reads_nor_trains(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.galleries.open(space.galleries.info("g"))

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(InvertedLists, "train", never)
    monkeypatch.setattr("hashlib.file_digest", never)
    gallery = space.galleries.open(space.galleries.info("g"))
    index = gallery.index("real")
    assert isinstance(index, ApproximateIndex)
    assert isinstance(index.part.rows.units.base, np.memmap) or isinstance(
        index.part.rows.units, np.memmap
    )
    assert agreement(space, gallery) >= 0.97


def test_changes_are_searched_exactly_until_there_are_many(
    space: Workspace, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = space.galleries.open(space.galleries.info("g")).searching["real"]
    space.galleries.add(space.galleries.info("g"), clustered(30, 1), "add")
    gallery = space.galleries.open(space.galleries.info("g"))
    assert gallery.searching["real"] == first
    assert len(gallery.index("real")) == REALS + 30
    assert agreement(space, gallery) >= 0.97
    added = np.stack([reference.vector for reference in clustered(30, 1)])
    _, cosines = gallery.search("real", added, 1)
    assert np.allclose(cosines, 1)
    space.galleries.withdraw("g", "remove", sources=["s1"])
    gallery = space.galleries.open(space.galleries.info("g"))
    assert len(gallery.index("real")) == REALS and gallery.searching["real"] == first
    keys, _ = gallery.search("real", added, 5)
    assert (keys <= REALS).all() and agreement(space, gallery) >= 0.97

    trained: list[int] = []
    train = InvertedLists.train
    monkeypatch.setattr(
        InvertedLists,
        "train",
        lambda *a: trained.append(1) or train(*a),  # type: ignore[func-returns-value]
    )
    space.galleries.add(
        space.galleries.info("g"), clustered(200, 2), "add"
    )  # more than a twentieth
    gallery = space.galleries.open(space.galleries.info("g"))
    filled = gallery.searching["real"]
    assert not trained  # they lie as near to the centroids as the others
    assert (filled.generation, filled.vectors) == (4, REALS + 200)
    assert filled.trained_on == REALS and filled.spread == first.spread
    assert agreement(space, gallery) >= 0.97
    rng = np.random.default_rng(0)
    strangers = [
        NewReference("real", "", "far", (rng.normal(size=DIMENSION) * 3).astype(np.float32))
        for _ in range(300)
    ]
    space.galleries.add(space.galleries.info("g"), strangers, "add")
    gallery = space.galleries.open(space.galleries.info("g"))
    assert trained and gallery.searching["real"].trained_on == REALS + 500
    assert agreement(space, gallery) >= 0.97


def test_an_opening_that_is_late_leaves_the_files_of_a_newer_state(
    space: Workspace, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = space.galleries.info("g")
    nearest = space.galleries.open(before, exact=True).search("real", queries(), 1)
    space.galleries.add(before, clustered(30, 1), "add")
    space.galleries.open(space.galleries.info("g"))
    files = {p: p.read_bytes() for p in (space.folder / "faiss").glob("*")}
    # It changed, and was opened elsewhere, right after it was asked for.
    monkeypatch.setattr(type(space.galleries), "_is_current", lambda *_: True)
    late = space.galleries.open(before)
    assert late.searching == {}
    assert [part.tolist() for part in late.search("real", queries(), 1)] == [
        part.tolist() for part in nearest
    ]
    assert {p: p.read_bytes() for p in (space.folder / "faiss").glob("*")} == files


def test_what_was_removed_from_cells_is_not_found(space: Workspace, kind: Kind) -> None:
    space.galleries.add(space.galleries.info("g"), clustered(40, 1), "add")
    space.galleries.open(space.galleries.info("g"))
    space.galleries.withdraw("g", "remove", sources=["s1"])
    gallery = space.galleries.open(space.galleries.info("g"))
    assert gallery.searching["real"].vectors == REALS + 40
    asked = np.stack([reference.vector for reference in clustered(40, 1)])
    keys, _ = gallery.search("real", asked, REALS + 40)
    assert (keys[:, :REALS] >= 0).all() and (keys[:, REALS:] == -1).all()
    index = gallery.index("real")
    assert len(index) == REALS == len(index.keys)
    assert not set(keys[keys >= 0].tolist()) - set(index.keys.tolist())
    assert agreement(space, gallery) >= 0.97
    results = [finding for check in space.verify(lambda _: ENCODER) for finding in check.findings]
    assert results == []


@pytest.mark.parametrize("part", ["rows", "cells"])
@pytest.mark.parametrize("damage", ["missing", "cut", "bit", "swapped"])
def test_a_damaged_file_is_made_again(
    space: Workspace, part: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    space.galleries.open(space.galleries.info("g"))
    path = space.folder / "faiss" / f"gallery-1-real-{part}.faiss"
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "bit":
        path.write_bytes(data[:-20] + bytes([data[-20] ^ 4]) + data[-19:])
    else:
        other = {"rows": "cells", "cells": "rows"}[part]
        shutil.copy(path.with_name(f"gallery-1-real-{other}.faiss"), path)
    with caplog.at_level(logging.WARNING):
        assert agreement(space, space.galleries.open(space.galleries.info("g"))) >= 0.97
    assert "rebuilding it" in caplog.text
    assert path.read_bytes() == data


def test_verify_finds_what_opening_takes_on_trust(space: Workspace) -> None:
    space.galleries.open(space.galleries.info("g"))
    path = space.folder / "faiss" / "gallery-1-real-rows.faiss"
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 4]) + data[-19:])
    with space._database.conn as connection:  # as if the disk had done it
        status = path.stat()
        connection.execute(
            "UPDATE faiss_files SET seen = ? WHERE name LIKE '%-rows'",
            (f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}",),
        )
    found = [finding for check in space.verify(lambda _: ENCODER) for finding in check.findings]
    assert [(finding.what.split()[3], finding.outcome) for finding in found] == [
        ("gallery-1-real-rows", Outcome.REPAIRED)
    ]
    assert path.read_bytes() == data


def test_where_nothing_can_be_kept_all_are_compared(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space._files, "keep", lambda *_: None)
    gallery = space.galleries.open(space.galleries.info("g"))
    assert gallery.searching == {} and agreement(space, gallery) == 1.0


def test_a_gallery_that_grows_and_shrinks_over_the_bound(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_class, "EXACT", 2 * REALS)
    assert agreement(space, space.galleries.open(space.galleries.info("g"))) == 1.0
    monkeypatch.setattr(large_class, "EXACT", 1000)
    space.galleries.add(space.galleries.info("g"), clustered(10, 1), "add")
    assert space.galleries.open(space.galleries.info("g")).searching
    space.galleries.add(space.galleries.info("g"), clustered(10, 2), "add")
    assert agreement(space, space.galleries.open(space.galleries.info("g"))) >= 0.97
    monkeypatch.setattr(large_class, "EXACT", 2 * REALS)
    assert agreement(space, space.galleries.open(space.galleries.info("g"))) == 1.0
    assert [
        finding for check in space.verify(lambda _: ENCODER) for finding in check.findings
    ] == []
    space.galleries.remove("g")
    assert list((space.folder / "faiss").glob("*.faiss")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_a_folder_whose_name_is_no_text(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_class, "EXACT", 1000)
    monkeypatch.setattr(large_class, "cells_for", lambda count: 16)
    with Workspace(tmp_path / os.fsdecode(b"ws\xff")) as space:
        space.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "test")
        space.galleries.create("g", ENCODER, STEPS, [*clustered(REALS, 0), *fakes(50)], "build")
        assert space.galleries.open(space.galleries.info("g")).searching
        space.galleries.add(
            space.galleries.info("g"), clustered(REALS // 10, 1), "add"
        )  # into the same cells
        assert space.galleries.open(space.galleries.info("g")).searching
        assert agreement(space, space.galleries.open(space.galleries.info("g"))) >= 0.9


def test_a_damaged_record_is_made_again(space: Workspace) -> None:
    trained = space.galleries.open(space.galleries.info("g")).searching["real"]
    for text in ("{}", "no JSON", json.dumps({"kind": "other"}), "[]"):
        with space._database.conn as connection:
            connection.execute("UPDATE trained_searches SET document = ?", (text,))
        assert space.galleries.open(space.galleries.info("g")).searching["real"] == trained


def test_sizes_choose_cells() -> None:
    sizes = (300_000, 1_000_000, 3_000_000, 10_000_000)
    assert [inverted_lists.cells_for(size) for size in sizes] == [2048, 4096, 8192, 8192]
    assert [inverted_lists.kind_for(dimension) for dimension in (192, 191)] == ["pq4", "sq8"]
