"""How far reduced precision may move a cosine and a score: measured, and audited as it runs.

An a-priori bound is of no use: if a unit vector is off by d in length, a difference of two cosines
is off by up to 2 d, and for bfloat16 that band holds half of all images. What is measured instead
is the error of the very differences and scores that verdicts are made of, on a fixed sample of
drawn pictures against the gallery at hand. The band is a multiple of the largest one.

What it guarantees: an answer outside the band is float32's unless this image's error is larger
than `safety` times the largest of the sample. For images that are exchangeable with the sample,
the chance of exceeding even the largest itself is 1 / (n + 1); no such statement is possible for
others, which is why a scan goes on measuring on its own images (:class:`Audit`). That is strong
evidence and no proof: so ``auto`` means float32, and reduced precision is the user's choice.
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..contracts import Gallery
from ..judging.hits import Hits, search_both
from ..judging.scores import relative_margins, score_bands
from .config import CROP
from .contracts import KnownEncoder

SAMPLE = 256
"""Pictures in the sample."""

SAFETY = 2.0
"""The band, in units of the largest error of the sample."""

AUDITED = 32
"""One batch in so many is embedded in both precisions."""

UNKNOWN = 4.0
"""A band that nothing is outside of: of a precision that was not measured."""


@dataclass(frozen=True, slots=True)
class PrecisionBand:
    """How far a cosine may lie from the float32 one, and what that rests on.

    Attributes:
        width: Half-width of the band, in units of a cosine; safety times `largest`.
        largest: Largest error in the sample.
        sample: Pictures in the sample.
        safety: See :data:`SAFETY`.
        k: Neighbours of each class that it holds for.
        precision: The reduced precision.
    """

    width: float
    largest: float
    sample: int
    safety: float
    k: int
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`of` reads it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "PrecisionBand":
        """The band behind a record of :meth:`as_dict`."""
        return cls(**record)


def cosine_band(
    reduced: KnownEncoder,
    exact: KnownEncoder,
    gallery: Gallery,
    k: int = 1,
    crops: NDArray[np.uint8] | None = None,
    safety: float = SAFETY,
) -> PrecisionBand:
    """Measure the band of a reduced precision against a gallery.

    It depends on encoder, gallery, k, device and the versions of torch and oneDNN; for the same
    ones it is the same, so that it may be kept. With the default sample it takes as long as
    embedding 256 images in both precisions.

    Args:
        reduced: The encoder in the reduced precision.
        exact: The same encoder in float32.
        gallery: What is searched.
        k: Neighbours of each class that verdicts use.
        crops: Sample, (n, 224, 224, 3) uint8; by default :func:`calibration_crops`.
        safety: At least 1.

    Raises:
        ValueError: The encoders differ, `exact` is not float32, or there is no sample.
    """
    crops = calibration_crops() if crops is None else crops
    if reduced.sha256 != exact.sha256 or exact.precision != "float32":
        raise ValueError("a band is measured between two precisions of one encoder")
    if not len(crops) or safety < 1:
        raise ValueError(f"{len(crops)} crops, safety {safety}: no band can be measured")
    errors = score_errors(
        search_both(gallery, reduced.embed(crops), k), search_both(gallery, exact.embed(crops), k)
    )
    largest = float(errors.max())
    return PrecisionBand(safety * largest, largest, len(crops), safety, k, reduced.precision)


def score_errors(reduced: Hits, exact: Hits) -> NDArray[np.float64]:
    """Compute the error of everything that a verdict is made of, as an error of cosines.

    The vote compares the cosine to the i-th nearest fake with that to the j-th nearest real;
    novelty compares the nearest cosine of all with a threshold; a score is a difference of
    distances relative to their sum, and its error counts in units of that sum. An image's error is
    the largest of these.

    Args:
        reduced: Of Q queries in the reduced precision, shape (Q, k).
        exact: Of the same queries in float32, shape (Q, k).

    Returns:
        Shape (Q,), float64, at least 0; 0 where the gallery has no reference.
    """
    fake = _shift(reduced.fake, exact.fake)  # (Q, k)
    real = _shift(reduced.real, exact.real)
    # The largest |fake_i - real_j| is reached at extremes of both.
    between = np.maximum(fake.max(axis=1) - real.min(axis=1), real.max(axis=1) - fake.min(axis=1))
    nearest = _shift(
        np.maximum(reduced.real[:, 0], reduced.fake[:, 0]),
        np.maximum(exact.real[:, 0], exact.fake[:, 0]),
    )
    k = reduced.real.shape[1]
    scores = _shift(
        relative_margins(reduced.real, reduced.fake, k), relative_margins(exact.real, exact.fake, k)
    )
    unit = score_bands(reduced.real, reduced.fake, k, 1.0)
    in_cosines = np.abs(scores) / np.where(np.isfinite(unit), unit, 1.0)
    errors: NDArray[np.float64] = np.maximum.reduce([np.abs(between), np.abs(nearest), in_cosines])
    return errors


def _shift(reduced: NDArray[np.float64], exact: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(reduced) & np.isfinite(exact)
    shift = np.zeros(reduced.shape)
    np.subtract(reduced, exact, out=shift, where=known)
    return shift


class Audit:
    """Goes on measuring while a scan runs, on the scan's own images; thread-safe.

    A batch for which :meth:`due` is true is embedded in both precisions. What is kept of it is what
    would be kept without an audit, so that a vector does not depend on which batch it was in. An
    error that leaves no more than the safety factor widens the band for what follows: then, and
    only then, what was in an earlier batch matters.
    """

    def __init__(self, band: PrecisionBand, every: int = AUDITED) -> None:
        self._lock = threading.Lock()
        self._band = band
        self._every = every
        self._batches = 0
        self._images = 0
        self._largest = 0.0

    @property
    def band(self) -> PrecisionBand:
        """As measured before the scan."""
        return self._band

    @property
    def width(self) -> float:
        """Half-width of the band at this moment."""
        with self._lock:
            return max(self._band.width, self._band.safety * self._largest)

    @property
    def images(self) -> int:
        """Images audited so far."""
        with self._lock:
            return self._images

    @property
    def largest(self) -> float:
        """Largest error among them."""
        with self._lock:
            return self._largest

    @property
    def held(self) -> bool:
        """Whether the calibrated band has held: no audited error beyond its width."""
        return self.largest <= self._band.width

    def due(self) -> bool:
        """Whether the next batch is to be audited; asked once a batch, the first one is."""
        with self._lock:
            self._batches += 1
            return (self._batches - 1) % self._every == 0

    def learn(self, reduced: Hits, exact: Hits) -> None:
        """Take in what both precisions found for the same queries, shapes (Q, K)."""
        k = self._band.k
        errors = score_errors(_first(reduced, k), _first(exact, k))
        with self._lock:
            self._images += len(errors)
            self._largest = max(self._largest, float(errors.max(initial=0.0)))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for the scan's record."""
        return {
            "band": self.width,
            "audited": self.images,
            "largest_error": self.largest,
            "held": self.held,
        }


