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


def margins(
    real_similarities: npt.ArrayLike, fake_similarities: npt.ArrayLike, k: int = 1
) -> Floats:
    """Compute the margin between the two classes, each searched on its own.

    The score is the mean cosine to the k nearest fake references minus the mean cosine to the k
    nearest real ones; with ``k = 1`` it is the reported ``margin``. The mean, not the k-th
    neighbour alone, because it stays monotone in every neighbour (an added reference can only
    move the score towards its own class, which the conformal guarantee rests on) and is steadier
    than one order statistic.

    Args:
        real_similarities: Cosines to the nearest real references, shape (N, K) with K >= k,
            largest first, -inf where the class has fewer than K references
            (the convention of a gallery's search).
        fake_similarities: The same for the fake references, shape (N, K).
        k: Neighbours per class to average.

    Returns:
        Scores, shape (N,), float64, in [-2, 2]; larger is more likely fake. NaN where a class
        has no reference.

    Raises:
        ValueError: The shapes differ or hold fewer than k neighbours.
    """
    real = np.asarray(real_similarities, dtype=np.float64)
    fake = np.asarray(fake_similarities, dtype=np.float64)
    if real.ndim != 2 or real.shape != fake.shape:
        raise ValueError(f"expected two arrays (N, K), got {real.shape} and {fake.shape}")
    if not 1 <= k <= real.shape[1]:
        raise ValueError(f"k = {k}, but {real.shape[1]} neighbours per class are given")
    return _mean_of_known(fake[:, :k]) - _mean_of_known(real[:, :k])


def nearest_similarities(
    real_similarities: npt.ArrayLike, fake_similarities: npt.ArrayLike
) -> Floats:
    """Compute the cosine to the nearest reference of either class.

    Args:
        real_similarities: Shape (N, K), as for :func:`margins`.
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
