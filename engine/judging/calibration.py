"""Calibration: from the score to a likelihood ratio and a probability of "generated"."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .leave_one_out import LeaveOneOutScores
from .likelihood_bounds import empirical_bounds
from .scores import FAKE, REAL, Floats

VERSION = 1
"""Of the stored form; another version is refitted, not read."""

MIN_REFERENCES = 20
"""Fewest held-out references of a class that a calibration is fitted on."""

_NOTHING = 1e-6  # a log10 likelihood ratio that is but rounding

METHOD = (
    "logistic regression of the leave-one-out score, classes weighted equally (Platt 1999;"
    " Brümmer & du Preez 2006), bounded by ELUB (Vergeer et al. 2016)"
)


class CalibrationStatus(StrEnum):
    """Whether a gallery supports a calibration."""

    CALIBRATED = "calibrated"
    TOO_FEW = "too_few"  # references of a class, to say anything of certainty
    NO_SEPARATION = "no_separation"  # fakes do not score above reals, or too seldom


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a gallery's scores read as evidence; serialisable and deterministic.

    Attributes:
        status: Whether there is one.
        k: Neighbours per class behind the score.
        slope: Natural log-likelihood ratio per unit of score, >= 0.
        intercept: Natural log-likelihood ratio at score 0.
        lower: Least log10 likelihood ratio that the references support, <= 0.
        upper: Largest one, >= 0.
        n_real: Real references that the fit saw.
        n_fake: Fake references that the fit saw.
        optimistic: Whether some scores were obtained without leaving the source out, because
            sources are unknown or single.
        subsampled: Whether a sample of the references was held out, not all.
        method: Name and sources of the method.
        version: Of this form.
    """

    status: CalibrationStatus
    k: int
    slope: float
    intercept: float
    lower: float
    upper: float
    n_real: int
    n_fake: int
    optimistic: bool
    subsampled: bool
    method: str = METHOD
    version: int = VERSION

    @property
    def neutral(self) -> float | None:
        """The score at which the likelihood ratio is 1; None where there is no such score."""
        return -self.intercept / self.slope if self.slope > 0 else None

    def log10_lr(self, scores: npt.ArrayLike) -> Floats:
        """Compute log10 likelihood ratios of "generated" against "real".

        Args:
            scores: Scores (relative margins) with this calibration's k, shape (N,).

        Returns:
            Shape (N,), float64, within [lower, upper]; NaN where uncalibrated.
        """
        score = np.asarray(scores, dtype=np.float64)
        if self.status is CalibrationStatus.TOO_FEW:
            return np.full(score.shape, np.nan)
        evidence = (self.slope * score + self.intercept) / np.log(10.0)
        bounded: Floats = np.clip(evidence, self.lower, self.upper)
        return bounded

    def p_fake(self, scores: npt.ArrayLike, prior: float = 0.5) -> Floats:
        """Compute the probability of "generated" by Bayes' rule.

        Args:
            scores: Scores (relative margins) with this calibration's k, shape (N,).
            prior: Probability of "generated" before looking, in (0, 1).

        Returns:
            Shape (N,), float64, in (0, 1); NaN where uncalibrated.

        Raises:
            ValueError: The prior is not in (0, 1).
        """
        return posterior(self.log10_lr(scores), prior)

    def as_dict(self) -> dict[str, Any]:
        """As a JSON-able mapping of the attributes, with their ``digest``."""
        values = asdict(self)
        return {**values, "digest": _digest(values)}

    @property
    def digest(self) -> str:
        """SHA-256 over the attributes, hexadecimal."""
        return _digest(asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """Read what :meth:`as_dict` gave.

        Raises:
            InputError: It is of another version, or damaged.
        """
        hint = "fit the gallery's calibration again"
        content = {name: value for name, value in values.items() if name != "digest"}
        if content.get("version") != VERSION:
            raise InputError(f"the calibration is of version {content.get('version')!r}", hint)
        try:
            intact = values.get("digest") == _digest(content)
            read = cls(**{**content, "status": CalibrationStatus(content["status"])})
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"the calibration is damaged: {error}", hint) from error
        if not intact:
            raise InputError("the calibration does not match its digest", hint)
        return read


