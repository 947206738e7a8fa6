"""Embed a batch and search with it: the job that the pipeline's threads do for a scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .contracts import Gallery
from .embed import Embedder
from .judging.judge import search_both
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
    """Embeds and searches a gallery with the vectors."""

    embedder: Embedder
    gallery: Gallery
    k: int

    @property
    def batch(self) -> int:
        """Crops per call."""
        return self.embedder.batch

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:  # noqa: ARG002
        """Embed crops, (n, 224, 224, 3) uint8."""
        vectors = self.embedder.embed(crops)
        hits = search_both(self.gallery, vectors, self.k)
        return [
            Identified(vector, self.embedder.precision, hits[row])
            for row, vector in enumerate(vectors)
        ]
