"""Embed a batch and search with it: the job that the pipeline's threads do for a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..contracts import Content, Gallery
from ..decoding.views import ViewPlan
from ..embedding.contracts import Embeds
from ..judging.hits import Hits, search_both
from ..judging.judge import Judge
from ..judging.query import Query
from .items import Identified

if TYPE_CHECKING:
    from ..embedding.precision import Safeguard


@dataclass(frozen=True, slots=True)
class EmbedOnly:
    """Embeds, for a build: references are searched for by nobody yet."""

    embedder: Embeds

    @property
    def batch(self) -> int:
        """Crops per call."""
        return self.embedder.batch

    @property
    def fewest(self) -> int:
        """Crops below which a call takes as long."""
        return self.embedder.fewest

    def load(self) -> None:
        """Load the encoder."""
        self.embedder.load()

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:  # noqa: ARG002
        """Embed crops, (n, 224, 224, 3) uint8."""
        vectors = self.embedder.embed(crops)
        return [Identified(vector, self.embedder.precision) for vector in vectors]

    def together(self, content: Content, found: Sequence[Identified], plan: ViewPlan) -> bool:  # noqa: ARG002
        """Nothing is judged."""
        return True


@dataclass(frozen=True, slots=True)
class EmbedAndSearch:
    """Embeds and searches a gallery with the vectors.

    An embedder of reduced precision comes with a safeguard: what it cannot settle is embedded
    again in float32.

    Attributes:
        embedder: The encoder.
        gallery: What to search.
        judge: Knows how many references it wants to see, and which answers are settled.
        safeguard: Where the embedder is not float32.
    """

    embedder: Embeds
    gallery: Gallery
    judge: Judge
    safeguard: "Safeguard | None" = None

    @property
    def batch(self) -> int:
        """Crops per call."""
        return self.embedder.batch

    @property
    def fewest(self) -> int:
        """Crops below which a call takes as long."""
        return self.embedder.fewest

    def load(self) -> None:
        """Load the encoder, and what settles its answers."""
        self.embedder.load()
        if self.safeguard is not None:
            self.safeguard.exact.load()

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:
        """Embed crops, (n, 224, 224, 3) uint8."""
        if self.safeguard is None:
            return self._identify(self.embedder, crops)
        exact, audit = self.safeguard.exact, self.safeguard.audit
        if final:
            return self._identify(exact, crops)
        found = self._identify(self.embedder, crops)
        if audit.due():
            audit.learn(_hits(found), _hits(self._identify(exact, crops)))
        settled = self.judge.settled(_hits(found), audit.width)
        return [one if sure else None for one, sure in zip(found, settled, strict=True)]

    def together(self, content: Content, found: Sequence[Identified], plan: ViewPlan) -> bool:
        """Whether views that are settled each on its own settle their picture, too."""
        if self.safeguard is None or all(one.precision == "float32" for one in found):
            return True
        query = Query.of(content, _hits(found), plan, self.safeguard.audit.width)
        return self.judge.steady(query)

    def _identify(self, embedder: Embeds, crops: NDArray[np.uint8]) -> list[Identified]:
        vectors = embedder.embed(crops)
        hits = search_both(self.gallery, vectors, self.judge.depth)
        return [
            Identified(vector, embedder.precision, hits[row : row + 1])
            for row, vector in enumerate(vectors)
        ]


def _hits(found: Sequence[Identified]) -> Hits:
    return Hits.join([one.hits for one in found if one.hits is not None])
