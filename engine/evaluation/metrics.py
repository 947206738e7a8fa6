"""Metrics of a detector, for one set of items or for many resamples of it at once.

Every function takes weights of shape (B, N), one row a resample: how often it drew each item. A
row of ones gives the metric itself. So a bootstrap needs one sort of the scores, not a thousand.
"""

from dataclasses import dataclass

import numpy as np

from ..judging.calibration import posterior
from ..judging.scores import FAKE, REAL, Booleans, Floats, Integers

ECE_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. (ICML 2017)."""


@dataclass(frozen=True, slots=True)
class RankedCounts:
    """Weights by distinct score, largest score first: all that ranking metrics need.

    Attributes:
        real: Weight of reals, shape (B, U).
        fake: Weight of fakes, shape (B, U).
        scores: The distinct scores, shape (U,), falling.
    """

    real: Floats
    fake: Floats
    scores: Floats

    @property
    def fpr(self) -> Floats:
        """False positive rates, shape (B, U + 1), from threshold infinity downwards."""
        return _cumulative_share(self.real)

    @property
    def tpr(self) -> Floats:
        """True positive rates, shape (B, U + 1)."""
        return _cumulative_share(self.fake)


def rank(labels: Integers, scores: Floats, weights: Floats) -> RankedCounts:
    """Group weights by distinct score.

    Args:
        labels: Shape (N,): 0 real, 1 fake; N >= 1.
        scores: Shape (N,), finite; larger is more likely fake.
        weights: Shape (B, N).
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    by_rank, is_fake = weights[:, order], labels[order] == FAKE
    return RankedCounts(
        real=np.add.reduceat(by_rank * ~is_fake, starts, axis=1),
        fake=np.add.reduceat(by_rank * is_fake, starts, axis=1),
        scores=ranked[starts],
    )


def auc(ranked: RankedCounts) -> Floats:
    """Area under the ROC curve, ties counting one half (Mann-Whitney), shape (B,)."""
    fpr, tpr = ranked.fpr, ranked.tpr
    area: Floats = (np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1]) / 2).sum(axis=1)
    return area


def average_precision(ranked: RankedCounts) -> Floats:
    """Sum of precisions weighted by the rise in recall, without interpolation, shape (B,)."""
    found, false = ranked.fake.cumsum(axis=1), ranked.real.cumsum(axis=1)
    precision = found / np.maximum(found + false, 1e-300)
    average: Floats = (ranked.fake * precision).sum(axis=1) / ranked.fake.sum(axis=1)
    return average


def equal_error_rate(ranked: RankedCounts) -> Floats:
    """Error where false positive and false negative rate are equal, shape (B,).

    On the straight line between the two neighbouring points of the ROC curve.
    """
    fpr = ranked.fpr
    excess = fpr - (1.0 - ranked.tpr)  # rises from -1 to 1
    after = np.argmax(excess >= 0, axis=1)
    rows = np.arange(len(fpr))
    before = after - 1
    low, high = excess[rows, before], excess[rows, after]
    part = -low / (high - low)
    rate: Floats = fpr[rows, before] + part * (fpr[rows, after] - fpr[rows, before])
    return rate


def tpr_at_fpr(ranked: RankedCounts, fpr: float) -> Floats:
    """Largest true positive rate of a threshold whose false positive rate is within, shape (B,)."""
    within = ranked.fpr <= fpr + 1e-12
    best: Floats = np.where(within, ranked.tpr, 0.0).max(axis=1)
    return best


def cllr(labels: Integers, log10_lr: Floats, weights: Floats) -> Floats:
    """Log-likelihood-ratio cost in bits, shape (B,); 1 is a system without information.

    Mean over the classes of the mean of log2(1 + 1 / LR) over fakes and of log2(1 + LR) over
    reals (Brümmer & du Preez, Computer Speech & Language 20, 2006).
    """
    natural = log10_lr * np.log(10.0)
    bits = np.logaddexp(0.0, np.where(labels == FAKE, -natural, natural)) / np.log(2.0)
    cost: Floats = (_mean(bits, weights, labels == FAKE) + _mean(bits, weights, labels == REAL)) / 2
    return cost


def expected_calibration_error(labels: Integers, log10_lr: Floats, weights: Floats) -> Floats:
    """Expected calibration error of p_fake at prior 0.5, shape (B,), in [0, 1].

    15 equal-width bins of p_fake, the last closed; in each the gap between mean p_fake and the
    share of fakes, weighted by the bin's share (Naeini et al., AAAI 2015). The classes weigh one
    half each: p_fake is stated for that prior, and would not be calibrated for the mix that a
    set happens to have.
    """
    p = posterior(log10_lr)
    bins = np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    member = (bins[:, None] == np.arange(ECE_BINS)).astype(np.float64)  # (N, bins)
    balanced = np.zeros_like(weights)
    for members in (labels == REAL, labels == FAKE):
        total = weights[:, members].sum(axis=1, keepdims=True)
        balanced[:, members] = weights[:, members] / (2.0 * total)
    error: Floats = np.abs(balanced @ (member * (p - (labels == FAKE))[:, None])).sum(axis=1)
    return error


def share(values: Floats, weights: Floats, labels: Integers, label: int | None = None) -> Floats:
    """Weighted mean of values over one class, or over all items, shape (B,)."""
    members = np.ones(len(labels), dtype=np.bool_) if label is None else labels == label
    return _mean(values, weights, members)


def _mean(values: Floats, weights: Floats, members: Booleans) -> Floats:
    chosen = weights[:, members]
    mean: Floats = (chosen @ values[members]) / chosen.sum(axis=1)
    return mean


def _cumulative_share(counts: Floats) -> Floats:
    total = counts.cumsum(axis=1)
    padded: Floats = np.pad(total / total[:, -1:], ((0, 0), (1, 0)))
    return padded
