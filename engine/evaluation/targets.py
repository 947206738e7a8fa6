"""What an evaluation says beyond metrics: rates at targets, calibration, the paper's table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..judging.scores import FAKE, REAL, Floats, Integers
from ..judging.thresholds import Thresholds, decide
from ..results import Verdict
from . import metrics
from .bootstrap import count_units, intervals, spread, unanimous_interval
from .evaluate import Interval, Outcomes
from .gather import Gathered

TARGETS = (0.01, 0.05)
"""Target false positive rates that every evaluation reports."""

_SURE = 1 - 1e-9
"""Of CoDE's training loss: what turns its cosines into log-odds before any calibration."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A statistic with its 95 % interval; None where undefined, or all resamples agree."""

    value: float | None
    ci95: Interval | None


@dataclass(frozen=True, slots=True)
class AtTarget:
    """What becomes of the evaluated files at one target false positive rate.

    Attributes:
        target_fpr: Asked for.
        guaranteed_fpr: What the gallery's references support; None where uncalibrated.
        supported: Whether that is the target.
        fpr: Share of reals with verdict fake.
        fnr: Share of fakes with verdict real.
        tpr: Share of fakes with verdict fake.
        abstained: Share of all with verdict inconclusive.
    """

    target_fpr: float
    guaranteed_fpr: float | None
    supported: bool
    fpr: Rate
    fnr: Rate
    tpr: Rate
    abstained: Rate


@dataclass(frozen=True, slots=True)
class CalibrationCost:
    """How far likelihood ratios can be taken at their word.

    Attributes:
        cllr: Log-likelihood-ratio cost, bits.
        cllr_min: The same after the best monotone recalibration on these very files: what is
            left is lack of discrimination; the rest of ``cllr`` is calibration.
        ece: Expected calibration error.
    """

    cllr: Rate
    cllr_min: float | None
    ece: Rate


@dataclass(frozen=True, slots=True)
class D3Row:
    """One row of the paper's table: accuracy of the plain vote.

    Attributes:
        condition: ``augm`` or ``no_augm``.
        real: Accuracy on reals.
        by_generator: Names and accuracies of the generators, in the folders' order.
        mean: Mean over the columns.
    """

    condition: str
    real: float | None
    by_generator: tuple[tuple[str, float], ...]
    mean: float | None


def at_target(
    gathered: Gathered, thresholds: Thresholds, target: float, *, resamples: int, seed: int
) -> AtTarget:
    """Decide the evaluated files with other thresholds, and count.

    Args:
        gathered: What was scanned.
        thresholds: Of the gallery, fitted for the target.
        target: The target false positive rate.
        resamples: Of the bootstrap; 0 leaves intervals out.
        seed: Of the bootstrap.
    """
    scores = gathered.outcomes.scores
    verdicts = decide(scores, np.ones_like(scores), thresholds).verdicts  # none is taken for novel
    verdicts[gathered.undecidable] = Verdict.INCONCLUSIVE  # as the scan found, at any rates

    def rate(verdict: Verdict, label: int | None) -> Rate:
        return _rate(gathered.outcomes, verdicts == verdict, label, resamples, seed)

    return AtTarget(
        target_fpr=target,
        guaranteed_fpr=thresholds.fpr,
        supported=thresholds.fpr_supported,
        fpr=rate(Verdict.FAKE, REAL),
        fnr=rate(Verdict.REAL, FAKE),
        tpr=rate(Verdict.FAKE, FAKE),
        abstained=rate(Verdict.INCONCLUSIVE, None),
    )


def calibration_cost(
    outcomes: Outcomes, log10_lr: Floats, *, resamples: int, seed: int
) -> CalibrationCost:
    """Compute what likelihood ratios cost.

    Args:
        outcomes: What was scanned.
        log10_lr: Shape (N,); any NaN leaves everything undefined.
        resamples: Of the bootstrap; 0 leaves intervals out.
        seed: Of the bootstrap.
    """
    labels = outcomes.labels
    if not {REAL, FAKE} <= set(labels.tolist()) or np.isnan(log10_lr).any():
        return CalibrationCost(Rate(None, None), None, Rate(None, None))

    def cost(of: Callable[[Integers, Floats, Floats], Floats]) -> Rate:
        return _statistic(outcomes, lambda weights: of(labels, log10_lr, weights), resamples, seed)

    return CalibrationCost(
        cost(metrics.cllr), cllr_min(labels, log10_lr), cost(metrics.expected_calibration_error)
    )


