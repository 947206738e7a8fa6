"""The curves behind the plots of an evaluation, as arrays: ROC, Tippett, reliability."""

from dataclasses import dataclass

import numpy as np

from ..judging.calibration import posterior
from ..judging.scores import FAKE, REAL, Floats, Integers
from .metrics import ECE_BINS, rank


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Error rates over all thresholds, from "nothing is fake" to "everything is".

    Attributes:
        thresholds: Shape (U + 1,), falling, infinity first; a score at or above one is fake.
        fpr: False positive rates, shape (U + 1,), rising from 0 to 1.
        tpr: True positive rates, shape (U + 1,), rising from 0 to 1.
    """

    thresholds: Floats
    fpr: Floats
    tpr: Floats

    @property
    def fnr(self) -> Floats:
        """False negative rates, shape (U + 1,): with ``fpr``, the points of the DET curve."""
        return 1.0 - self.tpr


@dataclass(frozen=True, slots=True)
class TippettCurve:
    """Share of a class whose likelihood ratio reaches at least a value.

    Attributes:
        log10_lr: The values, shape (U,), rising.
        real: Share of reals that reach it, shape (U,), falling.
        fake: Share of fakes that reach it, shape (U,), falling.
    """

    log10_lr: Floats
    real: Floats
    fake: Floats


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """What p_fake says against what is so, in the bins of the expected calibration error.

    Attributes:
        p_fake: Mean p_fake of each bin that is not empty, shape (U,), rising.
        share_fake: Share of fakes in it, shape (U,).
        weight: Share of all items in it, shape (U,), summing to 1. The classes weigh one half
            each throughout, as the prior behind p_fake is 0.5.
    """

    p_fake: Floats
    share_fake: Floats
    weight: Floats


def roc_curve(labels: Integers, scores: Floats) -> RocCurve:
    """Compute the ROC curve, one point for each distinct score.

    Args:
        labels: Shape (N,): 0 real, 1 fake; both must occur.
        scores: Shape (N,), finite; larger is more likely fake.
    """
    ranked = rank(labels, scores, np.ones((1, len(labels))))
    return RocCurve(np.append(np.inf, ranked.scores), ranked.fpr[0], ranked.tpr[0])


def tippett_curve(labels: Integers, log10_lr: Floats) -> TippettCurve:
    """Compute a Tippett plot's two curves (Evett & Buckleton, 1996).

    Args:
        labels: Shape (N,): 0 real, 1 fake; both must occur.
        log10_lr: Shape (N,), finite.
    """
    values = np.unique(log10_lr)

    def reaching(members: Floats) -> Floats:
        below = np.searchsorted(np.sort(members), values, side="left")
        share: Floats = 1.0 - below / len(members)
        return share

    return TippettCurve(
        values, reaching(log10_lr[labels == REAL]), reaching(log10_lr[labels == FAKE])
    )


def reliability_curve(labels: Integers, log10_lr: Floats) -> ReliabilityCurve:
    """Compute a reliability diagram of p_fake at prior 0.5 with 15 equal-width bins.

    Args:
        labels: Shape (N,): 0 real, 1 fake; both must occur.
        log10_lr: Shape (N,), finite.
    """
    p = posterior(log10_lr)
    bins = np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    of_class = np.bincount(labels, minlength=2)
    weights = 0.5 / of_class[labels]
    mass: Floats = np.bincount(bins, weights, ECE_BINS).astype(np.float64)
    filled = mass > 0
    mean = np.bincount(bins, weights * p, ECE_BINS)[filled] / mass[filled]
    share = np.bincount(bins, weights * (labels == FAKE), ECE_BINS)[filled] / mass[filled]
    return ReliabilityCurve(mean, share, mass[filled])
