"""Exact bounds of a share that was counted (Clopper & Pearson, Biometrika 26, 1934)."""

import math

import numpy as np

CONFIDENCE = 0.95
"""Of a bound that nothing else is said of."""


def at_most(found: int, among: int, confidence: float = CONFIDENCE) -> float:
    """Bound a share from above by how often something was found.

    The largest share p for which finding so few, or fewer, has a probability of
    1 - `confidence`: the one-sided upper limit of Clopper & Pearson.

    Args:
        found: How often, in [0, `among`].
        among: Independent trials, at least 1.
        confidence: That the true share is no larger, in (0, 1).

    Raises:
        ValueError: The counts make no share.
    """
    if not 0 <= found <= among or among < 1:
        raise ValueError(f"{found} of {among} is no share")
    if found == among:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _so_few(found, among, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _so_few(found: int, among: int, share: float) -> float:
    """Probability of at most so many among independent trials, each with that chance."""
    number = np.arange(1, found + 1)
    odds = math.log(share) - math.log1p(-share)
    steps = np.log(among - number + 1) - np.log(number) + odds
    terms = np.append(0.0, np.cumsum(steps))  # logarithms, relative to finding none
    return math.exp(among * math.log1p(-share) + float(np.logaddexp.reduce(terms)))
