"""Exact unit vectors by row in one plain file, mapped into memory instead of read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .vectors import unit


@dataclass(frozen=True, slots=True)
class ExactRows:
    """Vectors of length one and their keys, rising.

    The file is n keys, int64, then n vectors, float32, one after the other, little-endian.

    Attributes:
        keys: Shape (n,), int64.
        units: Shape (n, D), float32; views into the file where it is mapped.
    """

    keys: NDArray[np.int64]
    units: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def map(cls, path: Path, dimension: int) -> "ExactRows":
        """Map a file; the system reads what is looked at, and drops it when memory is short."""
        count = path.stat().st_size // (8 + 4 * dimension)
        # A file that is mapped can be replaced by another under its name: this one stays as it is.
        keys = np.memmap(path, "<i8", "r", 0, (count,))
        units = np.memmap(path, "<f4", "r", 8 * count, (count, dimension))
        return cls(keys, units)


def write_rows(
    path: Path,
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    count: int,
    dimension: int,
) -> None:
    """Write a file of :class:`ExactRows`; memory stays flat.

    Args:
        path: The file to make.
        parts: Keys and vectors of any length but zero, in the order of the keys.
        count: How many there are in all.
        dimension: Length D of a vector.
    """
    with path.open("wb") as file:
        file.truncate(count * (8 + 4 * dimension))
        done = 0
        for keys, vectors in parts:
            file.seek(8 * done)
            file.write(keys.astype("<i8").tobytes())
            file.seek(8 * count + 4 * dimension * done)
            file.write(unit(vectors).astype("<f4").tobytes())
            done += len(keys)
    if done != count:
        raise ValueError(f"{done} vectors instead of {count}")
