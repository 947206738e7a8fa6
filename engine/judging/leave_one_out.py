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
            unknown or because a class would have been left empty, or where the encoder was
            trained on the source, shape (M,). These scores are optimistic for images of sources
            that the gallery does not hold.
        near_duplicates: How many held-out references had near duplicates, which were left out.
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
    its own source in both classes. Where that would leave a class empty, the source stays (and
    the score is marked, see ``source_kept``). Near duplicates of the other class stay. A
    reference for which a class is still empty is not scored.

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
    kept = (groups[held_out] < 0) | known[held_out]
    similarities: dict[int, Floats] = {}
    copied = np.zeros(len(held_out), dtype=np.bool_)
    for label in (REAL, FAKE):
        references = np.flatnonzero((classes == label) & present)
        alone = _would_be_empty(groups[held_out], groups[references])
        exclude = np.where(alone, -1, groups[held_out])
        kept |= alone
        # A copy in the other class stays: hiding that the gallery contradicts itself would
        # be optimistic, keeping it is pessimistic at worst.
        found = nearest_left(
            units,
            groups,
            references,
            HeldOut(held_out, exclude, classes[held_out] == label),
            k=k,
            near_duplicate_similarity=near_duplicate_similarity,
        )
        similarities[label] = found.similarities
        copied |= found.copied
    scored = np.isfinite(similarities[REAL][:, 0]) & np.isfinite(similarities[FAKE][:, 0])
    return LeaveOneOutScores(
        held_out=held_out[scored],
        labels=classes[held_out][scored],
        sources=groups[held_out][scored],
        real_similarities=similarities[REAL][scored],
        fake_similarities=similarities[FAKE][scored],
        source_kept=kept[scored],
        near_duplicates=int(copied[scored].sum()),
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
