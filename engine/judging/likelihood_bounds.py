"""How far a likelihood ratio may go: empirical lower and upper bounds (ELUB)."""

import numpy as np

from .scores import Floats


def empirical_bounds(real: Floats, fake: Floats) -> tuple[float, float]:
    """Compute the least and the largest log10 likelihood ratio that references support.

    ELUB of Vergeer, van Es, de Jongh, Alberink & Stoel, "Numerical likelihood ratios outputted
    by LR systems are often based on extrapolation: when to stop extrapolating?", Science &
    Justice 56 (2016) 482-491: for each threshold t >= 1, one misleading likelihood ratio of
    just t is added to the n reals, and the normalised Bayes error

        t (#{real LR >= t} + 1) / (n + 1) + #{fake LR < t} / m

    is compared with 1, that of a system without information. The upper bound is the end of the
    range of thresholds from 1 on over which the error stays below 1 (the crossing is computed
    exactly, not on a grid); the lower bound is the same with the classes exchanged. So no
    likelihood ratio exceeds n + 1, or falls below 1 / (m + 1).

    Args:
        real: Natural log-likelihood ratios of n reals, shape (n,).
        fake: Natural log-likelihood ratios of m fakes, shape (m,).

    Returns:
        Lower bound <= 0 and upper bound >= 0, log10; 0 where the references support nothing.
    """
    return 0.0 - _upper_bound(-fake, -real), _upper_bound(real, fake)


def _upper_bound(against: Floats, favouring: Floats) -> float:
    """Bound evidence whose misleading cases come from ``against``."""
    against, favouring = np.sort(against), np.sort(favouring)
    edges = np.unique(np.concatenate((against, favouring)))
    edges = np.concatenate(([0.0], edges[edges > 0], [np.inf]))
    low, high = edges[:-1], edges[1:]
    # On (low, high] both counts are constant, so the error is a line, rising in t.
    misleading = len(against) - np.searchsorted(against, low, side="right")
    missed = np.searchsorted(favouring, low, side="right") / len(favouring)
    # In logarithms: likelihood ratios of separated classes overflow.
    slope = np.log((misleading + 1) / (len(against) + 1))
    with np.errstate(divide="ignore"):
        crossing = np.log1p(-missed) - slope  # log t at which the line reaches 1
    first = int(np.argmax(crossing < high))
    return float(np.clip(crossing[first], low[first], high[first])) / float(np.log(10.0))
