"""Galleries: search against numpy, atomic changes, and FAISS files that are never trusted."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import GalleryError, UnusableWorkspaceError
from code_forensics.index.gallery_records import NewReference
from code_forensics.index.upkeep.purge_plan import PurgeRequest
from code_forensics.index.workspace import Workspace

DIMENSION = 16


def references(count: int, seed: int = 0) -> list[NewReference]:
    rng = np.random.default_rng(seed)
    return [
        NewReference(
            label,
            "gen" if label == "fake" else "",
            f"source{number % 3}",
            rng.normal(size=DIMENSION).astype(np.float32),
        )
        for number in range(count)
        for label in ("real", "fake")
    ]


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "ws")
    workspace.encoders.keep("e" * 64, b"weights", b"{}", DIMENSION, "test")
    workspace.galleries.create("g", "e" * 64, "p/1", references(40), "build")
    yield workspace
    workspace.close()


def expected(space: Workspace, label: str, queries: np.ndarray, k: int) -> list[list[str]]:
    """Ids by brute force in float64, read from SQLite."""
    pairs = [
        (stored.id, vector)
        for stored, vector in space.galleries.references(space.galleries.info("g"))
        if stored.label == label
    ]
    matrix = np.stack([vector for _, vector in pairs]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    order = np.argsort(-(queries @ matrix.T), axis=1)[:, :k]
    return [[pairs[column][0] for column in row] for row in order]


def found(space: Workspace, label: str, queries: np.ndarray, k: int) -> list[list[str]]:
    gallery = space.galleries.open(space.galleries.info("g"))
    keys, cosines = gallery.search(label, queries.astype(np.float32), k)
    assert (np.diff(cosines, axis=1) <= 0).all()
    described = gallery.describe(keys.ravel().tolist())
    return [[described[key].id for key in row] for row in keys.tolist()]


def agree(space: Workspace) -> bool:
    queries = np.random.default_rng(9).normal(size=(30, DIMENSION))
    return all(
        found(space, label, queries, 3) == expected(space, label, queries, 3)
        for label in ("real", "fake")
    )


def test_search_equals_brute_force(space: Workspace) -> None:
    assert agree(space)


def test_a_row_depends_on_its_own_query_alone(space: Workspace) -> None:
    queries = np.random.default_rng(3).normal(size=(50, DIMENSION)).astype(np.float32)
    gallery = space.galleries.open(space.galleries.info("g"))
    together = gallery.search("real", queries, 2)[1]
    alone = np.concatenate([gallery.search("real", q[None], 2)[1] for q in queries])
    assert np.array_equal(together, alone)


def test_a_class_with_fewer_references_than_k(space: Workspace) -> None:
    keys, cosines = space.galleries.open(space.galleries.info("g")).search(
        "fake", np.ones((1, 16), np.float32), 45
    )
    assert (keys[0, :40] >= 0).all() and (keys[0, 40:] == -1).all()
    assert np.isneginf(cosines[0, 40:]).all()


def test_adding_and_withdrawing_change_the_generation_and_the_answers(space: Workspace) -> None:
    assert agree(space)
    before = space.galleries.info("g")
    space.galleries.add(space.galleries.info("g"), references(10, seed=5), "add")
    after = space.galleries.info("g")
    assert (after.generation, after.reals) == (before.generation + 1, 50)
    assert after.sha256 != before.sha256
    assert agree(space)
    count = space.galleries.withdraw("g", "remove", sources=["source1"])
    assert count == sum(r.source == "source1" for r in references(40) + references(10))
    assert space.galleries.info("g").reals == 50 - count // 2
    assert agree(space)


def test_an_add_that_was_killed_after_its_commit_can_be_run_again(space: Workspace) -> None:
    new = [replace(r, sha256=f"{n:064}") for n, r in enumerate(references(3, seed=2))]
    first = space.galleries.add(space.galleries.info("g"), new, "add")
    again = space.galleries.add(space.galleries.info("g"), new, "add")
    assert (again.generation, again.sha256, again.reals) == (2, first.sha256, 43)
    more = space.galleries.add(
        space.galleries.info("g"), [*new, replace(new[0], sha256="f" * 64)], "add"
    )
    assert (more.generation, more.reals) == (3, 44)
    space.galleries.withdraw("g", "remove", sha256s=["f" * 64])
    assert (
        space.galleries.add(
            space.galleries.info("g"), [replace(new[0], sha256="f" * 64)], "add"
        ).reals
        == 44
    )


def test_the_same_bytes_are_added_once_a_class(space: Workspace) -> None:
    real, fake = (replace(r, sha256="a" * 64) for r in references(1, seed=2))
    space.galleries.add(space.galleries.info("g"), [real], "add")
    other = replace(real, source="elsewhere", generator="other")
    after = space.galleries.add(space.galleries.info("g"), [other, fake], "add")
    assert (after.generation, after.reals, after.fakes) == (3, 41, 41)
    assert space.galleries.held(after) == {("a" * 64, "real"), ("a" * 64, "fake")}
    plain = replace(real, sha256=None)  # of imported vectors nothing is known
    assert space.galleries.add(space.galleries.info("g"), [plain, plain], "add").reals == 43


def replaced(space: Workspace, purged: bool) -> None:
    """Remove gallery g, and make another one of that name."""
    space.galleries.remove("g")
    if purged:
        purger = space.purger(lambda rows: {})
        purger.carry_out(purger.plan(PurgeRequest(galleries=("g",))))
    space.galleries.create("g", "e" * 64, "p/1", references(20, seed=8), "build")


@pytest.mark.parametrize("purged", [False, True])
def test_nothing_is_added_to_another_gallery_of_the_same_name(
    space: Workspace, purged: bool
) -> None:
    before = space.galleries.info("g")
    replaced(space, purged)
    with pytest.raises(GalleryError, match="made anew meanwhile"):
        space.galleries.add(before, references(1, seed=2), "add")
    assert space.galleries.info("g").reals == 20


def test_vectors_of_another_length_are_refused(space: Workspace) -> None:
    strange = NewReference("real", "", "s", np.ones(DIMENSION + 1, np.float32))
    with pytest.raises(GalleryError, match="none of the gallery's encoder"):
        space.galleries.add(space.galleries.info("g"), [strange], "add")
    with pytest.raises(GalleryError, match="none of the gallery's encoder"):
        space.galleries.create("h", "e" * 64, "p/1", [strange, *references(2)], "build")
    assert space.galleries.info("g").generation == 1 and space.galleries.names() == ["g"]


def test_what_was_fitted_on_a_purged_gallery_is_not_kept_for_the_next(space: Workspace) -> None:
    before = space.galleries.info("g")
    replaced(space, purged=True)
    after = space.galleries.info("g")
    assert after.key != before.key
    space.galleries.keep_assessment(before, 1, b"of the purged one")
    space.bands.keep(before, 1, "bfloat16", {"width": 1})
    assert space.galleries.assessment(after, 1) is space.bands.get(after, 1, "bfloat16") is None
    space.galleries.keep_assessment(after, 1, b"its own")
    space.bands.keep(after, 1, "bfloat16", {"width": 2})
    assert space.galleries.assessment(after, 1) == b"its own"
    assert space.bands.get(after, 1, "bfloat16") == {"width": 2}


@pytest.mark.parametrize("change", ["add", "withdraw", "remove"])
def test_an_earlier_state_is_opened_as_it_was_and_leaves_the_files(
    space: Workspace, change: str
) -> None:
    before = space.galleries.info("g")
    queries = np.random.default_rng(9).normal(size=(30, DIMENSION))
    wanted = {label: expected(space, label, queries, 3) for label in ("real", "fake")}
    if change == "add":
        space.galleries.add(before, references(10, seed=5), "add")
    elif change == "withdraw":
        space.galleries.withdraw("g", "remove", sources=["source1"])
    else:
        space.galleries.remove("g")
    if change != "remove":
        space.galleries.open(space.galleries.info("g"))
    files = {p: p.read_bytes() for p in (space.folder / "faiss").glob("*")}
    opened = space.galleries.open(before)
    assert opened.info == before
    for label, ids in wanted.items():
        keys, _ = opened.search(label, queries.astype(np.float32), 3)
        described = opened.describe(keys.ravel().tolist())
        assert [[described[key].id for key in row] for row in keys.tolist()] == ids
    assert {p: p.read_bytes() for p in (space.folder / "faiss").glob("*")} == files


@pytest.mark.parametrize("text", ["", "abcde", "abcdeg", "a" * 65, "%" * 6])
def test_what_begins_no_digest_names_no_reference(space: Workspace, text: str) -> None:
    with pytest.raises(GalleryError, match="is not a SHA-256, nor the beginning of one") as caught:
        space.galleries.withdraw("g", "remove", sha256s=[text])
    assert "at least 6" in caught.value.hint
    assert space.galleries.info("g").generation == 1


def test_a_beginning_withdraws_the_one_file_that_it_fits(space: Workspace) -> None:
    real, fake = references(1, seed=2)
    one, other = "abcdef1" + "0" * 57, "abcdef2" + "0" * 57
    added = [replace(real, sha256=one), replace(fake, sha256=one), replace(real, sha256=other)]
    space.galleries.add(space.galleries.info("g"), added, "add")
    with pytest.raises(
        GalleryError, match=r"2 files .* abcdef100000\.\.\., abcdef200000"
    ) as caught:
        space.galleries.withdraw("g", "remove", sha256s=["abcdef"])
    assert caught.value.hint == "give more digits"
    assert space.galleries.withdraw("g", "remove", sha256s=["ABCDEF1"]) == 2  # of both classes
    assert space.galleries.withdraw("g", "remove", sha256s=[other]) == 1


def test_options_of_one_kind_widen_and_those_of_another_narrow(space: Workspace) -> None:
    held = references(40)
    with pytest.raises(GalleryError, match="no reference of gallery 'g' matches"):
        space.galleries.withdraw("g", "remove", sources=["source0"], generators=["other"])
    count = space.galleries.withdraw(
        "g", "remove", sources=["source0", "source1"], generators=["gen", "other"]
    )
    assert count == sum(r.label == "fake" and r.source != "source2" for r in held)
    assert space.galleries.info("g").reals == 40


def test_a_generator_matches_no_real(space: Workspace) -> None:
    real, fake = (replace(r, generator="phone") for r in references(1, seed=2))
    space.galleries.add(space.galleries.info("g"), [real, fake], "add")
    assert space.galleries.withdraw("g", "remove", generators=["phone"]) == 1
    assert (space.galleries.info("g").reals, space.galleries.info("g").fakes) == (41, 40)


def test_an_add_that_fails_changes_nothing(space: Workspace) -> None:
    def fails() -> object:
        yield from references(2)
        raise RuntimeError("pulled the plug")

    before = space.galleries.info("g")
    with pytest.raises(RuntimeError, match="pulled the plug"):
        space.galleries.add(space.galleries.info("g"), fails(), "add")
    assert space.galleries.info("g") == before
    assert agree(space)


def test_a_class_is_never_left_empty(space: Workspace) -> None:
    with pytest.raises(GalleryError, match="no fake reference"):
        space.galleries.withdraw("g", "remove", generators=["gen"])
    assert space.galleries.info("g").fakes == 40


@pytest.mark.parametrize("damage", ["missing", "cut", "bit", "swapped"])
def test_a_damaged_faiss_file_is_rebuilt(
    space: Workspace, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert agree(space)
    file = space.folder / "faiss" / "gallery-1-real.faiss"
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "bit":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        shutil.copy(file.with_name("gallery-1-fake.faiss"), file)
    with caplog.at_level(logging.WARNING):
        assert agree(space)
    assert "rebuilding it" in caplog.text
    caplog.clear()
    assert agree(space)
    assert "rebuilding" not in caplog.text


def test_names(space: Workspace) -> None:
    with pytest.raises(GalleryError, match="already"):
        space.galleries.create("g", "e" * 64, "p/1", references(1), "build")
    for name in ("", "../x", "a b", "-x", "x" * 200):
        with pytest.raises(GalleryError, match="cannot be"):
            space.galleries.check_new(name)
    with pytest.raises(GalleryError, match="there is no gallery 'h'"):
        space.galleries.info("h")
    space.galleries.remove("g")
    assert space.galleries.names() == []
    space.galleries.create("g", "e" * 64, "p/1", references(1), "build")


def test_a_removed_gallery_is_no_default_any_more(space: Workspace) -> None:
    space.set_default_gallery("g")
    space.galleries.remove("g")
    assert space.default_gallery() is None
    space.galleries.create("g", "e" * 64, "p/1", references(1), "build")
    assert space.default_gallery() is None


def test_a_newer_workspace_is_refused(space: Workspace) -> None:
    space._database.conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('code_forensics', 'm999_future', 'now')"
    )
    with pytest.raises(UnusableWorkspaceError, match="newer version"):
        Workspace(space.folder)


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "workspace.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(UnusableWorkspaceError, match="damaged"):
        Workspace(tmp_path)
