"""What a pipeline is given, and what may stand in its place."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..contracts import Content, Store
from ..decoding.views import ViewPlan
from ..files.found import FoundFile
from ..judging.hits import Hits
from .items import Identified, Item
from .options import PipelineOptions, StageTimes


class Identify(Protocol):
    """Embeds a batch of crops, and may search with the vectors while it is at it."""

    @property
    def batch(self) -> int:
        """Crops per call; asked once it is loaded."""

    @property
    def fewest(self) -> int:
        """Crops below which a call takes as long; asked once it is loaded."""

    def load(self) -> None:
        """Make ready to embed: called once, by one thread, before the first crops."""

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:
        """Embed crops, (n, 224, 224, 3) uint8; called by several threads at once.

        With `final` unset an entry may be None: that crop comes again with `final` set.
        """

    def together(self, content: Content, found: "Sequence[Identified]", plan: ViewPlan) -> bool:
        """Whether what was found for all views of a content may stand; else they come again."""


class Source(Protocol):
    """Gives files with what their bytes are."""

    def run(self, files: Iterable[FoundFile], stop: Callable[[], bool]) -> Iterator[list[Item]]:
        """Yield the files in order, in bursts, as they become ready; a burst may be empty."""


Search = Callable[[NDArray[np.float32]], Hits]
"""Searches a gallery with vectors, (Q, D); may be called by several threads at once."""


class Cluster(Protocol):
    """Other machines, or other processes, that read, decode and embed."""

    def pipeline(
        self,
        store: Store,
        options: PipelineOptions,
        times: StageTimes,
        search: Search | None = None,
    ) -> Source:
        """What runs in the place of :class:`Pipeline`, with the same answers."""
