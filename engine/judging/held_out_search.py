"""Exact nearest references to held-out members of a gallery, leaving out themselves and more."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .scores import Booleans, Integers, Similarities

_BLOCK_BYTES = 48 * 2**20  # of one block of similarities: large enough for BLAS, flat in memory


_PRODUCTS = 2 * 10**10
"""Comparisons beyond which fewer references are held out: minutes on two cores, not hours."""

_LEAST = 4000
"""References that are held out whatever that takes: error rates of 1 % are told from 2 %."""


def most_held_out(subsample: int, references: int) -> int:
    """How many references of a gallery to hold out, so that the time grows slower than its size.

    Args:
        subsample: Most in any case.
        references: That each is compared with.
    """
    return min(subsample, max(_LEAST, _PRODUCTS // max(references, 1)))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Members of a gallery to search for, and what to leave out for each.

    Attributes:
        rows: Their rows in the gallery, shape (M,).
        exclude: The group to leave out, shape (M,); -1 leaves none out.
        without_copies: Whether to leave near duplicates out as well, shape (M,).
    """

    rows: Integers
    exclude: Integers
    without_copies: Booleans


@dataclass(frozen=True, slots=True)
class NearestLeft:
    """Nearest references that were left to M held-out ones.

    Attributes:
        rows: Their rows in the gallery, shape (M, k); -1 where fewer than k are left.
        similarities: Their cosines, shape (M, k), largest first; -inf where fewer are left.
        copied: Which held-out references had near duplicates, shape (M,).
    """

    rows: Integers
    similarities: Similarities
    copied: Booleans


def unit_vectors(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale embeddings to unit length; a zero vector stays zero (cosine 0 to everything).

    Args:
        vectors: Shape (N, D), float32.

    Returns:
        Shape (N, D), float32.

    Raises:
        ValueError: A value is not finite, or the array is not two-dimensional.
    """
    array = np.asarray(vectors, dtype=np.float32)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError("vectors must be finite and of shape (N, D)")
    norms = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))
    norms[norms == 0] = 1.0
    units: npt.NDArray[np.float32] = array / norms[:, None].astype(np.float32)
    return units


def source_codes(sources: npt.ArrayLike) -> Integers:
    """Number sources by name.

    Args:
        sources: Names, shape (N,); the empty string is an unknown source.

    Returns:
        Codes, shape (N,), int64, in the order of the names; -1 is unknown.
    """
    names = np.asarray(sources).astype(str)
    codes: Integers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return np.where(names == "", -1, codes)


def nearest_left(
    units: npt.NDArray[np.float32],
    groups: Integers,
    references: Integers,
    held_out: HeldOut,
    *,
    k: int,
    near_duplicate_similarity: float,
) -> NearestLeft:
    """Find the k nearest references to each held-out one among those that are left.

    By blocked matrix products: memory does not grow with the number of held-out ones. Near
    duplicates stay where nothing else would be left.

    Args:
        units: The gallery's unit vectors, shape (N, D), float32.
        groups: The group of each row of the gallery, shape (N,); -1 is none.
        references: Rows to search in, shape (R,).
        held_out: What to search for.
        k: Neighbours to find.
        near_duplicate_similarity: Cosine from which a reference is a near duplicate.
    """
    count = len(held_out.rows)
    rows = np.full((count, k), -1, dtype=np.int64)
    similarities = np.full((count, k), -np.inf)
    copied = np.zeros(count, dtype=np.bool_)
    if not len(references):
        return NearestLeft(rows, similarities, copied)
    # Sorted by group, what a query leaves out is one slice, shared by its neighbours in the block.
    references = references[np.argsort(groups[references], kind="stable")]
    reference_groups = groups[references]
    own_column = np.full(len(units), -1, dtype=np.int64)
    own_column[references] = np.arange(len(references))
    order = np.argsort(held_out.exclude, kind="stable")
    target = np.ascontiguousarray(units[references].T)
    step = max(1, min(count, _BLOCK_BYTES // (4 * len(references))))
    buffer = np.empty((step, len(references)), dtype=np.float32)
    for start in range(0, count, step):
        block = order[start : start + step]
        queries = held_out.rows[block]
        table = np.matmul(units[queries], target, out=buffer[: len(block)])
        columns = own_column[queries]
        inside = np.flatnonzero(columns >= 0)
        table[inside, columns[inside]] = -np.inf
        _leave_group_out(table, held_out.exclude[block], reference_groups)
        copied[block] = _leave_copies_out(
            table, held_out.without_copies[block], near_duplicate_similarity
        )
        best, values = _largest(table, k)
        known = np.isfinite(values)
        rows[block, : best.shape[1]] = np.where(known, references[best], -1)
        clipped = np.clip(values.astype(np.float64), -1.0, 1.0)
        similarities[block, : best.shape[1]] = np.where(known, clipped, -np.inf)
    return NearestLeft(rows, similarities, copied)


def _leave_group_out(
    table: npt.NDArray[np.float32], exclude: Integers, reference_groups: Integers
) -> None:
    """Set the similarities to each query's group to -inf, in place; queries sorted by group."""
    firsts = np.flatnonzero(np.diff(exclude, prepend=-2))
    lasts = np.append(firsts[1:], len(exclude))
    for first, last in zip(firsts, lasts, strict=True):
        group = exclude[first]
        if group >= 0:
            low, high = np.searchsorted(reference_groups, (group, group + 1))
            table[first:last, low:high] = -np.inf


def _leave_copies_out(
    table: npt.NDArray[np.float32], watched: Booleans, near_duplicate_similarity: float
) -> Booleans:
    """Set near duplicates to -inf, in place, unless nothing would be left; tell where they are."""
    copied: Booleans = watched & (table.max(axis=1) >= near_duplicate_similarity)
    for row in np.flatnonzero(copied):
        copies = table[row] >= near_duplicate_similarity
        if np.isfinite(table[row][~copies]).any():
            table[row, copies] = -np.inf
    return copied


def _largest(table: npt.NDArray[np.float32], k: int) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Columns and values of the k largest of each row, largest first."""
    width = table.shape[1]
    if k == 1:
        best = table.argmax(axis=1)[:, None]
    elif k < width:
        best = np.sort(np.argpartition(table, width - k, axis=1)[:, width - k :], axis=1)
    else:
        best = np.broadcast_to(np.arange(width), table.shape)
    values = np.take_along_axis(table, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)
