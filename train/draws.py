"""Drawing groups of pairs, and what happens to them, for views that are made on the device.

Everything follows from the seed and the number of the micro-batch, for the processes' joint batch,
so that an interrupted run, or one on more processes, sees the same pairs.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .catalogue import Catalogue, Label
from .config import EqualiseOptions, TrainConfig
from .errors import DataError
from .sampling import ByRecord

Numbers = NDArray[np.int64]
_FILTERS = ("bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class Fresh:
    """How a group's fakes are made for its views.

    Attributes:
        autoencoder: Number of the one that makes them.
        before: Resize factor of what it is given.
        inset: Where in what it makes the cut begins, as shares of the room, in [0, 1).
    """

    autoencoder: int
    before: float
    inset: tuple[float, float]


@dataclass(frozen=True, slots=True)
class PairGroup:
    """G pairs that share a resize factor, a filter, a blur and a subsampling.

    Attributes:
        real: Numbers of the reals in the catalogue, (G,).
        fake: Numbers of the fakes, (G,).
        reconstructed: Whether the fakes are reconstructions of the reals.
        scale: Resize factor.
        filter: Of resizing: bilinear or bicubic.
        blur: Standard deviation of the blur, in pixels; 0 for none.
        subsample: Whether chroma is halved when compressed.
        quality: JPEG quality of each pair, (G,).
        earlier: JPEG quality of an earlier compression of the fake, 0 for none, (G,).
        place: Where a pair is cut, as a share of the room there is, (G, 2), in [0, 1).
        offset: Where a view lies within what is compressed, the same way, (2,).
        mirrored: Which pairs are mirrored, (G,) bool.
        fresh: How the fakes are made of what is cut from the reals; None where they are images
            of the catalogue.
    """

    real: Numbers
    fake: Numbers
    reconstructed: bool
    scale: float
    filter: str
    blur: float
    subsample: bool
    quality: Numbers
    earlier: Numbers
    place: NDArray[np.float64]
    offset: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    fresh: Fresh | None = None


class GroupSampler:
    """Draws groups of pairs from the images that train."""

    def __init__(self, catalogue: Catalogue, training: Numbers, config: TrainConfig) -> None:
        """Prepare the draws.

        Args:
            catalogue: All images.
            training: Numbers of those to draw from.
            config: Seed, balance, share of reconstructions and ranges.

        Raises:
            DataError: There are no reals or no fakes.
        """
        self._config = config
        label, made = catalogue.label[training], catalogue.reconstructed()[training]
        balance = config.data.balance
        self._reals = _Weighted(training[label == Label.REAL], catalogue, balance)
        self._fakes = _Weighted(training[(label == Label.FAKE) & ~made], catalogue, balance)
        self._made = ByRecord(training[made], catalogue.record[training[made]])
        self._autoencoders = 0  # that make fakes for each view
        if config.reconstruct.fresh:
            self._autoencoders = len(config.reconstruct.autoencoders)
        records = catalogue.record[self._reals.numbers]
        has = np.array([len(self._made.of(int(record))) > 0 for record in records], dtype=bool)
        has |= self._autoencoders > 0
        self._remade = _Weighted(self._reals.numbers[has], catalogue, balance)
        self._record = catalogue.record
        if not len(self._reals.numbers):
            raise DataError("there are no real images to train on")
        if not len(self._fakes.numbers) and not len(self._remade.numbers):
            raise DataError(
                "there are no fakes to train on",
                "put them under fake/GENERATOR/, or make them with --reconstruct",
            )

    def draw(self, number: int, size: int) -> list[PairGroup]:
        """The groups of a joint micro-batch.

        Args:
            number: Of the micro-batch in the run.
            size: Pairs in it; a multiple of the group's size.
        """
        count = size // self._config.data.group
        options = self._ranges(number)
        return [
            self._group((self._config.seed, 5, number, place), options) for place in range(count)
        ]

    def side(self, number: int) -> int:
        """Side of a micro-batch's views."""
        sides, rng = self._config.views.sides, np.random.default_rng((self._config.seed, 7, number))
        return sides[int(rng.integers(len(sides)))]

    def corner(self, number: int, room: int) -> tuple[int, int]:
        """Row and column, from 0 to ``room``, of a micro-batch's views in the full crop's grid."""
        rng = np.random.default_rng((self._config.seed, 6, number))
        row, column = rng.integers(room + 1, size=2)
        return int(row), int(column)

    def _ranges(self, number: int) -> EqualiseOptions:
        """What pictures meet at this point of the run: little at first, where it is to grow."""
        options, schedule = self._config.equalise, self._config.schedule
        length = options.ramp * schedule.epochs * schedule.steps * schedule.accumulate
        strength = min(number / length, 1.0) if length else 1.0
        best = options.quality[1]
        return replace(
            options,
            scale=(options.scale[0] ** strength, options.scale[1] ** strength),
            quality=(round(best - (best - options.quality[0]) * strength), best),
            blurred=options.blurred * strength,
        )

    def _group(self, key: tuple[int, ...], options: EqualiseOptions) -> PairGroup:
        rng = np.random.default_rng(key)
        size = self._config.data.group
        share = self._config.reconstruct.share if len(self._remade.numbers) else 0.0
        made = bool(rng.random() < share) or not len(self._fakes.numbers)
        if made:
            real = self._remade.draw(rng, size)
            fake = real if self._autoencoders else self._made.draw(self._record[real], rng)
        else:
            real, fake = self._reals.draw(rng, size), self._fakes.draw(rng, size)
        low, high = np.log(options.scale)
        quality = _qualities(options, rng, (2, size))
        return PairGroup(
            real, fake, made,
            scale=float(np.exp(rng.uniform(low, high))),
            filter=_FILTERS[rng.integers(len(_FILTERS))],
            blur=float(rng.uniform(*options.blur)) if rng.random() < options.blurred else 0.0,
            subsample=bool(rng.random() < 0.5),
            quality=quality[0],
            earlier=np.where(rng.random(size) < options.earlier, quality[1], 0),
            place=rng.random((size, 2)),
            offset=rng.random(2),
            mirrored=rng.random(size) < 0.5,
            fresh=self._draw_fresh(rng) if made and self._autoencoders else None,
        )  # fmt: skip

    def _draw_fresh(self, rng: np.random.Generator) -> Fresh:
        low, high = np.log(self._config.reconstruct.before)
        before = float(np.exp(rng.uniform(low, high)))
        inset = float(rng.random()), float(rng.random())
        return Fresh(int(rng.integers(self._autoencoders)), before, inset)


def _qualities(
    options: EqualiseOptions, rng: np.random.Generator, shape: tuple[int, ...]
) -> Numbers:
    return rng.integers(options.quality[0], options.quality[1] + 1, size=shape)


class _Weighted:
    """Draws images so that sources come as their balance says."""

    def __init__(self, numbers: Numbers, catalogue: Catalogue, balance: str) -> None:
        self.numbers = numbers
        source = catalogue.source[numbers]
        counts = np.bincount(source, minlength=len(catalogue.sources))[source]
        power = {"records": 0.0, "root": -0.5, "sources": -1.0}[balance]
        total = np.cumsum(counts.astype(np.float64) ** power)
        self._until = total / total[-1] if len(total) else total

    def draw(self, rng: np.random.Generator, count: int) -> Numbers:
        places = np.searchsorted(self._until, rng.random(count), side="right")
        chosen: Numbers = self.numbers[np.minimum(places, len(self.numbers) - 1)]
        return chosen
