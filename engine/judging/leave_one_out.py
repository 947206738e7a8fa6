"""Leave-one-out: the scores that references would get from their gallery without themselves."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .held_out_search import HeldOut, most_held_out, nearest_left, source_codes, unit_vectors
from .scores import (
    FAKE,
    REAL,
    Booleans,
    Floats,
    Integers,
    nearest_similarities,
    relative_margins,
)

NEAR_DUPLICATE_SIMILARITY = 0.999
"""Cosine from which a reference of the same class counts as a copy of the held-out one."""

_BLOCK = 1024  # references whose cosines to all before them are computed at a time

SUBSAMPLE = 20_000
"""Most references that are held out; a larger gallery is represented by a balanced sample."""


@dataclass(frozen=True, slots=True)
class LeaveOneOutScores:
    """Scores of M held-out references, and how they were obtained.

    Attributes:
        held_out: Their rows in the gallery, shape (M,), ascending.
        labels: Their classes, shape (M,): 0 real, 1 fake.
        sources: Their sources as codes, shape (M,); -1 is unknown.
        real_similarities: Cosines to the nearest real references left, shape (M, k), largest
            first, -inf where fewer than k are left.
        fake_similarities: The same for fake references, shape (M, k).
        source_kept: Where references of the same source had to stay, because the source is
            unknown, stands in both classes or is all of one, or where the encoder was trained on
            the source, shape (M,). These scores are optimistic for images of sources
            that the gallery does not hold.
        near_duplicates: How many more were held out and are near duplicates of these: of copies
            of one picture the one whose score misleads most stands for all.
        near_duplicate_similarity: The cosine from which they counted as such.
        n_references: References in the gallery that queries are compared with.
        subsampled: Whether only a class-balanced sample was held out.
        seed: Of that sample.
    """

    held_out: Integers
    labels: Integers
    sources: Integers
    real_similarities: Floats
    fake_similarities: Floats
    source_kept: Booleans
    near_duplicates: int
    near_duplicate_similarity: float
    n_references: int
    subsampled: bool
    seed: int

    @property
    def optimistic(self) -> bool:
        """Whether any score was obtained without leaving the source out."""
        return bool(self.source_kept.any())

    @property
    def nearest(self) -> Floats:
        """Cosine to the nearest reference left, shape (M,)."""
        return nearest_similarities(self.real_similarities, self.fake_similarities)

    def relative_margins(self, k: int = 1) -> Floats:
        """Scores of the held-out references with k neighbours per class, shape (M,)."""
        return relative_margins(self.real_similarities, self.fake_similarities, k)


def leave_one_out_scores(
    vectors: npt.NDArray[np.float32],
    labels: npt.ArrayLike,
    sources: npt.ArrayLike,
    k: int = 1,
    *,
    trained: npt.ArrayLike | None = None,
    compared: npt.ArrayLike | None = None,
    near_duplicate_similarity: float = NEAR_DUPLICATE_SIMILARITY,
    subsample: int = SUBSAMPLE,
    seed: int = 0,
) -> LeaveOneOutScores:
    """Score each reference against the gallery without itself, its copies and its source.

    Left out are the reference itself, the near duplicates of its own class, and everything of
    its own source. Where that would leave a class empty, or the source stands in both classes, it
    stays (and the score is marked, see ``source_kept``). Near duplicates of the other class stay. A
    reference for which a class is still empty is not scored.

    A new image may come of a source of the gallery, or of a new one. A source that stands in one
    class alone is left out, which makes its references harder to tell: what holds then holds for
    both. Left out of both classes, a source could make them easier to tell than new images of
    it, which meet it in both: so it stays, and is marked.

    References that are near duplicates of each other are one picture, and say no more than one:
    of these the score that misleads most stands for all.

    References whose source the encoder was trained on would score better than any new image, so
    they are compared with but not held out, as long as their class has others. References that
    queries are not compared with calibrate alone: they are held out, and nothing is compared with
    them here either.

    A gallery of more than ``subsample`` references holds out a seeded sample, class-balanced as
    far as the smaller class allows; each is still compared with all references. Of millions fewer
    are held out (:func:`held_out_search.most_held_out`).

    Args:
        vectors: Embeddings, shape (N, D), float32; they need not be of unit length.
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source names, shape (N,); the empty string is an unknown source.
        k: Neighbours to keep per class.
        trained: Whether the encoder was trained on images of a reference's source, shape (N,);
            None is for none.
        compared: Whether queries are compared with a reference, shape (N,); None is for all.
        near_duplicate_similarity: Cosine from which a reference counts as a copy.
        subsample: Most references to hold out.
        seed: Of the sample.

    Raises:
        ValueError: The lengths differ, or a label is neither 0 nor 1, or k < 1, or a vector is
            not finite.
    """
    classes = np.asarray(labels, dtype=np.int64)
    groups = source_codes(sources)
    if not len(vectors) == len(classes) == len(groups):
        raise ValueError("vectors, labels and sources differ in length")
    if not np.isin(classes, (REAL, FAKE)).all() or k < 1:
        raise ValueError("labels must be 0 or 1, and k at least 1")
    units = unit_vectors(vectors)
    known = np.zeros(len(classes), np.bool_) if trained is None else np.asarray(trained, np.bool_)
    candidates = unseen_rows(classes, known)
    most = most_held_out(subsample, len(classes))
    held_out = candidates[_balanced_sample(classes[candidates], most, seed)]
    present = np.ones(len(classes), np.bool_) if compared is None else np.asarray(compared, bool)
    shared = _in_both_classes(classes, groups, present)[held_out]
    kept = (groups[held_out] < 0) | known[held_out] | shared
    similarities: dict[int, Floats] = {}
    for label in (REAL, FAKE):
        references = np.flatnonzero((classes == label) & present)
        alone = _would_be_empty(groups[held_out], groups[references])
        kept |= alone
        exclude = np.where(alone | shared, -1, groups[held_out])
        # A copy in the other class stays: hiding that the gallery contradicts itself would
        # be optimistic, keeping it is pessimistic at worst.
        similarities[label] = nearest_left(
            units,
            groups,
            references,
            HeldOut(held_out, exclude, classes[held_out] == label),
            k=k,
            near_duplicate_similarity=near_duplicate_similarity,
        ).similarities
    score = relative_margins(similarities[REAL], similarities[FAKE], k)
    misleading = np.where(classes[held_out] == REAL, score, -score)
    scored = np.flatnonzero(np.isfinite(score))
    chosen = scored[
        _one_of_copies(
            units, held_out[scored], classes, misleading[scored], near_duplicate_similarity
        )
    ]
    return LeaveOneOutScores(
        held_out=held_out[chosen],
        labels=classes[held_out][chosen],
        sources=groups[held_out][chosen],
        real_similarities=similarities[REAL][chosen],
        fake_similarities=similarities[FAKE][chosen],
        source_kept=kept[chosen],
        near_duplicates=len(scored) - len(chosen),
        near_duplicate_similarity=near_duplicate_similarity,
        n_references=int(present.sum()),
        subsampled=len(held_out) < len(candidates),
        seed=seed,
    )


def unseen_rows(labels: Integers, trained: Booleans) -> Integers:
    """Choose what can be held out: of each class what the encoder was not trained on, else all.

    Args:
        labels: Shape (N,): 0 real, 1 fake.
        trained: Whether the encoder was trained on images of the reference's source, shape (N,).

    Returns:
        Rows, ascending.
    """
    usable = ~trained
    for label in (REAL, FAKE):
        members = labels == label
        if not usable[members].any():
            usable[members] = True
    return np.flatnonzero(usable)


def _in_both_classes(labels: Integers, groups: Integers, present: Booleans) -> Booleans:
    """Tell which references' sources have references in both classes that are compared with."""
    known = present & (groups >= 0)
    reals, fakes = (groups[known & (labels == label)] for label in (REAL, FAKE))
    both: Booleans = np.isin(groups, np.intersect1d(reals, fakes))
    return both


