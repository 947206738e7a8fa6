"""Known pictures: a verdict does not contradict a reference that practically is the picture."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..results import Verdict
from .leave_one_out import NEAR_DUPLICATE_SIMILARITY
from .scores import Booleans, Floats
from .thresholds import Decisions, Inconclusive

Verdicts = npt.NDArray[np.object_] | Verdict | None
""":class:`Verdict` of N pictures, shape (N,), or of one; None is of a picture without any."""


class Nearest(Protocol):
    """What is known of the references next to one picture's centre crop."""

    @property
    def real_similarity(self) -> float | None:
        """Cosine to the nearest real reference; None where there is none."""

    @property
    def fake_similarity(self) -> float | None:
        """The same for the fake references."""


def nearest_cosines(picture: Nearest) -> tuple[float, float]:
    """Cosines of one picture to the nearest real and the nearest fake, -inf where there is none."""
    real, fake = picture.real_similarity, picture.fake_similarity
    return -np.inf if real is None else real, -np.inf if fake is None else fake


def contradicts_copy(
    verdicts: Verdicts, real: npt.ArrayLike, fake: npt.ArrayLike, lean: npt.ArrayLike = 0.0
) -> Booleans:
    """Tell which verdicts a copy of the other class contradicts, and none of their own supports.

    A copy is a reference at a cosine of at least :data:`NEAR_DUPLICATE_SIMILARITY`. Where both
    classes hold one, the gallery contradicts itself and says nothing about the verdict.

    Args:
        verdicts: Of N pictures, or of one; what is inconclusive contradicts nothing.
        real: Cosines of the centre crops to the nearest real references, of the same shape, -inf
            where there is none.
        fake: The same for the fake references.
        lean: Added to the cosines to the other class and taken from those to the verdict's own,
            one number or shape (N,); the answer is monotone in it.

    Returns:
        Of the same shape, bool.
    """
    decided, own, other = _sides(verdicts, real, fake)
    lean = np.asarray(lean, dtype=np.float64)
    against: Booleans = (
        decided
        & (other + lean >= NEAR_DUPLICATE_SIMILARITY)
        & (own - lean < NEAR_DUPLICATE_SIMILARITY)
    )
    return against


def either_way(
    verdicts: Verdicts, real: npt.ArrayLike, fake: npt.ArrayLike, tolerance: npt.ArrayLike
) -> Booleans:
    """Tell of which verdicts it is open whether a copy contradicts them.

    Args:
        verdicts: As for :func:`contradicts_copy`, and so the next two.
        real: Cosines.
        fake: Cosines.
        tolerance: Most that each cosine may be off; one number or shape (N,).
    """
    most = np.asarray(tolerance, dtype=np.float64)
    possible = contradicts_copy(verdicts, real, fake, most)
    open_: Booleans = possible & ~contradicts_copy(verdicts, real, fake, -most)
    return open_


def withhold(
    decisions: Decisions, real: npt.ArrayLike, fake: npt.ArrayLike, band: npt.ArrayLike = 0.0
) -> None:
    """Make verdicts that a copy contradicts ``inconclusive``, in place.

    Where that is open within the band, the reason is ``precision``. No verdict becomes another.

    Args:
        decisions: On N pictures.
        real: Cosines of the centre crops to the nearest real references, shape (N,).
        fake: The same for the fake references.
        band: How far the larger of the two, or their difference, may lie from the float32 one;
            one number or shape (N,).
    """
    verdicts, width = decisions.verdicts, np.asarray(band, dtype=np.float64)
    against = contradicts_copy(verdicts, real, fake)
    # The smaller cosine may be off by as much as the larger one and the difference together. And
    # where the own class is nearer by more than the band, any copy is one of the own class.
    _, own, other = _sides(verdicts, real, fake)
    unsure = either_way(verdicts, real, fake, 2 * width) & (other > own - width)
    decisions.overrule(against, Inconclusive.CONTRADICTS_COPY)
    decisions.overrule(unsure, Inconclusive.PRECISION)


def _sides(
    verdicts: Verdicts, real: npt.ArrayLike, fake: npt.ArrayLike
) -> tuple[Booleans, Floats, Floats]:
    """Which are decided, and the cosines to the verdict's own and to the other class."""
    called = np.asarray(verdicts, dtype=np.object_)
    is_fake = np.asarray(called == Verdict.FAKE, dtype=np.bool_)
    decided = is_fake | np.asarray(called == Verdict.REAL, dtype=np.bool_)
    of_real, of_fake = np.asarray(real, dtype=np.float64), np.asarray(fake, dtype=np.float64)
    own = np.where(is_fake, of_fake, of_real)
    return decided, own, np.where(is_fake, of_real, of_fake)
