"""What a search found: the nearest references of each class, and the plain vote among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contracts import Gallery
from ..results import Label
from .scores import Booleans, Floats, Integers


@dataclass(frozen=True, slots=True)
class Hits:
    """The K nearest references of each class, for one query or for Q of them.

    Attributes:
        real_keys: Array of shape (..., K), int64; -1 where the class has fewer references.
        real: Their cosines, shape (..., K), float64, falling; -inf where there is none.
        fake_keys: As `real_keys`, for the other class.
        fake: As `real`.
    """

    real_keys: Integers
    real: Floats
    fake_keys: Integers
    fake: Floats

    def __len__(self) -> int:
        return len(self.real_keys)

    def __getitem__(self, rows: int | slice) -> "Hits":
        return Hits(self.real_keys[rows], self.real[rows], self.fake_keys[rows], self.fake[rows])

    @classmethod
    def join(cls, parts: "Sequence[Hits]") -> "Hits":
        """Put the hits of several groups of queries, each of shape (Q_i, K), one after another."""
        return cls(
            np.concatenate([p.real_keys for p in parts]),
            np.concatenate([p.real for p in parts]),
            np.concatenate([p.fake_keys for p in parts]),
            np.concatenate([p.fake for p in parts]),
        )


def search_both(gallery: Gallery, vectors: NDArray[np.float32], k: int) -> Hits:
    """Search each class on its own, so that a gallery's imbalance cancels.

    Args:
        gallery: What to search.
        vectors: Array of shape (Q, D), float32.
        k: Neighbours wanted of each class.

    Returns:
        Hits of shape (Q, k).
    """
    real_keys, real = gallery.search(Label.REAL, vectors, k)
    fake_keys, fake = gallery.search(Label.FAKE, vectors, k)
    return Hits(real_keys, real, fake_keys, fake)


def vote(hits: Hits, k: int, lean: float | Floats = 0.0) -> Booleans:
    """The plain published vote: whether most of the k nearest references are fakes.

    As scikit-learn's ``KNeighborsClassifier`` with uniform weights: ties of the vote go to real.
    References at equal distance count reals first.

    Args:
        hits: Of Q queries, shape (Q, K) with K >= k.
        k: Size of the vote.
        lean: Added to every cosine to a fake, one number or shape (Q,); the vote is monotone in it.

    Returns:
        Shape (Q,), bool.
    """
    cosines = np.concatenate(
        (hits.real[:, :k], hits.fake[:, :k] + np.reshape(lean, (-1, 1))), axis=1
    )
    fakes = np.repeat((False, True), (hits.real[:, :k].shape[1], hits.fake[:, :k].shape[1]))
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    known = np.isfinite(np.take_along_axis(cosines, nearest, axis=1))
    most: Booleans = 2 * (fakes[nearest] & known).sum(axis=1) > known.sum(axis=1)
    return most