def _one_of_copies(
    units: npt.NDArray[np.float32],
    rows: Integers,
    labels: Integers,
    misleading: Floats,
    near_duplicate_similarity: float,
) -> Integers:
    """Choose of near duplicates in one class the reference that misleads most, and all others.

    Args:
        units: The gallery's unit vectors, shape (N, D), float32.
        rows: The held-out ones, shape (M,).
        labels: Of the gallery, shape (N,).
        misleading: How much each held-out one misleads, shape (M,).
        near_duplicate_similarity: Cosine from which two are copies.

    Returns:
        Positions in `rows`, ascending.
    """
    group = np.arange(len(rows))  # the first of its copies
    for label in (REAL, FAKE):
        members = np.flatnonzero(labels[rows] == label)
        own = units[rows[members]]
        for first in range(0, len(members), _BLOCK):
            block = members[first : first + _BLOCK]
            table = own[first : first + _BLOCK] @ own[: first + _BLOCK].T
            near = np.tril(table >= near_duplicate_similarity, first - 1)
            for row in np.flatnonzero(near.any(axis=1)):
                group[block[row]] = group[members[near[row].argmax()]]
    order = np.lexsort((-misleading, group))
    return np.sort(order[np.unique(group[order], return_index=True)[1]])


def _would_be_empty(own: Integers, references: Integers) -> Booleans:
    """Tell which held-out references' sources are those of all references of a class.

    Args:
        own: Source codes of the held-out references, shape (M,).
        references: Source codes of the class, shape (R,).
    """
    only = np.unique(references)
    alone: Booleans = (own >= 0) & (len(only) == 1) & np.isin(own, only)
    return alone


def _balanced_sample(labels: Integers, size: int, seed: int) -> Integers:
    """Choose at most ``size`` rows, half of each class as far as there are that many."""
    if len(labels) <= size:
        return np.arange(len(labels))
    real, fake = np.flatnonzero(labels == REAL), np.flatnonzero(labels == FAKE)
    n_real = min(len(real), max(size // 2, size - len(fake)))
    n_fake = min(len(fake), size - n_real)
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(real, n_real, replace=False),
        random.choice(fake, n_fake, replace=False),
    ]
    return np.sort(np.concatenate(chosen))
