"""Conformal thresholds: order statistics, guarantees on fresh data, and the decision."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from code_forensics.engine.judging.calibration import CalibrationStatus, fit_calibration
from code_forensics.engine.judging.conformal import Exchangeable, lower_threshold, upper_threshold
from code_forensics.engine.judging.held_out_search import unit_vectors
from code_forensics.engine.judging.leave_one_out import LeaveOneOutScores, leave_one_out_scores
from code_forensics.engine.judging.scores import FLOOR, relative_margins
from code_forensics.engine.judging.thresholds import (
    Inconclusive,
    ThresholdOptions,
    decide,
    fit_thresholds,
)
from code_forensics.engine.results import Verdict
from hypothesis import given, settings
from hypothesis import strategies as st


@given(
    st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60),
    st.integers(1, 99).map(lambda p: Fraction(p, 100)),
)
def test_upper_threshold_is_the_order_statistic(scores, target):
    n = len(scores)
    order = math.ceil((n + 1) * (1 - target))
    got = upper_threshold(np.array(scores), float(target))
    assert got.value == sorted(scores)[min(order, n) - 1]
    assert got.supported == (order <= n)
    assert got.rate <= float(target) + 1e-9 if got.supported else got.rate == 1 / (n + 1)
    mirrored = lower_threshold(-np.array(scores), float(target))
    assert (mirrored.value, mirrored.rate) == (-got.value, got.rate)


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_sources_of_one_image_each_are_references(scores, target):
    plain = upper_threshold(np.array(scores), target)
    named = upper_threshold(np.array(scores), target, np.arange(len(scores)))
    assert (named.value, named.supported) == (plain.value, plain.supported)


def test_the_share_that_passes_is_bounded_for_fresh_scores():
    random = np.random.default_rng(0)
    for n, target in ((50, 0.1), (199, 0.01), (30, 0.01)):
        bound = upper_threshold(np.arange(n, dtype=float), target).rate
        passed = []
        for _ in range(3000):
            scores = random.standard_t(3, n + 1)
            passed.append(scores[-1] > upper_threshold(scores[:-1], target).value)
        spread = math.sqrt(bound * (1 - bound) / len(passed))
        assert abs(np.mean(passed) - bound) < 4 * spread  # no ties: the bound is attained


def test_only_thresholds_by_source_hold_for_new_sources():
    random = np.random.default_rng(1)
    passed, passed_by_source = [], []
    for _ in range(600):
        centres, sizes = random.normal(0, 1, 31), random.integers(1, 60, 31)
        sources = np.repeat(np.arange(30), sizes[:30])
        scores = centres[sources] + random.normal(0, 0.1, len(sources))
        fresh = centres[30] + random.normal(0, 0.1)
        passed.append(fresh > upper_threshold(scores, 0.05).value)
        by_source = upper_threshold(scores, 0.05, sources)
        assert by_source.supported
        passed_by_source.append(fresh > by_source.value)
    assert np.mean(passed_by_source) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 600)
    unknown = upper_threshold(np.arange(900.0), 0.05, np.full(900, -1))
    assert (unknown.rate, unknown.supported) == (0.5, False)
    few = upper_threshold(np.arange(9.0), 0.05, np.arange(9) // 3)
    assert (few.value, few.rate, few.supported) == (8.0, 0.25, False)


@pytest.mark.parametrize("target", [0.0, 1.0, float("nan")])
def test_refuses_rates_that_are_none(target):
    with pytest.raises(ValueError):
        upper_threshold(np.arange(5.0), target)
    with pytest.raises(ValueError):
        upper_threshold(np.array([]), 0.1)


def gallery(random, n_real, n_fake, gap, dim=12):
    """Unit-free vectors of two overlapping clouds."""
    labels = np.repeat([0, 1], [n_real, n_fake])
    vectors = random.normal(0, 1, (n_real + n_fake, dim)) + 1.0
    vectors[:, 0] += gap * labels
    return vectors.astype(np.float32), labels


def query(vectors, labels, fresh):
    """Scores and nearest similarities of fresh vectors against a whole gallery, by hand."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = fresh / np.linalg.norm(fresh, axis=1, keepdims=True) @ units.T
    real, fake = cosine[:, labels == 0].max(axis=1), cosine[:, labels == 1].max(axis=1)
    return (fake - real) / (2 - fake - real + FLOOR), np.maximum(real, fake)


