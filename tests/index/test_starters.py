"""The starter is chosen last, and never makes a choice ambiguous."""

from pathlib import Path

import pytest
from code_forensics.index.errors import NoGalleryError
from code_forensics.index.importing.ready_vectors import (
    read_npz,
    read_safetensors,
    write_npz,
    write_safetensors,
)
from code_forensics.index.pull_record import gallery_action
from code_forensics.index.starters import InstalledStarter, starter_action
from code_forensics.index.workspace import Workspace

from tests.index.stored import DIMENSION, ENCODER, STEPS, references


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    opened = Workspace(tmp_path)
    opened.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "test")
    return opened


def make(space: Workspace, name: str, action: str = "build") -> None:
    space.galleries.create(name, ENCODER, STEPS, references(5, seed=len(name)), action)


def test_the_order_of_choice(space: Workspace) -> None:
    with space:
        with pytest.raises(NoGalleryError, match="no gallery"):
            space.choose_gallery()
        make(space, "starter", starter_action("a" * 64))
        assert space.choose_gallery().name == "starter"
        make(space, "mine")
        assert space.choose_gallery().name == "mine"
        make(space, "other")
        with pytest.raises(NoGalleryError, match=r"no default: mine, other$"):
            space.choose_gallery()
        make(space, "published", gallery_action("owner/name", "c" * 40, "d" * 64))
        assert space.choose_gallery().name == "published"
        space.galleries.remove("other")
        assert space.choose_gallery().name == "mine"
        make(space, "other")
        space.set_default_gallery("starter")
        assert space.choose_gallery().name == "starter"
        assert space.choose_gallery("other").name == "other"
        for name in ("mine", "other", "published", "starter"):
            space.galleries.remove(name)
        with pytest.raises(NoGalleryError):
            space.choose_gallery()


def test_the_latest_of_several_is_current_and_a_removed_one_is_none(space: Workspace) -> None:
    with space:
        assert space.starters.current() is None
        make(space, "starter", starter_action("a" * 64))
        make(space, "starter-b", starter_action("b" * 64, 15, "five"))
        make(space, "starter.like", "build of a starter")
        assert space.starters.all() == [
            InstalledStarter("starter", "a" * 64, 1, 1, "center"),
            InstalledStarter("starter-b", "b" * 64, 1, 15, "five"),
        ]
        named = ("starter", "starter-b", "starter.like", "nothing")
        assert [space.k_of_gallery(name) for name in named] == [1, 15, 1, 1]
        crops = [space.crops_of_gallery(name) for name in named]
        assert crops == ["center", "five", "center", "center"]
        assert space.choose_gallery().name == "starter.like"  # no starter's action made it
        space.galleries.remove("starter.like")
        assert space.choose_gallery().name == "starter-b"
        space.galleries.add(space.galleries.info("starter"), references(1, seed=99), "add")
        assert space.starters.all()[0] == InstalledStarter("starter", "a" * 64, 2, 1)
        space.galleries.remove("starter-b")
        assert space.choose_gallery().name == "starter"


def test_what_calibrates_alone_is_sealed_and_never_compared_with(
    space: Workspace, tmp_path: Path
) -> None:
    from dataclasses import replace

    import numpy as np
    from code_forensics.index.errors import GalleryError
    from code_forensics.index.importing.ready_vectors import ReadyVectors

    plain = references(6)
    marked = [replace(r, compared=number % 4 < 2) for number, r in enumerate(plain)]
    with space:
        a = space.galleries.create("a", ENCODER, STEPS, plain, "build")
        b = space.galleries.create("b", ENCODER, STEPS, marked, "build")
        compared = [r for r in marked if r.compared]
        labels = [r.label for r in compared]
        assert a.sha256 != b.sha256
        assert (b.reals, b.fakes) == (labels.count("real"), labels.count("fake"))
        assert sum(group.count for group in space.galleries.groups(b)) == len(compared)
        assert sum(space.galleries.calibrating(b).values()) == len(marked) - len(compared)
        assert not space.galleries.calibrating(a)
        for label in ("real", "fake"):
            for exact in (False, True):
                opened = space.galleries.open(b, exact)
                keys, _ = opened.search(label, plain[0].vector[None], len(marked))
                found = opened.describe([key for key in keys[0].tolist() if key >= 0])
                assert len(found) == labels.count(label)
                assert all(reference.compared for reference in found.values())
        stored = list(space.galleries.references(b))
        assert [r.compared for r, _ in stored] == [r.compared for r in marked]
        assert not any(check.findings for check in space.verify(lambda _: ENCODER))
        more = [replace(r, compared=False) for r in references(2, seed=5)]
        grown = space.galleries.add(b, more, "add")
        assert (grown.reals, grown.fakes) == (b.reals, b.fakes) and grown.sha256 != b.sha256
        assert len(space.galleries.open(grown).index("real")) == b.reals
        with pytest.raises(GalleryError, match="no real reference"):
            alone = [replace(r, compared=r.label == "fake") for r in plain]
            space.galleries.create("c", ENCODER, STEPS, alone, "build")
    vectors = ReadyVectors(
        np.stack([r.vector for r in marked]),
        tuple(r.label for r in marked),
        tuple(r.generator for r in marked),
        tuple(r.source for r in marked),
        compared=tuple(r.compared for r in marked),
    )
    for name, write, read in (
        ("v.npz", write_npz, read_npz),
        ("v.safetensors", write_safetensors, read_safetensors),
    ):
        write(tmp_path / name, vectors)
        back = read(tmp_path / name)
        assert [r.compared for r in back.references()] == [r.compared for r in marked]


def test_what_trained_is_kept_sealed_and_carried_by_files(space: Workspace, tmp_path: Path) -> None:
    from dataclasses import replace

    import numpy as np
    from code_forensics.index.importing.ready_vectors import ReadyVectors

    plain = references(5)
    marked = [replace(r, trained=number % 2 == 0) for number, r in enumerate(plain)]
    with space:
        a = space.galleries.create("a", ENCODER, STEPS, plain, "build")
        b = space.galleries.create("b", ENCODER, STEPS, marked, "build")
        assert a.sha256 != b.sha256
        stored = [reference for reference, _ in space.galleries.references(b)]
        assert [r.trained for r in stored] == [r.trained for r in marked]
        assert not any(r.trained for r, _ in space.galleries.references(a))
        keys, _ = space.galleries.open(space.galleries.info("b")).search(
            "real", marked[0].vector[None], 1
        )
        (described,) = (
            space.galleries.open(space.galleries.info("b")).describe(keys[0].tolist()).values()
        )
        assert described.trained
    vectors = ReadyVectors(
        np.stack([r.vector for r in marked]),
        tuple(r.label for r in marked),
        tuple(r.generator for r in marked),
        tuple(r.source for r in marked),
        ENCODER,
        STEPS,
        tuple(r.trained for r in marked),
    )
    for name, write, read in (
        ("v.npz", write_npz, read_npz),
        ("v.safetensors", write_safetensors, read_safetensors),
    ):
        write(tmp_path / name, vectors)
        back = read(tmp_path / name)
        assert back.trained == vectors.trained
        assert [r.trained for r in back.references()] == [r.trained for r in marked]
