"""Bootstrap: resampled weights, stratified by class, of items or of whole sources."""

from collections.abc import Callable, Iterator

import numpy as np

from ..judging.scores import FAKE, REAL, Floats, Integers

FEW_UNITS = 5
"""Sources (or items) of a class below which a 95 % interval is known to be too narrow: of scores
half as spread between sources as within them, that of the AUC holds 65 % of the time with two."""

_CHUNK = 2_000_000  # weights held at once
_NO_SPREAD = 1e-9  # between ends that differ by the order of summation at most


def resample_weights(
    labels: Integers, sources: Integers | None, resamples: int, seed: int
) -> Iterator[Floats]:
    """Draw, with replacement and within each class, how often each item counts.

    Args:
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source codes, shape (N,): whole sources are drawn, so that intervals widen where
            images of one source are alike; -1 is a source of its own. None draws items, and so
            does a class of a single source: its interval then speaks of that source alone.
        resamples: How many to draw.
        seed: The draws are a function of it, the labels and the sources.

    Yields:
        Weights, shape (b, N), float64, until ``resamples`` rows are drawn.
    """
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, len(labels)))
    units = {label: _units(labels, sources, label) for label in (REAL, FAKE)}
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        weights = np.zeros((rows, len(labels)))
        for label, codes in units.items():
            if len(codes):
                weights[:, labels == label] = _draw_counts(random, codes, rows)
        yield weights


def intervals(
    statistic: Callable[[Floats], Floats],
    labels: Integers,
    sources: Integers | None,
    *,
    resamples: int,
    seed: int,
) -> Floats:
    """Compute 95 % percentile intervals (Efron & Tibshirani, 1993) of several statistics.

    Args:
        statistic: Maps weights (b, N) to values (b, S).
        labels: Shape (N,).
        sources: As for :func:`resample_weights`.
        resamples: How many to draw, at least 1.
        seed: Of the draws.

    Returns:
        Lower and upper ends, shape (2, S).
    """
    values = np.concatenate(
        [statistic(weights) for weights in resample_weights(labels, sources, resamples, seed)]
    )
    ends: Floats = np.quantile(values, (0.025, 0.975), axis=0)
    return ends


def unanimous_interval(share: float, count: int) -> tuple[float, float] | None:
    """Give the exact 95 % interval of a share of 0 or 1, where a bootstrap has no spread.

    Clopper & Pearson (Biometrika 26, 1934), for independent units.

    Args:
        share: In [0, 1].
        count: Independent units that it is a share of: sources where these are drawn, as items of
            a source are alike, else items.

    Returns:
        None for a share between, or of nothing.
    """
    if not count or 0.0 < share < 1.0:
        return None
    end = float(0.025 ** (1.0 / count))
    return (end, 1.0) if share == 1.0 else (0.0, 1.0 - end)


def spread(
    low: float, high: float, exact: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Give the interval between a bootstrap's ends, which has to be one.

    Resamples that all agree, as those of classes without an overlap do, say nothing of how far
    the value may lie from the truth.

    Args:
        low: Lower end.
        high: Upper end.
        exact: Of :func:`unanimous_interval`, for a share; the answer holds both.

    Returns:
        None where all resamples agree and there is no exact interval.
    """
    if exact is not None:
        return min(low, exact[0]), max(high, exact[1])
    return (low, high) if high - low > _NO_SPREAD else None


def draws_sources(labels: Integers, sources: Integers | None, label: int) -> bool:
    """Whether sources are drawn within a class: where it has several, and some are known."""
    if sources is None:
        return False
    codes = sources[labels == label]
    return bool((codes >= 0).any() and (codes != codes[0]).any())


def count_units(labels: Integers, sources: Integers | None, label: int) -> int:
    """Count what is drawn within a class: its items, or its sources where there are several."""
    return int(_units(labels, sources, label).max(initial=-1)) + 1


def _units(labels: Integers, sources: Integers | None, label: int) -> Integers:
    """Number what is drawn in one class from 0 on, shape (items of the class,)."""
    members = np.flatnonzero(labels == label)
    if sources is None or not draws_sources(labels, sources, label):
        return np.arange(len(members))
    codes = sources[members].copy()
    unknown = codes < 0
    codes[unknown] = codes.max(initial=0) + 1 + np.arange(int(unknown.sum()))
    numbered: Integers = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return numbered


def _draw_counts(random: np.random.Generator, codes: Integers, rows: int) -> Floats:
    units = int(codes.max()) + 1
    drawn = random.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
    return counts[:, codes].astype(np.float64)
