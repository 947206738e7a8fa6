"""What can be searched for vectors, whatever it keeps them in."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Searchable(Protocol):
    """Unit vectors by key; see :class:`vectors.VectorIndex`."""

    def __len__(self) -> int: ...

    @property
    def keys(self) -> NDArray[np.int64]:
        """Shape (n,)."""

    def units_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors at length one, (m, D), by their position in `keys`."""

    def search(
        self, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest by cosine."""
