"""Conformal quantiles: thresholds with a finite-sample guarantee, by reference or by source."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .scores import Floats, Integers


class Exchangeable(StrEnum):
    """What a guarantee takes new images to be exchangeable with."""

    REFERENCES = "references"  # the gallery's references
    SOURCES = "sources"  # images of a source that is exchangeable with the gallery's sources


@dataclass(frozen=True, slots=True)
class ConformalThreshold:
    """A threshold that at most a stated share of new scores passes.

    Attributes:
        value: A score; a new one passes when strictly beyond it.
        rate: The guaranteed bound on the share that passes, in (0, 1].
        supported: Whether the rate meets the target; if not, the rate is the tightest that the
            number of references (or sources) supports.
    """

    value: float
    rate: float
    supported: bool


def upper_threshold(
    scores: Floats, target: float, sources: Integers | None = None
) -> ConformalThreshold:
    """Find the least score that at most ``target`` of new, exchangeable scores exceed.

    Without ``sources`` this is the ceil((n + 1)(1 - target))-th smallest of the n scores: for a
    new score S exchangeable with them, P(S > threshold) <= target, in the mean over galleries
    (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; Lei et al., JASA
    113, 2018). Where (n + 1) target < 1 it is the largest score, which S exceeds with
    probability at most 1 / (n + 1).

    With ``sources`` each of the m sources counts 1 / (m + 1), shared by its scores, and the
    guarantee is for an image of a new source (Lee, Barber & Willett, "Distribution-free inference
    with hierarchical data", 2023): no rate below 1 / (m + 1) can be promised then.

    Args:
        scores: Shape (n,), n >= 1.
        target: Share of new scores that may exceed the threshold, in (0, 1).
        sources: Source codes, shape (n,); -1 is an unknown source, all of them taken as one,
            since nothing says that they are independent.

    Raises:
        ValueError: There are no scores, or the target is not in (0, 1).
    """
    if not len(scores) or not 0.0 < target < 1.0:
        raise ValueError("expected at least one score and a target rate in (0, 1)")
    if sources is None:
        # Counted in whole numbers: sums of 1 / (n + 1) would round at the boundary.
        n = len(scores)
        beyond = max(0, int(np.floor(target * (n + 1) + 1e-9)) - 1)
        rate = (beyond + 1) / (n + 1)
        return ConformalThreshold(
            float(np.sort(scores)[n - 1 - beyond]), rate, rate <= target + 1e-9
        )
    weights, at_infinity = _source_weights(sources)
    order = np.argsort(scores, kind="stable")
    ranked, mass = scores[order], np.cumsum(weights[order][::-1])[::-1]  # mass at or above each
    last_of_tie = np.searchsorted(ranked, ranked, side="right")
    above = at_infinity + np.append(mass, 0.0)[last_of_tie]  # mass strictly above each
    enough = np.flatnonzero(above <= target + 1e-9)
    first = int(enough[0]) if len(enough) else len(ranked) - 1
    return ConformalThreshold(float(ranked[first]), float(above[first]), len(enough) > 0)


def lower_threshold(
    scores: Floats, target: float, sources: Integers | None = None
) -> ConformalThreshold:
    """Find the largest score that at most ``target`` of new, exchangeable scores fall below.

    :func:`upper_threshold` of the negated scores.
    """
    mirrored = upper_threshold(-scores, target, sources)
    return ConformalThreshold(0.0 - mirrored.value, mirrored.rate, mirrored.supported)


def _source_weights(sources: Integers) -> tuple[Floats, float]:
    _, codes, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    share = 1.0 / (len(sizes) + 1)
    weights: Floats = share / sizes[codes]
    return weights, share
