"""Metrics against scikit-learn and against computations from their definitions, to 1e-6."""

from itertools import pairwise

import numpy as np
import pytest
from code_forensics.engine.evaluation.bootstrap import FEW_UNITS, intervals, resample_weights
from code_forensics.engine.evaluation.evaluate import Outcomes, evaluate, measure
from code_forensics.engine.evaluation.metrics import rank, tpr_at_fpr
from code_forensics.engine.judging.calibration import posterior
from code_forensics.engine.results import Verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc


def outcomes_of(labels, scores, *, log10_lr=None, predicted=None, verdicts=None, sources=None):
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    predicted = (scores > 0).astype(int) if predicted is None else np.asarray(predicted)
    named = np.array([Verdict.REAL, Verdict.FAKE], dtype=object)
    return Outcomes(
        labels=labels,
        scores=scores,
        log10_lr=scores if log10_lr is None else np.asarray(log10_lr, dtype=float),
        predicted=predicted,
        verdicts=named[predicted] if verdicts is None else np.asarray(verdicts, dtype=object),
        sources=sources,
    )


@st.composite
def labelled_scores(draw):
    """Scores of both classes, from a coarse grid (ties) or a fine one."""
    step = draw(st.sampled_from([0.5, 1e-3]))
    grid = st.integers(round(-3 / step), round(3 / step)).map(lambda i: i * step)
    real = draw(st.lists(grid, min_size=1, max_size=30))
    fake = draw(st.lists(grid, min_size=1, max_size=30))
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(len(real) + len(fake))
    labels = np.repeat([0, 1], [len(real), len(fake)])
    return labels[order], np.array(real + fake)[order]


