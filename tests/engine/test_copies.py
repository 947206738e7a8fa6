"""Verdicts that a copy contradicts: withheld by every way to one, and nothing else."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from code_forensics.engine.decoding.views import CropPlace
from code_forensics.engine.judging.assessment import Assessment, assess
from code_forensics.engine.judging.copies import contradicts_copy, either_way, withhold
from code_forensics.engine.judging.heads import LinearHead, NamedHead
from code_forensics.engine.judging.hits import Hits, search_both
from code_forensics.engine.judging.judge import Judge, JudgeOptions
from code_forensics.engine.judging.judgement import Judgement
from code_forensics.engine.judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY as BOUND
from code_forensics.engine.judging.leeway import TOLERANCE, Seen, within
from code_forensics.engine.judging.query import Query
from code_forensics.engine.judging.scores import relative_margins
from code_forensics.engine.judging.thresholds import Decisions, Inconclusive, ThresholdOptions
from code_forensics.engine.ledger import judged
from code_forensics.engine.reproduce import Outcome, compare
from code_forensics.engine.results import FileResult, Label, Status, Verdict

from tests.engine.test_leeway import BruteGallery, unit

D = 8
BELOW = float(np.nextafter(BOUND, 0))
FACTS = FileResult("a", "0" * 64, 1, "PNG", 500, 500, Status.SCANNED, precision="float32")
LAX = JudgeOptions(thresholds=ThresholdOptions(0.1, 0.1))
FAKE, REAL, UNSURE = Verdict.FAKE, Verdict.REAL, Verdict.INCONCLUSIVE
DECIDED, COPY, PRECISION = None, "contradicts_copy", "precision"

PICTURE = np.eye(D)[0]
"""What the planted references lie around: a real at the bound, and three fakes a little further."""


def at(cosine: float, way: int) -> np.ndarray:
    return cosine * np.eye(D)[0] + np.sqrt(1 - cosine**2) * np.eye(D)[way]


@pytest.fixture(scope="module")
def gallery() -> BruteGallery:
    rng = np.random.default_rng(0)
    vectors = np.concatenate((rng.normal(size=(80, D)) - 0.6, rng.normal(size=(80, D)) + 0.6))
    vectors[0] = at(BOUND + 3e-6, 1)
    vectors[80:83] = [at(0.998, way) for way in (2, 3, 4)]
    names = ["" if row < 80 else f"one{row % 2}" for row in range(160)]
    return BruteGallery(vectors.astype(np.float32), names)


@pytest.fixture(scope="module")
def assessment(gallery: BruteGallery) -> Assessment:
    labels = np.repeat((0, 1), 80)
    return assess(gallery.vectors, labels, [f"s{row % 8}" for row in range(160)],
                  gallery.generators, 3)  # fmt: skip


@pytest.fixture(scope="module")
def judge(assessment: Assessment) -> Judge:
    return Judge(assessment, LAX)


def found(*views: tuple[Sequence[float], Sequence[float]]) -> Hits:
    """Cosines to the nearest reals and to the nearest fakes, of each view."""
    real, fake = (np.array([view[side] for view in views], np.float64) for side in (0, 1))
    keys = np.arange(3)
    return Hits(
        np.where(np.isfinite(real), keys, -1),
        real,
        np.where(np.isfinite(fake), keys + 80, -1),
        fake,
    )


def ask(judge: Judge, gallery: BruteGallery, hits: Hits, **more: object) -> Judgement:
    query = Query(hits, 500, 500, vector=PICTURE.astype(np.float32))
    return judge.judge([replace(query, **more)], gallery)[0]


def sides(verdict: Verdict, own: float, other: float) -> tuple[list[float], list[float]]:
    """A view that its score alone calls so, by nearest references of both classes."""
    of_own, of_other = [own, 0.99, 0.99], [other, 0.1, 0.1]
    return (of_own, of_other) if verdict is REAL else (of_other, of_own)


@pytest.mark.parametrize("verdict", [FAKE, REAL])
@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        (0.998, 1.0, COPY),
        (0.998, BOUND, COPY),
        (0.998, BELOW, DECIDED),
        (BELOW, BOUND, COPY),
        (BOUND, 1.0, DECIDED),
        (1.0, BOUND, DECIDED),
        (1.0, 0.3, DECIDED),
    ],
)
def test_a_copy_of_the_other_class_alone_withholds_a_verdict(
    judge: Judge, gallery: BruteGallery, verdict: Verdict, own: float, other: float, reason: str
) -> None:
    hits = found(sides(verdict, own, other))
    given = ask(judge, gallery, hits)
    assert given.reason == reason
    assert given.verdict is (verdict if reason is DECIDED else UNSURE)
    score = relative_margins(hits.real, hits.fake, 3)
    assert (given.score > 0) == (verdict is FAKE)
    assert (given.score, given.log10_lr) == (score[0], judge.assessment.calibration.log10_lr(score))
    assert len(given.neighbours) == 6
    named = given.verdict is FAKE
    assert (given.generator is None, given.attribution is None) == (not named, not named)


def test_what_is_inconclusive_keeps_its_reason(judge: Judge, gallery: BruteGallery) -> None:
    copied = sides(FAKE, 0.998, 1.0)
    assert ask(judge, gallery, found(copied), width=100).reason == "too_small"
    flips = ask(judge, gallery, found(copied, sides(REAL, 0.99, 0.1)), changes=("jpeg_75",))
    assert flips.reason == "unstable" and flips.probe[0].verdict is REAL
    stays = ask(judge, gallery, found(copied, copied), changes=("jpeg_75",))
    assert stays.reason == COPY and stays.probe[0].verdict is FAKE
    low, high = judge.thresholds.real_below, judge.thresholds.fake_above
    assert low is not None and high is not None and low < high
    for rest in np.linspace(0.0, 0.99, 200):
        between = found(([1.0, rest, rest], [0.8, 0.8, 0.8]))
        if low < relative_margins(between.real, between.fake, 3)[0] < high:
            assert ask(judge, gallery, between).reason == "between_thresholds"
            break
    else:
        raise AssertionError("none lies between")


@pytest.mark.parametrize("copied", [0, 1])
def test_the_centre_crop_decides(judge: Judge, gallery: BruteGallery, copied: int) -> None:
    views = [sides(FAKE, 0.998, 0.3) for _ in range(3)]
    views[copied] = sides(FAKE, 0.998, 1.0)
    places = tuple(CropPlace(left, left, 224) for left in range(3))
    given = ask(judge, gallery, found(*views), crops=places)
    assert (given.verdict, given.reason) == ((UNSURE, COPY) if copied == 0 else (FAKE, None))
    views[0] = sides(REAL, 1.0, 0.998)  # a known real by its middle, a fake by its corners
    views[1:] = [sides(FAKE, 0.99, 0.1)] * 8
    places = tuple(CropPlace(left, left, 224) for left in range(9))
    given = ask(judge, gallery, found(*views), crops=places)
    assert (given.verdict, given.reason) == (UNSURE, COPY) and given.score > 0


def test_a_gallery_of_one_class_stays_uncalibrated(judge: Judge, gallery: BruteGallery) -> None:
    nothing = [-np.inf] * 3
    for view in (([1.0, 0.9, 0.9], nothing), (nothing, [1.0, 0.9, 0.9]), (nothing, nothing)):
        assert ask(judge, gallery, found(view)).reason == "uncalibrated"
        assert ask(judge, gallery, found(view), band=0.01).reason == "uncalibrated"


@pytest.mark.parametrize(
    ("own", "other", "band", "reason"),
    [
        (0.998, 0.9995, 1e-4, COPY),
        (0.998, BOUND + 1e-4, 1e-4, PRECISION),
        (0.998, BOUND - 1e-4, 1e-4, PRECISION),
        (0.998, BOUND - 3e-4, 1e-4, DECIDED),
        (BOUND - 1e-4, 0.9999, 1e-4, PRECISION),
        (BOUND + 1e-4, 0.9999, 1e-4, PRECISION),
        (BOUND + 3e-4, 0.9999, 1e-4, DECIDED),
        (0.998, 0.995, 0.005, PRECISION),
        (0.998, 0.990, 0.005, DECIDED),  # the own class is nearer, whatever the error
    ],
)
def test_what_a_copy_says_is_settled_outside_the_band_alone(
    judge: Judge, gallery: BruteGallery, own: float, other: float, band: float, reason: str
) -> None:
    hits = found(sides(FAKE, own, other))
    given = ask(judge, gallery, hits, band=band)
    assert (given.reason, given.verdict) == (reason, UNSURE if reason else FAKE)
    settled = reason != PRECISION
    assert judge.settled(hits, band).tolist() == [settled]
    assert judge.steady(Query(hits, 500, 500, band)) == settled
    assert judge.settled(hits, 0.0).all()


def test_a_picture_of_several_crops_is_settled_by_its_own_verdict(judge: Judge) -> None:
    """The middle alone is called real, as its copy; the mean is called fake."""
    views = [sides(REAL, BOUND, 0.9), *[sides(FAKE, 0.99, 0.1)] * 8]
    places = tuple(CropPlace(left, left, 224) for left in range(9))
    query = Query(found(*views), 500, 500, 1e-4, places)
    assert judge.settled(query.hits, query.band).all()
    assert not judge.steady(query)
    assert judge.steady(replace(query, hits=found(sides(REAL, 0.99, 0.1), *views[1:])))


def test_what_is_settled_in_a_band_is_as_in_float32() -> None:
    rng = np.random.default_rng(1)
    band, count = 1e-3, 20_000
    real, fake = (BOUND + rng.uniform(-3e-3, 1e-3, count) for _ in range(2))
    own_reduced, other_reduced = (c + rng.uniform(-2 * band, 2 * band, count) for c in (real, fake))
    allowed = (np.abs(np.maximum(own_reduced, other_reduced) - np.maximum(real, fake)) <= band) & (
        np.abs((own_reduced - other_reduced) - (real - fake)) <= band
    )
    exact, reduced = (
        Decisions(np.full(count, REAL, object), np.full(count, None, object)) for _ in range(2)
    )
    withhold(exact, real, fake)
    withhold(reduced, own_reduced, other_reduced, band)
    settled = allowed & (reduced.reasons != Inconclusive.PRECISION)
    assert 500 < settled.sum() < allowed.sum() - 500
    assert (reduced.reasons[settled] == exact.reasons[settled]).all()
    assert {REAL, UNSURE} == set(exact.verdicts)


@pytest.mark.parametrize("called", [FAKE, REAL])
def test_a_heads_answer_is_withheld_too(
    assessment: Assessment, gallery: BruteGallery, called: Verdict
) -> None:
    head = LinearHead(np.full(D, 3.0 if called is FAKE else -3.0), 0.0)
    judge = Judge(assessment, LAX, NamedHead(head, "mine", "0" * 64))
    free = ask(judge, gallery, found(sides(called, 0.998, 0.5)))
    held = ask(judge, gallery, found(sides(called, 0.998, 1.0)))
    both = ask(judge, gallery, found(sides(called, 1.0, 1.0)))
    assert [(one.verdict, one.reason) for one in (free, held, both)] == [
        (called, None), (UNSURE, COPY), (called, None),
    ]  # fmt: skip
    assert (held.classifier, held.classifier_score, held.p_fake) == (
        free.classifier, free.classifier_score, free.p_fake,
    )  # fmt: skip
    assert held.generator is None and (both.generator is not None) == (called is FAKE)
    nothing = [-np.inf] * 3
    alone = ([1.0, 0.9, 0.9], nothing) if called is FAKE else (nothing, [1.0, 0.9, 0.9])
    assert ask(judge, gallery, found(alone)).reason == COPY
    assert ask(judge, gallery, found((nothing, nothing))).verdict is called
    assert ask(judge, gallery, found(sides(called, 0.998, 1.0)), band=1e-6).reason == PRECISION


def test_either_way_is_symmetric_about_the_bound() -> None:
    shifts = np.array([-2e-5, -0.9e-5, 0.0, 0.9e-5, 2e-5])
    verdicts = np.full(5, FAKE, object)
    open_ = either_way(verdicts, BOUND + shifts, np.full(5, 0.9), TOLERANCE)
    assert open_.tolist() == [False, True, True, True, False]
    assert not contradicts_copy(UNSURE, 1.0, 0.0)


def row(judge: Judge, gallery: BruteGallery, shift: float = 0.0) -> tuple[FileResult, Seen]:
    """Of the picture, its cosines to the reals off by as much."""
    vectors = PICTURE[None].astype(np.float32)
    hits = search_both(gallery, vectors, judge.depth)
    off = replace(hits, real=hits.real + shift)
    query = Query(off, 500, 500, vector=vectors[0])
    return judged(FACTS, judge.judge([query], gallery)[0]), Seen(judge, gallery, vectors)


@pytest.mark.parametrize("with_head", [False, True])
def test_a_copy_at_its_bound_may_withhold_the_verdict_on_another_platform(
    assessment: Assessment, gallery: BruteGallery, with_head: bool
) -> None:
    head = NamedHead(LinearHead(np.full(D, 3.0), 0.0), "mine", "0" * 64) if with_head else None
    judge = Judge(assessment, LAX, head)
    held, seen = row(judge, gallery)
    free, _ = row(judge, gallery, -6e-6)
    assert unit(gallery.vectors[:1])[0, 0] > BOUND
    assert (held.verdict, held.reason, free.verdict, free.reason) == (UNSURE, COPY, FAKE, None)
    for before, after in ((held, free), (free, held)):
        assert within(before, after, seen)
        again = compare(before, after, lambda b=before, a=after: within(b, a, seen))
        assert again.outcome is Outcome.AGREES
        assert {"verdict", "reason"} <= set(again.fields)
    changes = [{"verdict": REAL}, {"generator": "FLUX"}, {"score": 0.0}, {"reason": "unstable"}]
    changes += [] if with_head else [{"attribution": "FLUX"}, {"attribution": None}]
    for change in changes:
        assert not within(replace(free, **change), held, seen), change
    assert not within(replace(held, generator="one0"), free, seen)
    far, _ = row(judge, gallery, -2e-5)
    assert far.verdict is FAKE and not within(far, held, seen)
    assert within(far, held, seen, tolerance=3e-5)  # as of a band


def test_rows_that_no_copy_parts_differ(judge: Judge, gallery: BruteGallery) -> None:
    held, seen = row(judge, gallery)
    for reason in ("unstable", "between_thresholds"):
        other = replace(held, reason=reason)
        assert compare(other, held, lambda: True).outcome is Outcome.DIFFERS
        assert not within(other, held, seen)
    free, _ = row(judge, gallery, -6e-6)
    other = replace(free, knn=Label.REAL if held.knn is Label.FAKE else Label.FAKE)
    assert compare(other, held, lambda: True).outcome is Outcome.DIFFERS
