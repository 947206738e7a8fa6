"""Inverted lists (FAISS IVF) over unit vectors: chosen by size, trained, and tuned by measurement.

Vectors are put into cells around trained centroids; a search looks into the few cells nearest to
the query, and only proposes rows, whose cosines are then computed exactly. How many cells it looks
into is found out by asking for the neighbours of the gallery's own references and comparing with
an exact search, so that the recall is known and not hoped for.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exact_rows import ExactRows
from .vectors import faiss_module, threads_for

_LOG = logging.getLogger(__name__)

SEED = 1234
"""Of every sample, and of the centroids: the same vectors give the same lists."""

QUERIES = 1000
"""References of each class that recall is measured with."""

_ADDED = 1 << 16
"""Vectors added at a time."""

_PER_CELL = 40
"""Vectors for each centroid that k-means learns from; FAISS warns below 39."""

_ROUNDS = 8
"""Of k-means."""


class Kind(StrEnum):
    """What the cells hold of a vector."""

    FLAT = "flat"  # all of it: 4 bytes a dimension
    SQ8 = "sq8"  # one byte a dimension
    PQ = "pq"  # product quantisation: one byte for 4 dimensions
    PQ4 = "pq4"  # half a byte for 2 dimensions, scanned by the processor's registers


@dataclass(frozen=True, slots=True)
class Trained:
    """How a class of a gallery is searched, and how well that works.

    Attributes:
        kind: What the cells hold.
        cells: Number of cells.
        probes: Cells that a search looks into.
        vectors: Vectors in the cells.
        trained_on: Vectors there were when the centroids were learnt.
        spread: Mean of 1 - cosine between vectors and their centroids then.
        generation: State of the gallery that the cells hold.
        recall_1: Share of queries of the class whose nearest reference is found.
        recall_10: Share of their ten nearest that is found.
        other_recall_1: Share of queries of the other class whose nearest reference is found.
        shortfall: How far the cosine found lies below the nearest's, for 99 % of all queries.
        queries: References of each class that this was measured with, each without itself.
        proposed: Rows that a search compares exactly beyond those that are wanted.
        seed: Of samples and centroids.
    """

    kind: Kind
    cells: int
    probes: int
    vectors: int
    trained_on: int
    spread: float
    generation: int
    recall_1: float
    recall_10: float
    other_recall_1: float
    shortfall: float
    queries: int
    proposed: int
    seed: int = SEED

    def to_json(self) -> str:
        """As text to be stored."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Trained":
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            values = json.loads(text)
            kind = Kind(values["kind"])
            return cls(**{"proposed": PROPOSED[kind], **values, "kind": kind})
        except (TypeError, KeyError, RecursionError) as error:
            raise ValueError(f"not a record of a search: {error}") from error

    def __str__(self) -> str:
        return (
            f"{self.probes} of {self.cells} cells ({self.kind}), {self.proposed} compared:"
            f" recall@1 {self.recall_1:.4f},"
            f" recall@10 {self.recall_10:.4f}, for the other class {self.other_recall_1:.4f};"
            f" cosines at most {self.shortfall:.4f} too low for 99 % of {self.queries} references"
            " of each class"
        )


def kind_for(dimension: int) -> Kind:
    """What the cells should hold: the fastest kind by far that the dimension lets be.

    `tests/benchmarks/galleries.py --kind` measures the others too.
    """
    return Kind.SQ8 if dimension % 2 else Kind.PQ4


def cells_for(count: int) -> int:
    """How many cells there should be: a power of two near 4 sqrt(n), of 8192 at most.

    Learning centroids takes time in proportion to their square.
    """
    return int(1 << min(13, max(4, round(np.log2(4 * count**0.5)))))


PROPOSED = {Kind.FLAT: 8, Kind.SQ8: 24, Kind.PQ: 120, Kind.PQ4: 120}
"""Rows beyond k that are compared exactly, at least: the coarser the codes, the more."""


