"""The score of a query: how much nearer it lies to the fake references than to the real ones."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Similarities = Floats
"""Cosines in [-1, 1], falling along a row, -inf where there is none."""

REAL = 0
FAKE = 1

FLOOR = 0.01
"""Added to the two distances that a score is relative to, so that of two near copies of a picture
the last digits do not decide. Chosen with the starter's k, by the same sources."""

SCORE = f"relative margin, floor {FLOOR}"
"""What a score is, for the records that have to be read by the same one."""


def relative_margins(
    real_similarities: npt.ArrayLike, fake_similarities: npt.ArrayLike, k: int = 1
) -> Floats:
    """Compute the score: how much nearer a query lies to one class than to the other.

    With d the mean cosine distance to the k nearest references of a class, each class searched on
    its own, it is ``(d_real - d_fake) / (d_real + d_fake + FLOOR)``. Relative, because references
    lie densely in some places and thinly in others, and a difference of distances means little
    where both are large (what that brings the starter is measured in ``train/TRAINING.md``). The
    mean, not the k-th neighbour alone, because it stays monotone in every neighbour (in a class of
    k or more, an added reference can only move the score towards its own class, which the
    conformal guarantee rests on) and is steadier than one order statistic.

    Args:
        real_similarities: Cosines to the nearest real references, shape (N, K) with K >= k,
            largest first, -inf where the class has fewer than K references
            (the convention of a gallery's search).
        fake_similarities: The same for the fake references, shape (N, K).
        k: Neighbours per class to average.

    Returns:
        Scores, shape (N,), float64, in (-1, 1); larger is more likely fake. NaN where a class
        has no reference.

    Raises:
        ValueError: The shapes differ or hold fewer than k neighbours.
    """
    real, fake = _distances(real_similarities, fake_similarities, k)
    scores: Floats = (real - fake) / (real + fake + FLOOR)
    return scores


def score_bands(
    real_similarities: npt.ArrayLike,
    fake_similarities: npt.ArrayLike,
    k: int,
    band: npt.ArrayLike,
) -> Floats:
    """Compute how far scores may lie from the exact ones, where they come of reduced precision.

    Args:
        real_similarities: As for :func:`relative_margins`.
        fake_similarities: The same.
        k: The same.
        band: How far a cosine, or a difference of two, may lie from the float32 one; one number
            or shape (N,).

    Returns:
        Shape (N,), float64: the nearer both classes are, the more an error of a cosine moves.
    """
    real, fake = _distances(real_similarities, fake_similarities, k)
    bands: Floats = np.asarray(band, dtype=np.float64) / (real + fake + FLOOR)
    return bands


def _distances(
    real_similarities: npt.ArrayLike, fake_similarities: npt.ArrayLike, k: int
) -> tuple[Floats, Floats]:
    """Mean cosine distances to the k nearest of each class, in [0, 2], NaN where there is none."""
    real = np.asarray(real_similarities, dtype=np.float64)
    fake = np.asarray(fake_similarities, dtype=np.float64)
    if real.ndim != 2 or real.shape != fake.shape:
        raise ValueError(f"expected two arrays (N, K), got {real.shape} and {fake.shape}")
    if not 1 <= k <= real.shape[1]:
        raise ValueError(f"k = {k}, but {real.shape[1]} neighbours per class are given")
    real, fake = 1.0 - _mean_of_known(real[:, :k]), 1.0 - _mean_of_known(fake[:, :k])
    return np.maximum(real, 0.0), np.maximum(fake, 0.0)  # a float32 cosine may be above 1


def nearest_similarities(
    real_similarities: npt.ArrayLike, fake_similarities: npt.ArrayLike
) -> Floats:
    """Compute the cosine to the nearest reference of either class.

    Args:
        real_similarities: Shape (N, K), as for :func:`relative_margins`.
        fake_similarities: Shape (N, K).

    Returns:
        Shape (N,), float64; -inf where there is no reference at all.
    """
    real = np.asarray(real_similarities, dtype=np.float64)[:, 0]
    fake = np.asarray(fake_similarities, dtype=np.float64)[:, 0]
    return np.maximum(real, fake)


def _mean_of_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
