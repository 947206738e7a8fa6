"""Drawing pairs of a real and a fake, each a function of the seed and the draw's number alone.

Draws are numbered over the whole run and over all processes, so that a run that was interrupted,
has other worker processes, or is spread over several machines sees the same pairs.
"""

import numpy as np
from numpy.typing import NDArray

from .catalogue import Catalogue, Label
from .errors import DataError

Numbers = NDArray[np.int64]


class PairSampler:
    """Draws (real, fake) pairs from a catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        training: Numbers,
        seed: int,
        balance: str = "records",
        reconstructed_share: float = 0.5,
    ) -> None:
        """Prepare the draws.

        Args:
            catalogue: All images.
            training: Numbers of those to draw from.
            seed: Seed of the run.
            balance: 'records' passes over the reals in a new random order each time;
                'sources' draws a source first and one of its images then.
            reconstructed_share: Share of the fakes that are reconstructions of their real, as far
                as there are any.

        Raises:
            DataError: There are no reals or no fakes.
        """
        label, record = catalogue.label[training], catalogue.record[training]
        reconstructed = catalogue.reconstructed()[training]
        self._seed, self._share = seed, reconstructed_share
        self._reals = training[label == Label.REAL]
        collected = (label == Label.FAKE) & ~reconstructed
        self._paired = ByRecord(training[collected], record[collected])
        self._made = ByRecord(training[reconstructed], record[reconstructed])
        self._record = catalogue.record
        self._fakes = _Balanced(
            training[collected], catalogue.generator[training[collected]],
            catalogue.source[training[collected]],
        )  # fmt: skip
        self._by_source: _Balanced | None = None
        if balance == "sources":
            source = catalogue.source[self._reals]
            self._by_source = _Balanced(self._reals, source, source)
        if not len(self._reals):
            raise DataError("there are no real images to train on")
        if not np.any(collected) and not np.any(reconstructed):
            raise DataError(
                "there are no fakes to train on",
                "put them under fake/GENERATOR/, or make them with --reconstruct",
            )
        self._known_order: tuple[int, Numbers] = (-1, self._reals)

    def draw(self, number: int, attempt: int) -> tuple[int, int]:
        """Draw a pair.

        Args:
            number: Number of the draw in the run.
            attempt: 0, or how many times this draw met an image that cannot be read.

        Returns:
            Numbers of the real and of the fake in the catalogue. The fake comes from the real's
            record where that has any; else its generator, then its source, then the image are
            drawn, each uniformly.
        """
        rng = np.random.default_rng((self._seed, 0, number, attempt))
        if self._by_source is not None:
            real = self._by_source.draw(rng)
        elif attempt == 0:
            passes, place = divmod(number, len(self._reals))
            real = int(self._reals[self._order(passes)[place]])
        else:
            real = int(rng.choice(self._reals))
        record = int(self._record[real])
        made, paired = self._made.of(record), self._paired.of(record)
        if len(made) and (rng.random() < self._share or not len(self._fakes)):
            return real, int(rng.choice(made))
        if len(paired):
            return real, int(rng.choice(paired))
        if len(self._fakes):
            return real, self._fakes.draw(rng)
        return self.draw(number, attempt + 1)  # a real whose reconstruction is missing

    def _order(self, passes: int) -> Numbers:
        """The order of the reals in a pass; the last one asked for is kept."""
        if self._known_order[0] != passes:
            rng = np.random.default_rng((self._seed, 1, passes))
            self._known_order = (passes, rng.permutation(len(self._reals)))
        return self._known_order[1]


class ByRecord:
    """Images of a record, found by bisection."""

    def __init__(self, numbers: Numbers, records: NDArray[np.int32]) -> None:
        order = np.argsort(records, kind="stable")
        self._numbers, self._records = numbers[order], records[order]

    def of(self, record: int) -> Numbers:
        """Numbers of the record's images."""
        first, last = np.searchsorted(self._records, (record, record + 1))
        return self._numbers[first:last]

    def draw(self, records: NDArray[np.int32], rng: np.random.Generator) -> Numbers:
        """One image of each record, uniformly; each record has some."""
        first = np.searchsorted(self._records, records)
        last = np.searchsorted(self._records, records, side="right")
        return self._numbers[first + (rng.random(len(records)) * (last - first)).astype(np.int64)]


class _Balanced:
    """Draws a group, then one of its sub-groups, then an image, each uniformly."""

    def __init__(
        self, numbers: Numbers, groups: NDArray[np.int32], subgroups: NDArray[np.int32]
    ) -> None:
        order = np.lexsort((subgroups, groups))
        self._numbers = numbers[order]
        keys = np.stack((groups[order], subgroups[order]))
        starts = np.flatnonzero(np.any(np.diff(keys, axis=1, prepend=-1) != 0, axis=0))
        self._starts = np.append(starts, len(numbers))  # of each sub-group
        group_starts = np.flatnonzero(np.diff(keys[0, starts], prepend=-1) != 0)
        self._groups = np.append(group_starts, len(starts))  # sub-groups of each group

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(self, rng: np.random.Generator) -> int:
        group = rng.integers(len(self._groups) - 1)
        subgroup = rng.integers(self._groups[group], self._groups[group + 1])
        return int(self._numbers[rng.integers(self._starts[subgroup], self._starts[subgroup + 1])])