def posterior(log10_lr: npt.ArrayLike, prior: float = 0.5) -> Floats:
    """Turn log10 likelihood ratios into probabilities of "generated" by Bayes' rule.

    Args:
        log10_lr: Any shape.
        prior: Probability of "generated" before looking, in (0, 1).

    Returns:
        The same shape, float64.

    Raises:
        ValueError: The prior is not in (0, 1).
    """
    if not 0.0 < prior < 1.0:
        raise ValueError(f"a prior lies between 0 and 1, not {prior}")
    log_odds = np.asarray(log10_lr, dtype=np.float64) * np.log(10.0) + np.log(prior / (1 - prior))
    return sigmoid(log_odds)


def fit_calibration(scores: LeaveOneOutScores, k: int = 1) -> Calibration:
    """Fit a calibration on the leave-one-out scores of a gallery.

    With the classes weighted equally the log-odds of the logistic model are a log-likelihood
    ratio, whatever the imbalance of the gallery (Brümmer & du Preez, "Application-independent
    evaluation of speaker detection", Computer Speech & Language 20, 2006). The targets are
    Platt's (n + 1) / (n + 2) and 1 / (n + 2) instead of 1 and 0 ("Probabilistic outputs for
    support vector machines", 1999): they keep the fit finite when the classes are separated.
    Bounds: :func:`~code_forensics.engine.judging.likelihood_bounds.empirical_bounds`.

    Args:
        scores: Leave-one-out scores of the gallery.
        k: Neighbours per class behind the score.

    Returns:
        A calibration; with fewer than 20 references of a class, or with fakes that do not
        score above reals, its status says so.
    """
    score = scores.relative_margins(k)
    real, fake = score[scores.labels == REAL], score[scores.labels == FAKE]
    status, slope, intercept, bounds = CalibrationStatus.TOO_FEW, 0.0, 0.0, (0.0, 0.0)
    if min(len(real), len(fake)) >= MIN_REFERENCES:
        slope, intercept = fit_logistic(real, fake)
        status = CalibrationStatus.CALIBRATED
        if slope > 0:
            bounds = empirical_bounds(slope * real + intercept, slope * fake + intercept)
        if min(-bounds[0], bounds[1]) < _NOTHING:  # nothing would speak for one of the classes
            status, slope, intercept = CalibrationStatus.NO_SEPARATION, 0.0, 0.0
    return Calibration(
        status=status,
        k=k,
        slope=slope,
        intercept=intercept,
        lower=bounds[0],
        upper=bounds[1],
        n_real=len(real),
        n_fake=len(fake),
        optimistic=scores.optimistic,
        subsampled=scores.subsampled,
    )


def fit_logistic(real: Floats, fake: Floats) -> tuple[float, float]:
    """Fit log-odds ``slope * score + intercept`` with equal class weights, by Newton's method.

    Minimises the sum over classes of the mean cross entropy against Platt's targets, which is
    convex and has a finite minimum; steps are halved until it falls, as Lin, Lin & Weng do ("A
    note on Platt's probabilistic outputs", Machine Learning 68, 2007).

    Args:
        real: Scores of reals, shape (R,), R >= 1.
        fake: Scores of fakes, shape (F,), F >= 1.

    Returns:
        Slope and intercept; slope 0 where all scores are equal.
    """
    scores = np.concatenate((real, fake))
    centre, scale = float(scores.mean()), float(scores.std())
    if scale <= 1e-12 * max(1.0, abs(centre)):
        return 0.0, 0.0
    x = (scores - centre) / scale
    counts = len(real), len(fake)
    target = np.repeat((1 / (len(real) + 2), (len(fake) + 1) / (len(fake) + 2)), counts)
    weight = np.repeat((0.5 / len(real), 0.5 / len(fake)), counts)
    design = np.stack((x, np.ones_like(x)), axis=1)

    def loss(parameters: Floats) -> float:
        z = design @ parameters
        return float(weight @ (np.logaddexp(0.0, z) - target * z))

    parameters = np.zeros(2)
    current = loss(parameters)
    for _ in range(100):
        p = sigmoid(design @ parameters)
        gradient = design.T @ (weight * (p - target))
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        size = 1.0
        while (proposed := loss(parameters - size * step)) > current and size > 1e-10:
            size /= 2
        parameters = parameters - size * step
        converged = current - proposed <= 1e-15 * abs(current)
        current = proposed
        if converged:
            break
    slope = float(parameters[0]) / scale
    return slope, float(parameters[1]) - slope * centre


def sigmoid(values: Floats) -> Floats:
    """Compute 1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(values))
    out: Floats = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return out


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
