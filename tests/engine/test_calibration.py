"""Calibration against scikit-learn, against known likelihood ratios, and at its edges."""

import json

import numpy as np
import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.judging.calibration import (
    Calibration,
    CalibrationStatus,
    fit_calibration,
    fit_logistic,
    posterior,
)
from code_forensics.engine.judging.leave_one_out import LeaveOneOutScores
from code_forensics.engine.judging.likelihood_bounds import empirical_bounds
from code_forensics.engine.judging.scores import FLOOR
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression


def scores_of(real, fake, k=1):
    """Leave-one-out scores that are the given numbers, between -0.99 and 0.99."""
    wanted = np.concatenate((real, fake)).astype(float)
    n = len(wanted)
    both = 1.0 - FLOOR  # the two distances together, so that their difference is the score
    nearer = np.repeat(wanted[:, None], k, axis=1)
    return LeaveOneOutScores(
        held_out=np.arange(n),
        labels=np.repeat([0, 1], [len(real), len(fake)]),
        sources=np.full(n, -1),
        real_similarities=1.0 - (both + nearer) / 2,
        fake_similarities=1.0 - (both - nearer) / 2,
        source_kept=np.ones(n, dtype=bool),
        near_duplicates=0,
        near_duplicate_similarity=1.0,
        n_references=n,
        subsampled=False,
        seed=0,
    )


def cllr(real_llr, fake_llr):
    """Brümmer's cost from its definition, log10 likelihood ratios in, bits out."""
    fake = np.mean([np.log2(1 + 10.0**-x) for x in fake_llr])
    real = np.mean([np.log2(1 + 10.0**x) for x in real_llr])
    return (fake + real) / 2


@pytest.mark.parametrize("shift", [0.02, 0.2, 30.0])
def test_fit_equals_scikit_learn_on_platts_targets(shift):
    random = np.random.default_rng(1)
    real, fake = random.normal(5, 0.1, 60), random.normal(5 + shift, 0.2, 300)
    slope, intercept = fit_logistic(real, fake)
    # A soft target t is a pair of hard ones with weights t and 1 - t.
    x = np.concatenate((real, fake))
    target = np.repeat([1 / 62, 301 / 302], [60, 300])
    weight = np.repeat([1 / 60, 1 / 300], [60, 300])
    scale = x.std()
    model = LogisticRegression(C=1e10, tol=1e-12, max_iter=10_000).fit(
        np.tile((x - x.mean()) / scale, 2)[:, None],
        np.repeat([0, 1], len(x)),
        np.concatenate((weight * (1 - target), weight * target)),
    )
    assert slope == pytest.approx(model.coef_[0, 0] / scale, rel=1e-4)
    wanted = model.intercept_[0] - model.coef_[0, 0] / scale * x.mean()
    assert intercept == pytest.approx(wanted, rel=1e-4)


def test_recovers_a_known_likelihood_ratio_whatever_the_imbalance():
    random = np.random.default_rng(2)
    # Normals of equal variance: the natural log-likelihood ratio is (m / s^2) (x - m / 2).
    real, fake = random.normal(0, 0.1, 2000), random.normal(0.2, 0.1, 8000)
    fitted = fit_calibration(scores_of(real, fake))
    x = np.linspace(-0.05, 0.25, 7)
    truth = 20 * (x - 0.1) / np.log(10)
    np.testing.assert_allclose(fitted.log10_lr(x), truth, atol=0.12)


def test_improves_the_cost_on_fresh_scores():
    random = np.random.default_rng(3)

    def draw(n):
        return 0.3 + 0.05 * random.standard_t(5, n), 0.36 + 0.07 * random.standard_t(5, n)

    fitted = fit_calibration(scores_of(*draw(300)))
    real, fake = draw(5000)
    raw = cllr(real, fake)  # the margin itself read as a likelihood ratio
    calibrated = cllr(fitted.log10_lr(real), fitted.log10_lr(fake))
    assert calibrated < raw
    assert calibrated < 1


@pytest.mark.parametrize(("n_real", "n_fake"), [(20, 20), (25, 400), (3000, 50)])
def test_separated_classes_stay_finite_and_within_what_the_references_support(n_real, n_fake):
    real, fake = np.linspace(-0.6, -0.5, n_real), np.linspace(0.5, 0.6, n_fake)
    fitted = fit_calibration(scores_of(real, fake))
    assert fitted.status is CalibrationStatus.CALIBRATED
    extreme = fitted.log10_lr([-2.0, 2.0])
    assert -np.log10(n_fake + 1) - 1e-9 <= extreme[0] < -1
    assert 1 < extreme[1] <= np.log10(n_real + 1) + 1e-9


