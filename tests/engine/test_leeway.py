"""What a row may say where cosines may lie off by a little: honest rows against those by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from code_forensics.engine.decoding.views import CropPlace
from code_forensics.engine.heads import Kernel, KernelKind
from code_forensics.engine.judging.assessment import Assessment, assess
from code_forensics.engine.judging.heads import LinearHead, NamedHead, SvmHead
from code_forensics.engine.judging.hits import Hits, search_both
from code_forensics.engine.judging.judge import Judge, JudgeOptions
from code_forensics.engine.judging.leeway import TOLERANCE, Seen, within
from code_forensics.engine.judging.query import Query
from code_forensics.engine.judging.scores import score_bands
from code_forensics.engine.judging.thresholds import ThresholdOptions
from code_forensics.engine.ledger import judged
from code_forensics.engine.results import FileResult, Label, ProbeScore, Status, Verdict

D = 8
SHIFT = 0.6
LAX = JudgeOptions(thresholds=ThresholdOptions(0.1, 0.1))
PLACES = tuple(CropPlace(left, left, 224) for left in range(5))
FACTS = FileResult("a", "0" * 64, 1, "PNG", 500, 500, Status.SCANNED, precision="float32")


@dataclass
class Reference:
    generator: str
    id: str = "g:1"
    label: str = "fake"
    source: str = ""
    trained: bool = False
    compared: bool = True


@dataclass
class BruteGallery:
    """Exact search in numpy; the first half of the references is real."""

    vectors: np.ndarray
    generators: list[str]
    encoder_sha256: str = ""
    preprocessing: str = ""

    def search(self, label: str, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        half = len(self.vectors) // 2
        rows = np.arange(half) + half * (label == "fake")
        cosines = unit(vectors) @ unit(self.vectors[rows]).T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return rows[order], np.take_along_axis(cosines, order, axis=1)

    def describe(self, keys: list[int]) -> dict[int, Reference]:
        return {key: Reference(self.generators[key]) for key in keys}


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def gallery() -> BruteGallery:
    """Reals, fakes by two generators, and a near copy of each fake, every eighth by a third."""
    rng = np.random.default_rng(0)
    side = np.where(np.arange(40) % 2, 1.0, -1.0)[:, None] * np.array([2.0, *[0.0] * (D - 1)])
    reals = rng.normal(size=(80, D)) - SHIFT
    fakes = rng.normal(size=(40, D)) + SHIFT + side
    copies = fakes + rng.normal(scale=1e-4, size=fakes.shape)
    of_fakes = [f"one{row % 2}" for row in range(40)]
    of_copies = ["two" if row % 8 == 0 else name for row, name in enumerate(of_fakes)]
    names = [*[""] * 80, *of_fakes, *of_copies]
    vectors = np.concatenate((reals, fakes, copies)).astype(np.float32)
    return BruteGallery(vectors, names)


@pytest.fixture(scope="module")
def assessment(gallery: BruteGallery) -> Assessment:
    labels = np.repeat((0, 1), 80)
    sources = [f"s{row % 8}" for row in range(160)]
    return assess(gallery.vectors, labels, sources, gallery.generators, 3)


def row_of(
    judge: Judge, gallery: BruteGallery, hits: Hits, vectors: np.ndarray, changes: tuple[str, ...]
) -> FileResult:
    query = Query(hits, 500, 500, 0.0, PLACES, changes, vectors[0])
    return judged(FACTS, judge.judge([query], gallery)[0])


def shaken(rng: np.random.Generator, keys: np.ndarray, cosines: np.ndarray, depth: int):
    """Every cosine off, one way or the other, and what is then the nearest."""
    moved = cosines + 0.999 * TOLERANCE * rng.choice((-1.0, 1.0), cosines.shape)
    order = np.argsort(-moved, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(keys, order, axis=1), np.take_along_axis(moved, order, axis=1)


def pictures(gallery: BruteGallery, count: int) -> list[np.ndarray]:
    """Five crops and a change of each: some by chance, some that nearly are references."""
    rng = np.random.default_rng(1)
    drawn = []
    for number in range(count):
        vectors = rng.normal(size=(6, D)) + SHIFT * rng.choice((-1, 1))
        if number % 2:
            near = rng.integers(len(gallery.vectors), size=6)
            vectors = gallery.vectors[near] + rng.normal(scale=3e-3, size=(6, D))
        drawn.append(vectors.astype(np.float32))
    return drawn


def test_rows_whose_cosines_are_within_the_tolerance_hold(
    gallery: BruteGallery, assessment: Assessment
) -> None:
    judge, rng = Judge(assessment, LAX), np.random.default_rng(2)
    compared, swapped, beyond = 0, 0, 0
    for vectors in pictures(gallery, 200):
        hits = search_both(gallery, vectors, judge.depth)
        deep = search_both(gallery, vectors, 40)
        off = Hits(
            *shaken(rng, deep.real_keys, deep.real, judge.depth),
            *shaken(rng, deep.fake_keys, deep.fake, judge.depth),
        )
        after = row_of(judge, gallery, hits, vectors, ("jpeg_75",))
        before = row_of(judge, gallery, off, vectors, ("jpeg_75",))
        if (before.verdict, before.reason, before.knn) != (after.verdict, after.reason, after.knn):
            continue
        assert within(before, after, Seen(judge, gallery, vectors))
        compared += 1
        swapped += (before.generator, before.attribution) != (after.generator, after.attribution)
        middle = score_bands([[after.real_similarity]], [[after.fake_similarity]], 1, TOLERANCE)
        beyond += abs(before.score - after.score) > middle[0]
    assert compared > 150
    assert swapped > 0
    assert beyond > 0  # what the middle's nearest alone would allow


def two_rows(gallery: BruteGallery, judge: Judge, verdict: Verdict) -> tuple[FileResult, Seen]:
    for vectors in pictures(gallery, 200):
        hits = search_both(gallery, vectors, judge.depth)
        row = row_of(judge, gallery, hits, vectors, ("jpeg_75",))
        if row.verdict is verdict and (verdict is Verdict.REAL or row.attribution != "unknown"):
            return row, Seen(judge, gallery, vectors)
    raise AssertionError(f"none is {verdict}")


@pytest.mark.parametrize(
    "change",
    [
        {"p_fake": 0.01},
        {"log10_lr": -1.9},
        {"log10_lr": None},
        {"generator": "FLUX"},
        {"generator": None},
        {"attribution": "FLUX"},
        {"attribution": None, "attribution_certainty": None},
        {"attribution_certainty": 0.1},
        {"score": 0.0},
        {"margin": 0.0},
        {"real_similarity": 0.0},
        {"fake_similarity": 0.0},
        {"classifier_score": 1.0},
        {"neighbours": ()},
        {"crops": ()},
        {"probe": ()},
        {"probe": (ProbeScore("jpeg_75", 0.0, Verdict.FAKE),)},
    ],
    ids=str,
)
def test_a_fake_that_was_changed_by_hand_does_not(
    gallery: BruteGallery, assessment: Assessment, change: dict[str, object]
) -> None:
    row, seen = two_rows(gallery, Judge(assessment, LAX), Verdict.FAKE)
    assert within(row, row, seen)
    assert not within(replace(row, **change), row, seen)


def test_a_real_that_was_changed_by_hand_does_not(
    gallery: BruteGallery, assessment: Assessment
) -> None:
    row, seen = two_rows(gallery, Judge(assessment, LAX), Verdict.REAL)
    nearest, *others = row.neighbours
    other = Label.REAL if nearest.label is Label.FAKE else Label.FAKE
    crop, *more = row.crops
    assert within(row, row, seen)
    for change in (
        {"generator": "one0"},
        {"attribution": "one0", "attribution_certainty": 0.9},
        {"neighbours": (replace(nearest, similarity=0.1), *others)},
        {"neighbours": (replace(nearest, label=other), *others)},
        {"crops": (replace(crop, left=9), *more)},
        {"crops": (replace(crop, score=0.9), *more)},
        {"crops": (replace(crop, p_fake=0.9), *more)},
    ):
        assert not within(replace(row, **change), row, seen)


@pytest.mark.parametrize("kind", ["linear", "svm"])
def test_a_heads_score_may_be_off_as_far_as_the_vector_may(
    gallery: BruteGallery, assessment: Assessment, kind: str
) -> None:
    rng = np.random.default_rng(3)
    head: LinearHead | SvmHead = LinearHead(rng.normal(size=D) * 30, 1.0)
    if kind == "svm":
        support = gallery.vectors[:80].astype(np.float64)
        head = SvmHead(support, np.full(80, 100.0), -9.0, Kernel(KernelKind.POLY, 1 / D, 0.0, 3))
    judge = Judge(assessment, LAX, head=NamedHead(head, kind, "0" * 64))
    for vectors in pictures(gallery, 50):
        hits = search_both(gallery, vectors, judge.depth)
        after = row_of(judge, gallery, hits, vectors, ())
        error = TOLERANCE / 2 * np.abs(vectors).max() * rng.uniform(-1, 1, vectors.shape)
        off = (vectors + error).astype(np.float32)
        before = row_of(judge, gallery, search_both(gallery, off, judge.depth), off, ())
        assert after.classifier_score is not None
        seen = Seen(judge, gallery, vectors[:5])
        assert before.verdict is not after.verdict or within(before, after, seen)
        assert not within(replace(before, classifier_score=-after.classifier_score), after, seen)
        if after.p_fake is not None:
            assert not within(replace(before, p_fake=1 - after.p_fake), after, seen)
