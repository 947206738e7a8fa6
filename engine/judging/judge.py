"""Decide from the nearest references: the one replaceable step between search and record."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contracts import Gallery, Reference
from ..results import Label, Neighbour, Verdict


@dataclass(frozen=True, slots=True)
class Hits:
    """The k nearest references of each class, for one query or for Q of them.

    Attributes:
        real_keys: Array of shape (..., k), int64; -1 where the class has fewer references.
        real: Their cosines, shape (..., k), float64, falling; -inf where there is none.
        fake_keys: As `real_keys`, for the other class.
        fake: As `real`.
    """

    real_keys: NDArray[np.int64]
    real: NDArray[np.float64]
    fake_keys: NDArray[np.int64]
    fake: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.real_keys)

    def __getitem__(self, row: int) -> "Hits":
        return Hits(self.real_keys[row], self.real[row], self.fake_keys[row], self.fake[row])

    def keys(self) -> list[int]:
        """All keys that stand for a reference."""
        both = np.concatenate((self.real_keys.ravel(), self.fake_keys.ravel()))
        return [int(key) for key in np.unique(both) if key >= 0]


def search_both(gallery: Gallery, vectors: NDArray[np.float32], k: int) -> Hits:
    """Search each class on its own, so that a gallery's imbalance cancels.

    Args:
        gallery: What to search.
        vectors: Array of shape (Q, D), float32.
        k: Neighbours wanted of each class.
    """
    real_keys, real = gallery.search(Label.REAL, vectors, k)
    fake_keys, fake = gallery.search(Label.FAKE, vectors, k)
    return Hits(real_keys, real, fake_keys, fake)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for one file, and the evidence for it."""

    knn: Label
    verdict: Verdict
    reason: str | None
    p_fake: float | None
    margin: float | None
    real_similarity: float | None
    fake_similarity: float | None
    generator: str | None
    neighbours: tuple[Neighbour, ...]


def judge(hits: Hits, references: Mapping[int, Reference], k: int) -> Judgement:
    """Judge one query by the plain published vote.

    Args:
        hits: Of one query, arrays of shape (k,).
        references: The references behind the hits' keys.
        k: Size of the vote. Ties go to real, as in scikit-learn.
    """
    neighbours = _neighbours(hits, references)
    nearest = neighbours[:k]
    fakes = sum(n.label is Label.FAKE for n in nearest)
    knn = Label.FAKE if 2 * fakes > len(nearest) else Label.REAL
    real, fake = _similarity(hits.real), _similarity(hits.fake)
    generator = next((n.generator for n in neighbours if n.label is Label.FAKE), "")
    verdict = Verdict(knn)
    return Judgement(
        knn=knn,
        verdict=verdict,
        reason=None,
        p_fake=None,
        margin=None if real is None or fake is None else fake - real,
        real_similarity=real,
        fake_similarity=fake,
        generator=(generator or None) if verdict is Verdict.FAKE else None,
        neighbours=neighbours,
    )


def _similarity(cosines: NDArray[np.float64]) -> float | None:
    return float(cosines[0]) if len(cosines) and np.isfinite(cosines[0]) else None


def _neighbours(hits: Hits, references: Mapping[int, Reference]) -> tuple[Neighbour, ...]:
    found = []
    for label, keys, cosines in (
        (Label.REAL, hits.real_keys, hits.real),
        (Label.FAKE, hits.fake_keys, hits.fake),
    ):
        for key, cosine in zip(keys.tolist(), cosines.tolist(), strict=True):
            if key >= 0:
                r = references[key]
                found.append(Neighbour(key, r.id, label, r.generator, r.source, cosine))
    found.sort(key=lambda n: (-n.similarity, n.label is Label.FAKE, n.key))
    return tuple(found)
