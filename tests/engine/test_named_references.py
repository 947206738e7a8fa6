"""Names of references beside a verdict: those as near may stand in, and no others."""

from dataclasses import replace

import numpy as np
import pytest
from code_forensics.engine.judging.hits import Hits, search_both
from code_forensics.engine.judging.named_references import can_be_nearest
from code_forensics.engine.results import FileResult, Label, Neighbour, Status

from tests.engine.test_leeway import BruteGallery, shaken

DEPTH, TOLERANCE = 3, 1e-5


@pytest.fixture(scope="module")
def gallery() -> BruteGallery:
    """Of each class 20 references, of which the second is nearly the first, and eight the third."""
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    for first in (0, 20):
        vectors[first + 1] = vectors[first] * np.float32(1 + 1e-6 * (np.arange(8) % 3))
        vectors[first + 3 : first + 11] = vectors[first + 2]
    return BruteGallery(vectors, [""] * 40)


def row_of(hits: Hits) -> FileResult:
    found = [
        Neighbour(key, f"g:{key}", label, "", "", cosine)
        for label, keys, cosines in (
            (Label.REAL, hits.real_keys[0], hits.real[0]),
            (Label.FAKE, hits.fake_keys[0], hits.fake[0]),
        )
        for key, cosine in zip(keys.tolist(), cosines.tolist(), strict=True)
    ]
    return naming(FileResult("a", "0" * 64, 1, "PNG", 500, 500, Status.SCANNED), *found)


def naming(row: FileResult, *neighbours: Neighbour) -> FileResult:
    nearest = neighbours[0].id if neighbours else None
    return replace(row, neighbours=neighbours, neighbour=nearest)


def renamed(neighbour: Neighbour, key: int) -> Neighbour:
    return replace(neighbour, key=key, id=f"g:{key}")


def fits(gallery: BruteGallery, vector: np.ndarray, before: FileResult, after: FileResult) -> bool:
    return can_be_nearest(before, after, gallery, vector, DEPTH, TOLERANCE)


def test_rows_of_cosines_within_the_tolerance_may_be_each_others(gallery: BruteGallery) -> None:
    rng, swapped = np.random.default_rng(1), 0
    for _ in range(100):
        vector = gallery.vectors[rng.integers(40)] + rng.normal(scale=0.3, size=8)
        deep = search_both(gallery, vector[None], 20)
        off = Hits(
            *shaken(rng, deep.real_keys, deep.real, DEPTH),
            *shaken(rng, deep.fake_keys, deep.fake, DEPTH),
        )
        before, after = row_of(off), row_of(search_both(gallery, vector[None], DEPTH))
        assert fits(gallery, vector, before, after)
        swapped += {n.key for n in before.neighbours} != {n.key for n in after.neighbours}
    assert swapped > 0


def test_only_references_as_near_may_stand_in(gallery: BruteGallery) -> None:
    vector = gallery.vectors[0] + np.float32(0.01)
    row = row_of(search_both(gallery, vector[None], DEPTH))
    first, second, third, *fakes = row.neighbours
    assert {first.key, second.key} == {0, 1}
    swapped = (replace(first, key=second.key, id=second.id), renamed(second, first.key))
    assert fits(gallery, vector, naming(row, *swapped, third, *fakes), row)
    far = next(key for key in range(19, 10, -1) if key != third.key)
    for hostile in (
        naming(row, renamed(first, far), second, third, *fakes),
        naming(row, first, second, renamed(third, far), *fakes),
        naming(row, first, second, renamed(third, 999), *fakes),
        naming(row, first, renamed(second, first.key), third, *fakes),
        naming(row, renamed(first, third.key), second, renamed(third, first.key), *fakes),
        naming(row, first, second, renamed(third, fakes[0].key), *fakes),
        replace(row, neighbour="g:7"),
        replace(row, neighbour=None),
    ):
        assert not fits(gallery, vector, hostile, row)


def test_a_tie_of_more_than_were_looked_up_is_no_contradiction(gallery: BruteGallery) -> None:
    vector = gallery.vectors[2]  # nine references are as near, of which six are looked up
    row = row_of(search_both(gallery, vector[None], DEPTH))
    first, *others = row.neighbours
    assert [neighbour.key for neighbour in row.neighbours[:DEPTH]] == [2, 3, 4]
    assert fits(gallery, vector, naming(row, renamed(first, 10), *others), row)
    assert not fits(gallery, vector, naming(row, *others[:-1], renamed(others[-1], 11)), row)
