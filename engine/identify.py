"""Embed a batch and search with it: the job that the pipeline's threads do for a scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .contracts import Gallery
from .embed import Embedder
from .judging.hits import search_both
from .judging.judge import Judge
from .pipeline import Identified


@dataclass(frozen=True, slots=True)
class EmbedOnly:
    """Embeds, for a build: references are searched for by nobody yet."""

    embedder: Embedder

    @property
    def batch(self) -> int:
        """Crops per call."""
        return self.embedder.batch

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:  # noqa: ARG002
        """Embed crops, (n, 224, 224, 3) uint8."""
        vectors = self.embedder.embed(crops)
        return [Identified(vector, self.embedder.precision) for vector in vectors]


@dataclass(frozen=True, slots=True)
class EmbedAndSearch:
    """Embeds and searches a gallery with the vectors.

    With a second, exact embedder the first may be less precise: what it cannot settle is embedded
    again by the exact one.

    Attributes:
        embedder: The encoder.
        gallery: What to search.
        judge: Knows how many references it wants to see, and which answers are settled.
        exact: The same encoder in float32, where the first is not.
        band: How far a score by the first may lie from one by the exact.
    """

    embedder: Embedder
    gallery: Gallery
    judge: Judge
    exact: Embedder | None = None
    band: float = 0.0

    @property
    def batch(self) -> int:
        """Crops per call."""
        return self.embedder.batch

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:
        """Embed crops, (n, 224, 224, 3) uint8."""
        embedder = self.exact if final and self.exact is not None else self.embedder
        vectors = embedder.embed(crops)
        hits = search_both(self.gallery, vectors, self.judge.depth)
        settled = np.ones(len(crops), dtype=np.bool_)
        if self.exact is not None and not final:
            settled = self.judge.settled(hits, self.band)
        return [
            Identified(vector, embedder.precision, hits[row : row + 1]) if settled[row] else None
            for row, vector in enumerate(vectors)
        ]
