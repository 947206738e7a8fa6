"""What embeds, as the rooms that use it see it; nothing here needs PyTorch."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .config import Place


class Embeds(Protocol):
    """What embeds, or has another one embed elsewhere, or later."""

    @property
    def batch(self) -> int:
        """Crops that one call takes best; asked once it is loaded."""

    @property
    def fewest(self) -> int:
        """Crops below which a call takes as long; asked once it is loaded."""

    @property
    def precision(self) -> str:
        """Of the vectors."""

    @property
    def arithmetic(self) -> str:
        """What the vectors' rounding depends on beside the weights; empty before there is one."""

    def load(self) -> None:
        """Make it ready, where it is not; the first crops do that too."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops, (n, 224, 224, 3) uint8, to (n, D) float32; thread-safe."""


class KnownEncoder(Embeds, Protocol):
    """One of which a run record says what it is, loaded or not."""

    @property
    def sha256(self) -> str:
        """Identity of the encoder."""

    @property
    def dimension(self) -> int:
        """Length D of an embedding."""

    @property
    def device(self) -> Place:
        """Where it runs."""

    @property
    def backend(self) -> str:
        """Which code embeds, for run records."""