def eer_by_definition(labels, scores):
    """Walk the ROC polygon edge by edge, and solve the edge on which FPR = FNR."""
    fpr, tpr, _ = sklearn_roc(labels, scores, drop_intermediate=False)
    points = list(zip(fpr, 1 - tpr, strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= y0 and x1 >= y1:
            gap = (x1 - x0) - (y1 - y0)
            return x0 if gap == 0 else x0 + (y0 - x0) / gap * (x1 - x0)
    raise AssertionError


def ece_by_definition(labels, p):
    n = [np.sum(labels == 0), np.sum(labels == 1)]
    error = 0.0
    for b in range(15):
        mass = confidence = fakes = 0.0
        for label, value in zip(labels, p, strict=True):
            inside = b / 15 <= value < (b + 1) / 15 or (b == 14 and value == 1)
            if inside:
                weight = 0.5 / n[label]
                mass += weight
                confidence += weight * value
                fakes += weight * label
        if mass:
            error += mass * abs(confidence / mass - fakes / mass)
    return error


def cllr_by_definition(labels, log10_lr):
    fake = [np.log2(1 + 1 / 10**x) for x in log10_lr[labels == 1]]
    real = [np.log2(1 + 10**x) for x in log10_lr[labels == 0]]
    return 0.5 * (np.mean(fake) + np.mean(real))


@settings(max_examples=150, deadline=None)
@given(labelled_scores())
def test_equal_scikit_learn_and_definitions(drawn):
    labels, scores = drawn
    got = measure(outcomes_of(labels, scores), resamples=0)
    assert got.auc == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert got.ap == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    assert got.eer == pytest.approx(eer_by_definition(labels, scores), abs=1e-6)
    assert got.cllr == pytest.approx(cllr_by_definition(labels, scores), abs=1e-6)
    p = 1 / (1 + 10**-scores)
    assert got.ece == pytest.approx(ece_by_definition(labels, p), abs=1e-6)
    wanted = balanced_accuracy_score(labels, scores > 0)
    assert got.balanced_accuracy == pytest.approx(wanted, abs=1e-6)
    for name, target in (("tpr_at_fpr_01", 0.01), ("tpr_at_fpr_05", 0.05)):
        allowed = [
            np.mean(scores[labels == 1] >= t)
            for t in [*scores, np.inf]
            if np.mean(scores[labels == 0] >= t) <= target
        ]
        assert getattr(got, name) == pytest.approx(max(allowed), abs=1e-6)
    assert (got.n_real, got.n_fake) == (np.sum(labels == 0), np.sum(labels == 1))


@settings(max_examples=50, deadline=None)
@given(labelled_scores(), st.integers(0, 1000))
def test_weights_are_repetitions(drawn, seed):
    labels, scores = drawn
    ((weights),) = resample_weights(labels, None, 1, seed)
    repeated = np.repeat(np.arange(len(labels)), weights[0].astype(int))
    for label in (0, 1):
        assert weights[0][labels == label].sum() == np.sum(labels == label)
    got = intervals(
        lambda w: tpr_at_fpr(rank(labels, scores, w), 0.5)[:, None],
        labels,
        None,
        resamples=1,
        seed=seed,
    )
    fpr, tpr, _ = sklearn_roc(labels[repeated], scores[repeated], drop_intermediate=False)
    assert got[0, 0] == got[1, 0] == pytest.approx(tpr[fpr <= 0.5 + 1e-9].max(), abs=1e-9)


def test_three_verdicts_are_counted_over_all_items():
    real, fake, none = Verdict.REAL, Verdict.FAKE, Verdict.INCONCLUSIVE
    got = measure(
        outcomes_of(
            [0, 0, 0, 0, 1, 1],
            [-1, -1, 1, 1, 1, -1],
            verdicts=[real, none, fake, none, none, real],
        ),
        resamples=0,
    )
    assert got.abstained == pytest.approx(3 / 6)
    assert got.false_positive_rate == pytest.approx(1 / 4)
    assert got.false_negative_rate == pytest.approx(1 / 2)
    assert (got.accuracy_real, got.accuracy_fake) == (0.5, 0.5)  # of the forced answers


def test_a_missing_class_leaves_metrics_undefined():
    got = measure(outcomes_of([1, 1, 1], [1.0, 2.0, -1.0]), resamples=20)
    assert got.auc is got.ap is got.eer is got.cllr is got.ece is got.accuracy_real is None
    assert got.accuracy_fake == pytest.approx(2 / 3)
    assert got.ci95.auc is None
    assert got.ci95.accuracy_fake is not None
    uncalibrated = measure(outcomes_of([0, 1], [0.0, 1.0], log10_lr=[np.nan, np.nan]))
    assert uncalibrated.cllr is uncalibrated.ece is None
    assert uncalibrated.auc == 1
    assert uncalibrated.ci95.auc is None  # one item a class: nothing to resample
    assert measure(outcomes_of([], [], sources=np.array([], dtype=int))).n_real == 0


def test_classes_without_overlap_have_no_interval_but_for_shares():
    got = measure(outcomes_of([0, 0, 0, 1, 1, 1, 1, 1], [-3, -2, -1, 1, 2, 3, 4, 5]))
    exact = pytest.approx((0.025 ** (1 / 5), 1.0))
    assert got.accuracy_fake == got.tpr_at_fpr_01 == got.tpr_at_fpr_05 == got.auc == 1.0
    assert got.ci95.accuracy_fake == got.ci95.tpr_at_fpr_01 == got.ci95.tpr_at_fpr_05 == exact
    assert got.ci95.auc is got.ci95.ap is got.ci95.eer is got.ci95.balanced_accuracy is None
    assert got.ci95.cllr is not None  # its values do differ
    equal = measure(outcomes_of([0, 0, 0, 1, 1, 1], np.repeat([-0.1, 0.1], 3)))
    assert equal.ci95.cllr is equal.ci95.ece is None


def test_a_true_positive_rate_of_one_may_hang_on_few_reals():
    scores = np.concatenate((np.zeros(198), [9, 9], np.full(50, 5)))  # 1 % of reals above fakes
    got = measure(outcomes_of(np.repeat([0, 1], [200, 50]), scores))
    assert (got.tpr_at_fpr_01, got.ci95.tpr_at_fpr_01) == (1.0, (0.0, 1.0))


@pytest.mark.parametrize(
    ("sources", "by_source"),
    [
        (None, False),
        ([-1] * 8, False),  # as of a CSV without that column
        ([0] * 4 + [1] * 4, False),  # a class of a single source is drawn by items
        ([0, 0, 1, 1] + [2] * 4, True),
        ([0, 0, 0, -1] + [2] * 4, True),
    ],
)
def test_what_the_bootstrap_drew_is_told(sources, by_source):
    codes = None if sources is None else np.array(sources)
    outcomes = outcomes_of(np.repeat([0, 1], 4), np.arange(8), sources=codes)
    assert evaluate(outcomes, [""] * 8, resamples=5).by_source is by_source


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    random = np.random.default_rng(0)
    truth, covered = 0.7602, 0  # of N(1, 1) against N(0, 1): Phi(1 / sqrt 2)
    for trial in range(200):
        scores = np.concatenate((random.normal(0, 1, 60), random.normal(1, 1, 80)))
        outcomes = outcomes_of(np.repeat([0, 1], [60, 80]), scores)
        low, high = measure(outcomes, resamples=200, seed=trial).ci95.auc
        covered += low <= truth <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_intervals_over_few_sources_are_too_narrow():
    random = np.random.default_rng(0)
    truth = 0.7365  # of N(1, 1.25) against N(0, 1.25): Phi(1 / sqrt 2.5)
    covered = {2: 0, 10: 0}
    for count in covered:
        sources = np.repeat(np.arange(2 * count), 20)
        labels = (sources >= count).astype(int)
        for trial in range(100):
            of_source = random.normal(0, 0.5, 2 * count)[sources]
            scores = labels + of_source + random.normal(0, 1, len(labels))
            outcomes = outcomes_of(labels, scores, sources=sources)
            low, high = measure(outcomes, resamples=200, seed=trial).ci95.auc
            covered[count] += low <= truth <= high
    assert covered[2] < 80
    assert covered[10] > 84
    assert 2 < FEW_UNITS < 10


def test_intervals_over_sources_are_wider_where_images_of_a_source_are_alike():
    random = np.random.default_rng(1)
    sources = np.repeat(np.arange(20), 30)
    labels = (sources >= 10).astype(int)
    scores = labels + random.normal(0, 1, 20)[sources] + random.normal(0, 0.2, 600)
    items = measure(outcomes_of(labels, scores), seed=1).ci95.auc
    whole = measure(outcomes_of(labels, scores, sources=sources), seed=1).ci95.auc
    assert whole[1] - whole[0] > 2 * (items[1] - items[0])
    assert measure(outcomes_of(labels, scores), seed=1).ci95.auc == items
    assert measure(outcomes_of(labels, scores), seed=2).ci95.auc != items


def test_by_generator_takes_each_ones_fakes_against_all_reals():
    labels = [0, 0, 0, 1, 1, 1, 1]
    scores = np.array([0.1, 0.2, 0.6, 0.5, 0.7, 0.15, 0.9])
    names = ["", "b", "", "a", "a", "b", ""]
    got = evaluate(outcomes_of(labels, scores), names, resamples=50)
    assert set(got.by_generator) == {"a", "b", ""}
    assert got.by_generator["b"].n_real == 3
    wanted = roc_auc_score([0, 0, 0, 1], scores[[0, 1, 2, 5]])
    assert got.by_generator["b"].auc == pytest.approx(wanted)
    assert got.overall.n_fake == 4
    assert got.overall.as_dict()["ci95"]["auc"] == got.overall.ci95.auc


def test_posterior_of_the_bins_edges_stays_in_the_last_bin():
    extreme = outcomes_of([0, 1], [-30.0, 30.0])
    assert posterior([30.0])[0] == 1.0
    assert measure(extreme, resamples=0).ece == pytest.approx(0, abs=1e-6)
