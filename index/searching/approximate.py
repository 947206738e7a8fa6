"""Search over one class of a large gallery: trained cells, and exactly what came and went since."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .exact_rows import ExactRows
from .inverted_lists import InvertedLists, Trained
from .vectors import VectorIndex, exact_cosines, faiss_module, nearest_first, unit

_PER_PROPOSAL = 8
"""Vectors that a search sees for each that it proposes, at least, whatever k is."""


@dataclass(frozen=True, slots=True)
class TrainedPart:
    """The part of a class that is in cells; mapped files.

    Attributes:
        rows: Exact vectors.
        lists: Cells with the numbers of the rows.
        trained: What they are, and how well they find.
    """

    rows: ExactRows
    lists: InvertedLists
    trained: Trained

    @classmethod
    def map(cls, rows: Path, lists: Path, trained: Trained, dimension: int) -> "TrainedPart | None":
        """Map the files; None where they do not belong together."""
        part = cls(ExactRows.map(rows, dimension), InvertedLists.open(lists), trained)
        fits = len(part.rows) == len(part.lists) == trained.vectors
        return part if fits and part.lists.cells == trained.cells else None


class ApproximateIndex:
    """Unit vectors by key; like :class:`VectorIndex`, but the nearest may be missed.

    What was added since the cells were made is searched exactly, and what was removed is left
    out, so that only neighbours in cells can be missed: as seldom as `part.trained` says. What is
    found is exact: its cosine comes from the vector itself.

    Attributes:
        part: What is in cells.
        added: What came since; its keys are greater.
        removed: Keys in cells that are out of force, rising.
    """

    def __init__(self, part: TrainedPart, added: VectorIndex, removed: Sequence[int]) -> None:
        self.part = part
        self.added = added
        self.dimension = added.dimension
        self.removed = tuple(removed)
        faiss = faiss_module()
        gone = np.searchsorted(part.rows.keys, np.asarray(removed, np.int64))
        self._gone = gone.astype(np.int64)  # rows that are out of force
        self._selector = None
        if len(gone):
            self._batch = faiss.IDSelectorBatch(self._gone)
            self._selector = faiss.IDSelectorNot(self._batch)

    def __len__(self) -> int:
        return len(self.part.rows) - len(self._gone) + len(self.added)

    @property
    def changed(self) -> int:
        """How many vectors came or went since the cells were made."""
        return len(self._gone) + len(self.added)

    @property
    def keys(self) -> NDArray[np.int64]:
        """Keys in force, rising."""
        kept = np.delete(self.part.rows.keys, self._gone)
        return np.concatenate((kept, self.added.keys))

    def units_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors at length one, (m, D), by their position in `keys`."""
        kept = len(self.part.rows) - len(self._gone)
        inside = rows < kept
        units = np.empty((len(rows), self.dimension), np.float32)
        # The row behind the i-th one in force: i, and one more for each gone before it.
        before = self._gone - np.arange(len(self._gone))
        wanted = rows[inside]
        units[inside] = self.part.rows.units[wanted + np.searchsorted(before, wanted, side="right")]
        units[~inside] = self.added.units[rows[~inside] - kept]
        return units

    def search(
        self, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find neighbours by cosine; arguments and results as :meth:`VectorIndex.search`.

        A row depends on its own query alone.
        """
        if not len(vectors):
            return np.full((0, k), -1, np.int64), np.full((0, k), -np.inf)
        queries = unit(vectors)  # (Q, D) float64
        keys, cosines = self._in_cells(queries, k)
        more_keys, more = self.added.search(vectors, k)
        return nearest_first(
            np.concatenate((keys, more_keys), axis=1), np.concatenate((cosines, more), axis=1), k
        )

    def _in_cells(
        self, queries: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        part = self.part
        alive = len(part.rows) - len(self._gone)
        wanted = min(k + part.trained.proposed, len(part.rows))
        least = -(-wanted * _PER_PROPOSAL * part.lists.cells // max(len(part.rows), 1))
        asked = queries.astype(np.float32)
        rows = part.lists.propose(asked, wanted, max(part.trained.probes, least), self._selector)
        short = np.flatnonzero((rows >= 0).sum(axis=1) < min(k, alive))
        if len(short):  # the cells near these hold too little: look into all
            rows[short] = part.lists.propose(asked[short], wanted, part.lists.cells, self._selector)
        known = (rows >= 0) & (rows < len(part.rows))
        rows = np.where(known, rows, 0)
        cosines = np.where(known, exact_cosines(part.rows.units, rows, queries), -np.inf)
        found = np.where(known, part.rows.keys[rows], np.iinfo(np.int64).max)
        keys, cosines = nearest_first(found, cosines, k)
        keys[~np.isfinite(cosines)] = -1
        if keys.shape[1] < k:
            lacking = ((0, 0), (0, k - keys.shape[1]))
            keys = np.pad(keys, lacking, constant_values=-1)
            cosines = np.pad(cosines, lacking, constant_values=-np.inf)
        return keys, cosines
