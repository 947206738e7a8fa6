"""Evaluation of a labelled scan: every metric with its interval, overall and by generator."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..judging.scores import FAKE, REAL, Booleans, Floats, Integers
from ..results import Verdict
from . import metrics
from .bootstrap import count_units, draws_sources, intervals, spread, unanimous_interval

RESAMPLES = 1000

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a scan said of N labelled items; only items that were judged belong here.

    Attributes:
        labels: The truth, shape (N,): 0 real, 1 fake.
        scores: Of the verdicts, shape (N,), finite; larger is more likely fake.
        log10_lr: Calibrated log10 likelihood ratios, shape (N,); NaN where uncalibrated.
        predicted: Forced answers behind the accuracies, shape (N,): 0 real, 1 fake.
        verdicts: :class:`Verdict`, shape (N,), dtype object.
        sources: Source codes, shape (N,), for intervals over sources; None for items.
    """

    labels: Integers
    scores: Floats
    log10_lr: Floats
    predicted: Integers
    verdicts: npt.NDArray[np.object_]
    sources: Integers | None = None

    def select(self, chosen: Booleans) -> "Outcomes":
        """Keep some of the items."""
        sources = None if self.sources is None else self.sources[chosen]
        return Outcomes(
            self.labels[chosen],
            self.scores[chosen],
            self.log10_lr[chosen],
            self.predicted[chosen],
            self.verdicts[chosen],
            sources,
        )


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals of the metrics of the same names; None where the bootstrap has no spread."""

    auc: Interval | None = None
    ap: Interval | None = None
    eer: Interval | None = None
    balanced_accuracy: Interval | None = None
    accuracy_real: Interval | None = None
    accuracy_fake: Interval | None = None
    tpr_at_fpr_01: Interval | None = None
    tpr_at_fpr_05: Interval | None = None
    cllr: Interval | None = None
    ece: Interval | None = None
    abstained: Interval | None = None
    false_positive_rate: Interval | None = None
    false_negative_rate: Interval | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of a set; None where a class is missing, or the scores are uncalibrated.

    Attributes:
        auc: Area under the ROC curve of the score.
        ap: Average precision, fakes being the positives.
        eer: Equal error rate.
        balanced_accuracy: Mean of the two accuracies.
        accuracy_real: Share of reals whose forced answer is real.
        accuracy_fake: Share of fakes whose forced answer is fake.
        tpr_at_fpr_01: True positive rate at a false positive rate of at most 1 %.
        tpr_at_fpr_05: The same at 5 %.
        cllr: Log-likelihood-ratio cost, bits.
        ece: Expected calibration error of p_fake at prior 0.5, 15 bins, classes equal.
        abstained: Share of all items with verdict inconclusive.
        false_positive_rate: Share of reals with verdict fake.
        false_negative_rate: Share of fakes with verdict real.
        n_real: Reals.
        n_fake: Fakes.
        ci95: Bootstrap intervals of all of them.
    """

    auc: float | None
    ap: float | None
    eer: float | None
    balanced_accuracy: float | None
    accuracy_real: float | None
    accuracy_fake: float | None
    tpr_at_fpr_01: float | None
    tpr_at_fpr_05: float | None
    cllr: float | None
    ece: float | None
    abstained: float | None
    false_positive_rate: float | None
    false_negative_rate: float | None
    n_real: int
    n_fake: int
    ci95: Intervals

    def as_dict(self) -> dict[str, Any]:
        """As a JSON-able mapping."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        overall: Over all items.
        by_generator: Each generator's fakes against reals, by name; the empty name is the
            fakes without one.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        by_source: Whether the bootstrap drew whole sources, of one class at least.
    """

    overall: Metrics
    by_generator: Mapping[str, Metrics]
    resamples: int
    seed: int
    by_source: bool