def fit(vectors, labels, options=None, sources=None):
    scores = leave_one_out_scores(vectors, labels, sources or [""] * len(labels))
    calibration = fit_calibration(scores)
    return calibration, fit_thresholds(scores, calibration, options)


def test_error_rates_on_fresh_images_stay_within_the_guarantee():
    random = np.random.default_rng(2)
    options = ThresholdOptions(target_fpr=0.05, target_fnr=0.1, novelty_rate=0.02)
    false_positives, false_negatives, novel, decided = [], [], [], []
    for _ in range(40):
        vectors, labels = gallery(random, 100, 250, 4.0)
        _, thresholds = fit(vectors, labels, options)
        assert thresholds.fpr_supported
        assert thresholds.fnr_supported
        fresh, truth = gallery(random, 150, 150, 4.0)
        outcome = decide(*query(vectors, labels, fresh), thresholds)
        false_positives.append(np.mean(outcome.verdicts[truth == 0] == Verdict.FAKE))
        false_negatives.append(np.mean(outcome.verdicts[truth == 1] == Verdict.REAL))
        novel.append(np.mean(outcome.reasons == Inconclusive.NOVEL))
        decided.append(np.mean(outcome.verdicts != Verdict.INCONCLUSIVE))
    for rates, bound in ((false_positives, 0.05), (false_negatives, 0.1), (novel, 0.02)):
        assert np.mean(rates) <= bound + 3 * np.std(rates) / math.sqrt(len(rates))
    assert np.mean(decided) > 0.5  # the guarantee is not kept by deciding nothing


def test_too_few_references_for_the_target_give_the_tightest_rate():
    vectors, labels = gallery(np.random.default_rng(3), 40, 150, 3.0)
    _, thresholds = fit(vectors, labels, ThresholdOptions(target_fpr=0.01, target_fnr=0.01))
    assert thresholds.fpr == pytest.approx(1 / 41)
    assert not thresholds.fpr_supported
    assert thresholds.fnr <= 0.01
    assert thresholds.fnr_supported
    assert thresholds.optimistic


def test_separated_classes_leave_no_band_between():
    vectors, labels = gallery(np.random.default_rng(4), 200, 200, 60.0)
    calibration, thresholds = fit(vectors, labels)
    assert thresholds.fake_above == thresholds.real_below == calibration.neutral
    outcome = decide(np.linspace(-0.5, 0.5, 1001) + 1e-5, np.ones(1001), thresholds)
    assert Verdict.INCONCLUSIVE not in outcome.verdicts.tolist()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), gap=st.floats(0, 6), rate=st.floats(0.01, 0.6))
def test_no_verdict_contradicts_its_likelihood_ratio(seed, gap, rate):
    random = np.random.default_rng(seed)
    vectors, labels = gallery(random, 40, 30, gap, dim=5)
    calibration, thresholds = fit(vectors, labels, ThresholdOptions(rate, rate))
    fresh, _ = gallery(random, 40, 40, gap, dim=5)
    margin, nearest = query(vectors, labels, fresh)
    outcome = decide(margin, nearest, thresholds)
    p = calibration.p_fake(margin)
    assert (p[outcome.verdicts == Verdict.FAKE] >= 0.5).all()
    assert (p[outcome.verdicts == Verdict.REAL] <= 0.5).all()
    undecided = outcome.verdicts == Verdict.INCONCLUSIVE
    assert all(
        (reason is None) != left for reason, left in zip(outcome.reasons, undecided, strict=True)
    )


def test_a_gallery_without_evidence_decides_nothing():
    random = np.random.default_rng(5)
    few, labels = gallery(random, 15, 200, 3.0)
    outcome = decide(*query(few, labels, few[:5]), fit(few, labels)[1])
    assert set(outcome.verdicts) == {Verdict.INCONCLUSIVE}
    assert set(outcome.reasons) == {Inconclusive.UNCALIBRATED}
    vectors = random.normal(size=(200, 3)).astype(np.float32)
    labels = np.arange(200) % 2
    vectors[labels == 1] = vectors[labels == 0] + 1e-3  # every fake is nearest to a real
    _, thresholds = fit(vectors, labels)
    assert thresholds.status is CalibrationStatus.NO_SEPARATION
    outcome = decide([-1.0, 1.0], [0.9, 0.9], thresholds)
    assert set(outcome.reasons) == {Inconclusive.NO_SEPARATION}