class InvertedLists:
    """A FAISS IVF index whose ids are rows of :class:`ExactRows`; thread-safe for searching.

    Attributes:
        path: Of the file that is mapped, if one is.
    """

    def __init__(self, index: Any, path: Path | None = None) -> None:
        self.path = path
        self._faiss = faiss_module()
        self._owner = index  # whose destruction would leave the next line's name behind
        self._index = self._faiss.downcast_index(index)
        self._quantizer = self._faiss.downcast_index(self._index.quantizer)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self._index.nlist)

    @classmethod
    def train(cls, rows: ExactRows, kind: Kind, cells: int) -> "InvertedLists":
        """Learn centroids, and the codes of the kind, from a sample; no vector is added."""
        faiss = faiss_module()
        index = _empty(faiss, kind, faiss.IndexFlatIP(rows.units.shape[1]), cells)
        if kind in (Kind.PQ, Kind.PQ4):
            index.pq.cp.seed = SEED
        index.cp.seed, index.cp.niter, index.cp.spherical = SEED, _ROUNDS, True
        index.cp.max_points_per_centroid = 1 << 20  # the sample is drawn here
        index.train(np.ascontiguousarray(rows.units[sample(len(rows), _PER_CELL * cells)]))
        return cls(index)

    @classmethod
    def open(cls, path: Path) -> "InvertedLists":
        """Map a file: the centroids are read, the cells when they are looked into."""
        faiss = faiss_module()
        flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        with _named(path, os.O_RDONLY) as name:
            return cls(faiss.read_index(name, flags), path)

    def emptied(self, kind: Kind) -> "InvertedLists":
        """The same centroids and codes without a vector, in memory."""
        if kind is Kind.PQ4:  # it is read whole, not mapped
            assert self.path is not None
            with _named(self.path, os.O_RDONLY) as name:
                copy = self._faiss.read_index(name)
            copy.reset()
            return InvertedLists(copy)
        copy = _empty(self._faiss, kind, self._faiss.clone_index(self._quantizer), self.cells)
        if kind is Kind.SQ8:
            copy.sq = self._index.sq
        elif kind is Kind.PQ:
            copy.pq = self._index.pq
        copy.is_trained = True
        return InvertedLists(copy)

    def fill(self, rows: ExactRows) -> None:
        """Add all rows; their ids are their numbers."""
        for first in range(0, len(rows), _ADDED):
            self._index.add(np.ascontiguousarray(rows.units[first : first + _ADDED]))

    def write(self, path: Path) -> None:
        """Write a file for :meth:`open`."""
        with _named(path, os.O_RDWR | os.O_CREAT) as name:
            self._faiss.write_index(self._index, name)

    def spread(self, units: NDArray[np.float32]) -> float:
        """Mean of 1 - cosine between unit vectors, (n, D), and their nearest centroids."""
        best, _ = self._quantizer.search(np.ascontiguousarray(units), 1)
        lengths = np.linalg.norm(self._quantizer.reconstruct_n(0, self.cells), axis=1).mean()
        return float(1.0 - best.mean() / lengths)

    def propose(
        self, queries: NDArray[np.float32], k: int, probes: int, without: Any = None
    ) -> NDArray[np.int64]:
        """Rows near queries, best first by what the cells hold; -1 where there are no more.

        Args:
            queries: Array of shape (Q, D), float32, unit length.
            k: Rows wanted.
            probes: Cells to look into.
            without: FAISS's selector of the rows that may be proposed; None for all.
        """
        faiss = self._faiss
        parameters = faiss.SearchParametersIVF(nprobe=min(probes, self.cells), sel=without)
        found = np.empty((len(queries), k), np.int64)
        with threads_for(1):
            for row, query in enumerate(queries):  # one by one: none depends on the others
                found[row] = self._index.search(query[None], k, params=parameters)[1]
        return found


@contextmanager
def _named(path: Path, flags: int) -> Iterator[str]:
    """Within it, a name of a file that FAISS can open: it takes none that is not valid UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:  # as only systems with such a folder of open files allow
        descriptor = os.open(path, flags, 0o666)
        try:
            yield f"/dev/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        yield str(path)


def _empty(faiss: Any, kind: Kind, quantizer: Any, cells: int) -> Any:
    """An index of some kind around centroids, which it takes over."""
    dimension, metric = quantizer.d, faiss.METRIC_INNER_PRODUCT
    if kind is Kind.FLAT:
        index = faiss.IndexIVFFlat(quantizer, dimension, cells, metric)
    elif kind is Kind.SQ8:
        coder = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(quantizer, dimension, cells, coder, metric)
    elif kind is Kind.PQ4:
        index = faiss.IndexIVFPQFastScan(quantizer, dimension, cells, dimension // 2, 4, metric, 32)
    else:
        parts = max(d for d in range(1, max(dimension // 4, 1) + 1) if dimension % d == 0)
        index = faiss.IndexIVFPQ(quantizer, dimension, cells, parts, 8, metric)
    index.own_fields = True
    quantizer.this.disown()
    return index


def sample(count: int, size: int) -> NDArray[np.int64]:
    """Rows, rising, all of them where there are no more."""
    if count <= size:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, size, replace=False))