def evaluate(
    outcomes: Outcomes,
    generators: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Compute all metrics with their intervals, overall and by generator.

    Args:
        outcomes: What the scan said.
        generators: Generators of the items, shape (N,), strings; ignored for reals.
        groups: Shape (N,), strings: a generator's fakes are compared with the reals of their own
            groups, as benchmarks by generator have them, or with all reals where these have none.
        resamples: Of the bootstrap; 0 leaves the intervals out.
        seed: Of the bootstrap.
    """
    names = np.asarray(generators).astype(str)
    parts = np.full(len(names), "") if groups is None else np.asarray(groups).astype(str)
    real = outcomes.labels == REAL

    def against_its_reals(name: str) -> Metrics:
        fakes = (names == name) & ~real
        own = real & np.isin(parts, parts[fakes])
        chosen = fakes | (own if own.any() else real)
        return measure(outcomes.select(chosen), resamples=resamples, seed=seed)

    by_generator = {str(name): against_its_reals(name) for name in np.unique(names[~real])}
    overall = measure(outcomes, resamples=resamples, seed=seed)
    by_source = any(
        draws_sources(outcomes.labels, outcomes.sources, label) for label in (REAL, FAKE)
    )
    return Evaluation(overall, by_generator, resamples, seed, by_source)


def measure(outcomes: Outcomes, *, resamples: int = RESAMPLES, seed: int = 0) -> Metrics:
    """Compute all metrics of one set.

    The intervals are percentiles of a bootstrap stratified by class, and None where a class has
    fewer than two items (or sources) to draw from, or where all resamples agree. Those of shares
    of 0 or 1 are exact (Clopper & Pearson) for so many sources, where these are drawn, or items, or
    the bootstrap's where that is wider.

    Args:
        outcomes: What the scan said.
        resamples: Of the bootstrap; 0 leaves the intervals out.
        seed: Of the bootstrap.
    """
    labels = outcomes.labels
    n_real, n_fake = int((labels == REAL).sum()), int((labels == FAKE).sum())
    values = _as_fields(_statistics(outcomes, np.ones((1, len(labels))))[0])
    ends: dict[str, Interval | None] = {}
    present = [label for label, n in ((REAL, n_real), (FAKE, n_fake)) if n]
    enough = all(count_units(labels, outcomes.sources, label) > 1 for label in present)
    if resamples and present and enough:
        low, high = intervals(
            lambda weights: _statistics(outcomes, weights),
            labels,
            outcomes.sources,
            resamples=resamples,
            seed=seed,
        )
        lows, highs = _as_fields(low), _as_fields(high)
        units = {label: count_units(labels, outcomes.sources, label) for label in present}
        counts = {REAL: units.get(REAL, 0), FAKE: units.get(FAKE, 0), None: sum(units.values())}
        for name, value in values.items():
            least, most = lows[name], highs[name]
            if value is None or least is None or most is None:
                continue
            count = counts[_SHARES[name]] if name in _SHARES else 0
            ends[name] = spread(least, most, unanimous_interval(value, count))
    return Metrics(**values, n_real=n_real, n_fake=n_fake, ci95=Intervals(**ends))


_NAMES = tuple(field.name for field in fields(Intervals))
_SHARES = {
    "accuracy_real": REAL,
    "accuracy_fake": FAKE,
    "tpr_at_fpr_01": FAKE,
    "tpr_at_fpr_05": FAKE,
    "abstained": None,
    "false_positive_rate": REAL,
    "false_negative_rate": FAKE,
}
"""Metrics that are a share of one class, or of all."""


def _as_fields(values: Floats) -> dict[str, float | None]:
    pairs = zip(_NAMES, values.tolist(), strict=True)
    return {name: None if np.isnan(value) else value for name, value in pairs}


def _statistics(outcomes: Outcomes, weights: Floats) -> Floats:
    """All metrics in the order of the fields, NaN where undefined, shape (B, S)."""
    labels, nothing = outcomes.labels, np.full(len(weights), np.nan)
    reals, fakes = bool((labels == REAL).any()), bool((labels == FAKE).any())

    def rate(values: Booleans, label: int | None, defined: bool) -> Floats:
        if not defined:
            return nothing
        return metrics.share(values.astype(np.float64), weights, labels, label)

    accuracy_real = rate(outcomes.predicted == REAL, REAL, reals)
    accuracy_fake = rate(outcomes.predicted == FAKE, FAKE, fakes)
    ranking = [nothing] * 5
    if reals and fakes:
        ranked = metrics.rank(labels, outcomes.scores, weights)
        ranking = [
            metrics.auc(ranked),
            metrics.average_precision(ranked),
            metrics.equal_error_rate(ranked),
            metrics.tpr_at_fpr(ranked, 0.01),
            metrics.tpr_at_fpr(ranked, 0.05),
        ]
    cllr = ece = nothing
    if reals and fakes and not np.isnan(outcomes.log10_lr).any():
        cllr = metrics.cllr(labels, outcomes.log10_lr, weights)
        ece = metrics.expected_calibration_error(labels, outcomes.log10_lr, weights)
    columns = {
        "auc": ranking[0],
        "ap": ranking[1],
        "eer": ranking[2],
        "balanced_accuracy": (accuracy_real + accuracy_fake) / 2,
        "accuracy_real": accuracy_real,
        "accuracy_fake": accuracy_fake,
        "tpr_at_fpr_01": ranking[3],
        "tpr_at_fpr_05": ranking[4],
        "cllr": cllr,
        "ece": ece,
        "abstained": rate(outcomes.verdicts == Verdict.INCONCLUSIVE, None, reals or fakes),
        "false_positive_rate": rate(outcomes.verdicts == Verdict.FAKE, REAL, reals),
        "false_negative_rate": rate(outcomes.verdicts == Verdict.REAL, FAKE, fakes),
    }
    return np.stack([columns[name] for name in _NAMES], axis=1)