def raw_log10_lr(scores: Floats) -> Floats:
    """Read scores as log10 likelihood ratios without a calibration.

    A score is a difference of two distances relative to their sum, so it says how many times as
    far the real references lie as the generated ones; that number is taken for the ratio.
    """
    inside = np.clip(scores, -_SURE, _SURE)
    ratio: Floats = 2.0 * np.arctanh(inside) / np.log(10.0)
    return ratio


def cllr_min(labels: Integers, log10_lr: Floats) -> float:
    """Compute Cllr after the best monotone recalibration, by pooling adjacent violators.

    Brümmer & du Preez, Computer Speech & Language 20 (2006). With classes weighted equally the
    optimal posteriors are those of isotonic regression.

    Args:
        labels: Shape (N,): 0 real, 1 fake; both must occur.
        log10_lr: Shape (N,), finite.
    """
    order = np.argsort(log10_lr, kind="stable")
    of_class = np.bincount(labels, minlength=2)
    fake = np.where(labels == FAKE, 0.5 / of_class[FAKE], 0.0)[order]
    real = np.where(labels == REAL, 0.5 / of_class[REAL], 0.0)[order]
    starts = np.flatnonzero(np.append(True, np.diff(log10_lr[order]) != 0))
    pools: list[tuple[float, float]] = []  # mass of fakes, mass of reals
    for pool in zip(
        np.add.reduceat(fake, starts).tolist(), np.add.reduceat(real, starts).tolist(), strict=True
    ):
        merged = pool
        while pools and pools[-1][0] * merged[1] >= merged[0] * pools[-1][1]:
            before = pools.pop()
            merged = (before[0] + merged[0], before[1] + merged[1])
        pools.append(merged)
    # Cross entropy in bits; each pool's best posterior is its share of fakes.
    cost = 0.0
    for fakes, reals in pools:
        share = fakes / (fakes + reals)
        cost -= fakes * np.log2(share) if fakes else 0.0
        cost -= reals * np.log2(1.0 - share) if reals else 0.0
    return float(cost)


def d3_rows(gathered: Gathered) -> tuple[D3Row, ...]:
    """Compute the table of CoDE's paper: the plain vote's accuracy on each folder."""
    labels, right = gathered.outcomes.labels, gathered.votes == gathered.outcomes.labels
    rows = []
    for condition in sorted(set(gathered.conditions.tolist()), reverse=True):
        here = gathered.conditions == condition
        reals = here & (labels == REAL)
        real = float(right[reals].mean()) if reals.any() else None
        names = np.unique(gathered.generators[here & (labels == FAKE)]).tolist()
        columns = tuple(
            (name, float(right[here & (gathered.generators == name)].mean())) for name in names
        )
        values = [value for _, value in columns] + ([] if real is None else [real])
        rows.append(D3Row(condition, real, columns, float(np.mean(values)) if values else None))
    return tuple(rows)


def _rate(outcomes: Outcomes, chosen: Floats, label: int | None, resamples: int, seed: int) -> Rate:
    classes = (REAL, FAKE) if label is None else (label,)
    count = sum(count_units(outcomes.labels, outcomes.sources, one) for one in classes)
    if not count:
        return Rate(None, None)
    return _statistic(
        outcomes,
        lambda weights: metrics.share(chosen.astype(np.float64), weights, outcomes.labels, label),
        resamples,
        seed,
        count,
    )


def _statistic(
    outcomes: Outcomes,
    statistic: Callable[[Floats], Floats],
    resamples: int,
    seed: int,
    count: int = 0,
) -> Rate:
    """A statistic with its interval; `count` is how many units it is a share of, 0 if of none."""
    value = float(statistic(np.ones((1, len(outcomes.labels))))[0])
    if not resamples:
        return Rate(value, None)
    ends = intervals(
        lambda weights: statistic(weights)[:, None],
        outcomes.labels,
        outcomes.sources,
        resamples=resamples,
        seed=seed,
    )
    exact = unanimous_interval(value, count)
    return Rate(value, spread(float(ends[0, 0]), float(ends[1, 0]), exact))