def test_decision_table():
    vectors, labels = gallery(np.random.default_rng(6), 200, 200, 3.0)
    _, fitted = fit(vectors, labels)
    thresholds = replace(fitted, real_below=-0.1, fake_above=0.2, novel_below=0.5)
    margin = [-0.2, -0.1, 0.0, 0.2, 0.3, 0.3, np.nan, 0.21, 0.19]
    nearest = [0.9, 0.9, 0.9, 0.9, 0.9, 0.4, 0.9, 0.9, 0.9]
    outcome = decide(margin, nearest, thresholds)
    real, fake, none = Verdict.REAL, Verdict.FAKE, Verdict.INCONCLUSIVE
    assert outcome.verdicts.tolist() == [real, none, none, none, fake, none, none, fake, none]
    assert {type(verdict) for verdict in outcome.verdicts} == {Verdict}  # not their plain texts
    assert {type(reason) for reason in outcome.reasons} == {Inconclusive, type(None)}
    between = Inconclusive.BETWEEN_THRESHOLDS
    assert outcome.reasons.tolist() == [
        *(None, between, between, between, None),
        *(Inconclusive.NOVEL, Inconclusive.UNCALIBRATED, None, between),
    ]
    banded = decide(margin, nearest, thresholds, score_band=0.05)
    precision = [i for i, r in enumerate(banded.reasons) if r is Inconclusive.PRECISION]
    assert precision == [1, 3, 7, 8]
    assert banded.verdicts[7] is none


def test_thresholds_by_source_promise_no_more_than_there_are_sources():
    random = np.random.default_rng(7)
    vectors, labels = gallery(random, 120, 120, 5.0)
    sources = [f"{label}-{i % 4}" for i, label in enumerate(labels)]
    options = ThresholdOptions(exchangeable=Exchangeable.SOURCES)
    _, thresholds = fit(vectors, labels, options, sources)
    assert thresholds.fpr == pytest.approx(1 / 5)
    assert not thresholds.fpr_supported
    assert not thresholds.optimistic


def test_margins_of_several_neighbours_are_judged_by_the_same_k():
    scores = LeaveOneOutScores(
        held_out=np.arange(80),
        labels=np.repeat([0, 1], 40),
        sources=np.full(80, -1),
        real_similarities=np.stack((np.full(80, 0.5), np.linspace(0.5, 0.1, 80)), axis=1),
        fake_similarities=np.full((80, 2), 0.5),
        source_kept=np.ones(80, dtype=bool),
        near_duplicates=0,
        near_duplicate_similarity=1.0,
        n_references=80,
        subsampled=False,
        seed=0,
    )
    assert fit_calibration(scores, 1).status is CalibrationStatus.NO_SEPARATION
    calibration = fit_calibration(scores, 2)
    thresholds = fit_thresholds(scores, calibration)
    outcome = decide(scores.relative_margins(2), scores.nearest, thresholds)
    assert (outcome.verdicts[:40] != Verdict.FAKE).all()
    assert (outcome.verdicts[41:] == Verdict.FAKE).all()


def test_error_rates_hold_where_sources_stand_in_both_classes():
    """New images come of the gallery's own sources, whose content is in both classes."""
    random = np.random.default_rng(0)
    wrong, promised = [], []
    for _ in range(40):
        centres = np.eye(1, 12)[0] + random.normal(size=(5, 12))
        apart = random.normal(size=12)
        apart *= 0.25 / np.linalg.norm(apart)

        def draw(label, n, centres=centres, apart=apart):
            source = random.integers(5, size=n)
            noise = 0.35 * random.normal(size=(n, 12))
            return (centres[source] + label * apart + noise).astype(np.float32), source

        (reals, a), (fakes, b) = draw(0, 150), draw(1, 150)
        vectors, labels = np.concatenate((reals, fakes)), np.repeat((0, 1), 150)
        scores = leave_one_out_scores(vectors, labels, [f"s{n}" for n in (*a, *b)])
        upper = upper_threshold(scores.relative_margins()[scores.labels == 0], 0.05)
        fresh, _ = draw(0, 200)
        units = unit_vectors(fresh)
        near = [np.sort(units @ unit_vectors(c).T, axis=1)[:, -1:] for c in (reals, fakes)]
        wrong.append((relative_margins(*near) > upper.value).mean())
        promised.append(upper.rate)
    assert np.mean(wrong) < np.mean(promised) + 0.01  # left out of both classes: four times