@dataclass(frozen=True, slots=True)
class Safeguard:
    """What keeps answers of reduced precision those of float32.

    Attributes:
        exact: The same encoder in float32: what cannot be settled is embedded again by it.
        audit: Knows how far a score may lie from the float32 one.
    """

    exact: KnownEncoder
    audit: Audit


def _first(hits: Hits, k: int) -> Hits:
    return Hits(hits.real_keys[:, :k], hits.real[:, :k], hits.fake_keys[:, :k], hits.fake[:, :k])


def calibration_crops(count: int = SAMPLE, seed: int = 0) -> NDArray[np.uint8]:
    """Draw pictures that span what photographs do: smooth to rough, flat to rich, clean to noisy.

    Real images would be a sample of somebody's images; drawn ones are the same everywhere, and
    their errors are as large as those of photographs (measured: largest error of 256 drawn ones
    0.0098 to 0.0132, of 2,058 photographs and generated images 0.0096 to 0.0122).

    Args:
        count: How many.
        seed: Of numpy's default generator.

    Returns:
        Array of shape (count, 224, 224, 3), uint8, RGB.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_draw(rng, kind % 4) for kind in range(count)])


def _draw(rng: np.random.Generator, kind: int) -> NDArray[np.uint8]:
    cells = CROP // 2 ** int(rng.integers(0, 7)) + 2
    coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((CROP, CROP), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth, np.float64)
    if kind == 1:  # low contrast
        pixels = pixels * rng.uniform(0.05, 1.0) + rng.uniform(0.0, 200.0)
    elif kind == 2:  # a gradient, as of a sky
        pixels = pixels * 0.5 + np.linspace(0.0, 127.0, CROP)[None, :, None]
    elif kind == 3:  # a sensor's noise
        pixels = pixels + rng.normal(0.0, rng.uniform(1.0, 40.0), pixels.shape)
    drawn: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return drawn
