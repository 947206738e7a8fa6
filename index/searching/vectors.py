"""Exact cosine search over keyed vectors, held in a FAISS flat index."""

import importlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnusableWorkspaceError
from .gpu_search import GpuSearch, gpu_search

SPLIT = 256
"""Queries from which a call is worth splitting over threads."""

_CORE = "OPENBLAS_CORETYPE"

RERANKED = 8
"""Candidates beyond k that FAISS is asked for, so that rounding never decides who is nearest."""


class VectorIndex:
    """Unit vectors by key.

    FAISS proposes k + 8 candidates in float32; their cosines are computed again in float64, so
    that what is returned depends neither on the other queries of a call nor on FAISS's rounding.

    Args:
        dimension: Length D of a vector.
        serialised: A FAISS file's bytes, from :meth:`serialise`.
    """

    def __init__(self, dimension: int, serialised: bytes | None = None) -> None:
        faiss = faiss_module()
        if serialised is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        else:
            self._index = faiss.deserialize_index(np.frombuffer(serialised, np.uint8))
        self.dimension = dimension
        self._flat: Any = None
        self._gpu: GpuSearch | None = None
        self._refresh()

    def use_gpu(self) -> bool:
        """Let a GPU propose candidates, or all GPUs together; the answers stay the same.

        Returns:
            Whether one does: with faiss-gpu, a GPU, and memory for the vectors as they are now.
        """
        self._gpu = gpu_search(faiss_module(), self._flat) if len(self) else None
        return self._gpu is not None

    def _refresh(self) -> None:
        self._gpu = None  # its copy would not follow
        faiss = faiss_module()
        self._flat = faiss.downcast_index(self._index.index)
        self.keys: NDArray[np.int64] = faiss.vector_to_array(self._index.id_map).astype(np.int64)
        count = len(self.keys) * self.dimension
        self._units: NDArray[np.float32] = (
            faiss.rev_swig_ptr(self._flat.get_xb(), count).reshape(-1, self.dimension)
            if count
            else np.empty((0, self.dimension), np.float32)
        )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def units(self) -> NDArray[np.float32]:
        """The vectors at length one, (n, D), in the order of `keys`; a view into FAISS."""
        return self._units

    def units_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Vectors at length one, (m, D), by their position in `keys`."""
        return self._units[rows]

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, (n, D) float32 of any length but zero, under new keys, (n,) int64."""
        if len(keys):
            self._index.add_with_ids(unit(vectors).astype(np.float32), keys.astype(np.int64))
            self._refresh()

    def remove(self, keys: Sequence[int]) -> None:
        """Remove vectors by key; unknown keys are ignored."""
        if keys:
            self._index.remove_ids(np.asarray(keys, np.int64))
            self._refresh()

    def search(
        self, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest by cosine.

        Args:
            vectors: Array of shape (Q, D), float32, any length but zero.
            k: Neighbours wanted.

        Returns:
            Keys, shape (Q, k), -1 where there are fewer; cosines, shape (Q, k), float64, falling,
            ties by key, -inf where there are fewer.
        """
        found_keys = np.full((len(vectors), k), -1, np.int64)
        found = np.full((len(vectors), k), -np.inf)
        wanted = min(k + RERANKED, len(self))
        if not wanted or not len(vectors):
            return found_keys, found
        queries = unit(vectors)  # (Q, D) float64
        rows = self._propose(queries.astype(np.float32), wanted)  # (Q, wanted)
        cosines = exact_cosines(self._units, rows, queries)
        keys, cosines = nearest_first(self.keys[rows], cosines, k)
        width = keys.shape[1]
        found_keys[:, :width], found[:, :width] = keys, cosines
        return found_keys, found

    def _propose(self, queries: NDArray[np.float32], wanted: int) -> NDArray[np.int64]:
        rows = self._gpu.rows(queries, wanted) if self._gpu is not None else None
        if rows is None:
            with threads_for(len(queries)):
                _, rows = self._flat.search(queries, wanted)
        return rows

    def serialise(self) -> bytes:
        """The index as a FAISS file's bytes."""
        data: bytes = faiss_module().serialize_index(self._index).tobytes()
        return data


def exact_cosines(
    units: NDArray[np.float32], rows: NDArray[np.int64], queries: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cosines of queries to rows that were proposed for them, in float64.

    Args:
        units: Vectors at length one up to rounding, (n, D) float32.
        rows: For each query the rows to compare it with, (Q, W).
        queries: Array of shape (Q, D), float64, unit length.

    Returns:
        Shape (Q, W).
    """
    candidates = units[rows].astype(np.float64)  # (Q, W, D)
    cosines: NDArray[np.float64] = np.matmul(candidates, queries[:, :, None])[:, :, 0]
    cosines /= np.sqrt((candidates * candidates).sum(axis=2))
    return cosines


def nearest_first(
    keys: NDArray[np.int64], cosines: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best k of each row, falling, ties by key; both arrays are (Q, W)."""
    order = np.lexsort((keys, -cosines), axis=1)[:, :k]
    best = np.take_along_axis(cosines, order, axis=1)
    np.clip(best, -1.0, 1.0, out=best, where=np.isfinite(best))
    return np.take_along_axis(keys, order, axis=1), best


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale vectors, (n, D), to length one, in float64."""
    wide = vectors.astype(np.float64)
    lengths: NDArray[np.float64] = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return wide / lengths


def finite(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of (n, D) vectors hold nothing but numbers, (n,); bytes of any kind may be asked."""
    good: NDArray[np.bool_] = np.isfinite(vectors).all(axis=1)
    return good


def nonzero(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of (n, D) vectors are not all zero, (n,); bytes of any kind may be asked."""
    # Not vectors.any(): its cast warns of signalling NaN, which damaged bytes may hold.
    some: NDArray[np.bool_] = (vectors != 0).any(axis=1)
    return some


@contextmanager
def threads_for(queries: int) -> Iterator[None]:
    """Keep FAISS to the calling thread, but for large calls of the main one.

    Pools of threads search in small batches; left to itself FAISS would wake a thread a core for
    each of them, which then wait for each other: up to 14 times the processor time for a batch of
    16. The setting is the calling thread's own.
    """
    if queries >= SPLIT and threading.current_thread() is threading.main_thread():
        yield
        return
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def _known_processor() -> Iterator[None]:
    """Tell the OpenBLAS in FAISS's wheels which products to use, while it is loaded.

    That of 2021 takes a processor that came later, such as Intel's Sapphire Rapids, for one of
    2004, and multiplies half as fast as it could. What NumPy found, FAISS goes by too.
    """
    if "faiss" in sys.modules:
        yield
        return
    numpy_core = importlib.import_module("numpy._core._multiarray_umath")
    features = getattr(numpy_core, "__cpu_features__", {})  # where FAISS's own loader looks, too
    core = None if _CORE in os.environ else _newest(features)
    if core is not None:
        os.environ[_CORE] = core
    try:
        yield
    finally:
        if core is not None:
            os.environ.pop(_CORE, None)


def _newest(features: Mapping[str, bool]) -> str | None:
    """OpenBLAS's name for the newest kind of products that a processor has."""
    if features.get("AVX512_SKX"):
        return "SKYLAKEX"
    return "HASWELL" if features.get("AVX2") and features.get("FMA3") else None


def faiss_module() -> Any:
    """FAISS, set up as this room needs it.

    Raises:
        UnusableWorkspaceError: It is not installed.
    """
    try:
        with _known_processor():
            import faiss
    except ImportError as error:
        raise UnusableWorkspaceError(
            "FAISS is not installed",
            "pip install 'code-forensics[cpu]', or [gpu] on Linux with CUDA",
        ) from error
    faiss.cvar.distance_compute_blas_threshold = 1  # always BLAS: its default is 12 times slower
    return faiss
