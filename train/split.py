"""Which images train the encoder and which judge it: held out by source, never by image."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from .catalogue import Catalogue, Label
from .errors import DataError


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of a catalogue's images on either side.

    Attributes:
        training: Images to learn from, int64.
        held_out: Images to judge by, int64; may be empty.
        sources: Names of the held-out sources; empty where single records were held out because
            a class has one source only.
    """

    training: NDArray[np.int64]
    held_out: NDArray[np.int64]
    sources: tuple[str, ...]


def split(
    catalogue: Catalogue, patterns: Iterable[str], share: float, exclude: Iterable[str] = ()
) -> Split:
    """Hold out sources of both classes.

    A source keeps its name in both classes (a real's folder and the fakes made from it), so that
    nothing seen in training judges. Sources are taken in the order of their names' hash until
    each class has given its share; each class keeps at least one source for training. Where a
    class has a single source, whole records are held out instead.

    Args:
        catalogue: All images.
        patterns: Names or shell patterns of sources; empty to choose by hash.
        share: Share of each class to hold out where chosen by hash; 0 for nothing.
        exclude: Names or patterns of sources that are on neither side, unless ``patterns`` hold
            them out.

    Raises:
        DataError: The patterns match nothing, or leave a class without training images.
    """
    patterns = tuple(patterns)
    every = np.arange(len(catalogue))
    left_out = _of_sources(catalogue, _matching(catalogue, tuple(exclude)))
    names: set[str] = set()
    if patterns:
        names = _matching(catalogue, patterns)
    elif share:
        names = _choose(catalogue, share)
    if names or not share:
        chosen = _of_sources(catalogue, names)
    else:
        limit = max(round(share * 1000), 1)
        records = np.unique(catalogue.record)
        drawn = {int(r) for r in records if _hash(str(r)) % 1000 < limit}
        chosen = np.isin(catalogue.record, list(drawn))
    # a record stays whole: a scene that trains does not judge
    chosen = np.isin(catalogue.record, catalogue.record[chosen])
    training = every[~chosen & ~left_out]
    held_out = every[chosen & ~(left_out & (not patterns))]
    if not np.any(catalogue.label[training] == Label.REAL):
        raise DataError("no real image is left for training", "hold out fewer sources")
    return Split(training, held_out, tuple(sorted(names)))


def _matching(catalogue: Catalogue, patterns: tuple[str, ...]) -> set[str]:
    """Names of the sources that match any of the patterns."""
    names = {s for s in catalogue.sources if any(fnmatchcase(s, p) for p in patterns)}
    if patterns and not names:
        raise DataError(
            f"no source matches {', '.join(patterns)}",
            f"the sources are: {', '.join(sorted(catalogue.sources)[:20])}",
        )
    return names


def _of_sources(catalogue: Catalogue, names: set[str]) -> NDArray[np.bool_]:
    """Which images come from these sources, (N,) bool."""
    wanted = np.array([source in names for source in catalogue.sources], dtype=bool)
    chosen: NDArray[np.bool_] = wanted[catalogue.source]
    return chosen


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _choose(catalogue: Catalogue, share: float) -> set[str]:
    """Sources of both classes, by hash; none where a class has no second source."""
    chosen: set[str] = set()
    for label in Label:
        of_class = catalogue.where(label)
        if not len(of_class):
            continue
        counts = np.bincount(catalogue.source[of_class], minlength=len(catalogue.sources))
        present = sorted(np.flatnonzero(counts), key=lambda s: _hash(catalogue.sources[s]))
        if len(present) < 2:
            return set()
        held = sum(int(counts[s]) for s in present if catalogue.sources[s] in chosen)
        for source in present:
            spare = sum(1 for s in present if catalogue.sources[s] not in chosen)
            if held >= share * len(of_class) or spare < 2:
                break
            if catalogue.sources[source] not in chosen:
                chosen.add(catalogue.sources[source])
                held += int(counts[source])
    return chosen


def spread(
    numbers: NDArray[np.int64], groups: NDArray[np.int32], count: int, seed: int
) -> NDArray[np.int64]:
    """Pick images, as evenly over groups as their sizes allow.

    Args:
        numbers: Numbers of images, (N,).
        groups: Group of each, (N,).
        count: How many to pick at most.
        seed: Of the choice within a group.

    Returns:
        Numbers of the picked images, at most ``count``, ascending.
    """
    rng = np.random.default_rng(seed)
    rank = np.empty(len(numbers), dtype=np.int64)  # place within its group, in random order
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        rank[inside] = rng.permutation(len(inside))
    order = np.lexsort((rng.random(len(numbers)), rank))
    return np.sort(numbers[order[:count]])