@given(
    st.lists(st.floats(-0.98, 0.98), min_size=20, max_size=40),
    st.lists(st.floats(-0.98, 0.98), min_size=20, max_size=40),
)
@settings(deadline=None)
def test_is_monotone_and_finite_for_any_scores(real, fake):
    fitted = fit_calibration(scores_of(real, fake))
    grid = np.linspace(-2, 2, 401)
    evidence, p = fitted.log10_lr(grid), fitted.p_fake(grid)
    assert np.isfinite(evidence).all()
    assert (np.diff(evidence) >= 0).all()
    assert ((p > 0) & (p < 1)).all()
    assert Calibration.from_dict(json.loads(json.dumps(fitted.as_dict()))) == fitted


def test_a_gallery_that_separates_nothing_gives_evidence_of_nothing():
    random = np.random.default_rng(4)
    real = random.normal(0.2, 0.1, 100)
    for fake in (real - 0.1, real, np.full(100, 0.1)):
        fitted = fit_calibration(scores_of(real, fake))
        assert fitted.status is CalibrationStatus.NO_SEPARATION
        assert fitted.log10_lr([-2, 0, 2]).tolist() == [0, 0, 0]
        assert fitted.p_fake([-2, 2]).tolist() == [0.5, 0.5]
        assert fitted.neutral is None
    flat = fit_calibration(scores_of(np.zeros(30), np.zeros(30)))
    assert flat.status is CalibrationStatus.NO_SEPARATION


def test_fewer_than_twenty_of_a_class_is_uncalibrated():
    fitted = fit_calibration(scores_of(np.zeros(19), np.ones(500)))
    assert fitted.status is CalibrationStatus.TOO_FEW
    assert np.isnan(fitted.p_fake([0.1])).all()
    assert Calibration.from_dict(fitted.as_dict()) == fitted
    enough = fit_calibration(scores_of(np.zeros(20), np.ones(20)))
    assert enough.status is CalibrationStatus.CALIBRATED
    assert fit_calibration(scores_of([], [])).status is CalibrationStatus.TOO_FEW


def test_prior_moves_the_probability_by_bayes_rule():
    evidence = np.array([-1.0, 0.0, 2.0])
    odds = 10**evidence * (0.1 / 0.9)
    np.testing.assert_allclose(posterior(evidence, 0.1), odds / (1 + odds), rtol=1e-12)
    np.testing.assert_allclose(posterior(evidence)[1], 0.5)
    for prior in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError):
            posterior(evidence, prior)


def test_stored_form_is_deterministic_and_tells_damage():
    random = np.random.default_rng(5)
    real, fake = random.normal(0, 1, 50), random.normal(1, 1, 50)
    first, second = (fit_calibration(scores_of(real, fake)) for _ in range(2))
    assert first.digest == second.digest == first.as_dict()["digest"]
    stored = first.as_dict()
    for damaged in (
        {**stored, "slope": stored["slope"] * 2},
        {**stored, "version": 2},
        {**stored, "status": "splendid"},
        {**stored, "slope": float("nan")},
        {name: value for name, value in stored.items() if name != "k"},
        {},
    ):
        with pytest.raises(InputError):
            Calibration.from_dict(damaged)


def normalised_bayes_error(real, fake, t):
    """The error of ELUB at threshold t >= 1, from its definition, on likelihood ratios."""
    misleading = (sum(x >= t for x in real) + 1) / (len(real) + 1)
    return t * misleading + sum(x < t for x in fake) / len(fake)


@given(
    st.lists(st.integers(-40, 40).map(lambda i: i / 8), min_size=1, max_size=12),
    st.lists(st.integers(-40, 40).map(lambda i: i / 8), min_size=1, max_size=12),
)
@settings(deadline=None)
def test_bounds_end_where_the_normalised_bayes_error_reaches_one(real, fake):
    real, fake = np.array(real), np.array(fake)
    lower, upper = empirical_bounds(real, fake)
    assert lower <= 0 <= upper
    for bound, misleading, helpful in ((upper, real, fake), (-lower, -fake, -real)):
        against, favouring = np.exp(misleading), np.exp(helpful)
        # Not on the grid's steps themselves, where rounding decides between < and >=.
        below = 10 ** (bound * np.linspace(0.001, 0.999, 50)) if bound > 1e-9 else []
        for t in below:
            if np.abs(np.log(np.concatenate((against, favouring))) - np.log(t)).min() > 1e-9:
                assert normalised_bayes_error(against, favouring, t) <= 1 + 1e-9
        beyond = 10 ** (bound + 1e-7)
        assert normalised_bayes_error(against, favouring, beyond) >= 1 - 1e-5
    assert upper <= np.log10(len(real) + 1) + 1e-9
    assert lower >= -np.log10(len(fake) + 1) - 1e-9
