"""A gallery's assessment, fitted once for each of its states and kept beside it."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contracts import Reference
from ..errors import InputError
from .assessment import Assessment, assess_references

LARGE = 2000
"""References from which fitting takes long enough to be announced."""


class Assessed(Protocol):
    """A gallery as far as its assessment goes."""

    @property
    def name(self) -> str:
        """As the user calls it."""

    @property
    def reals(self) -> int:
        """References labelled real."""

    @property
    def fakes(self) -> int:
        """References labelled fake."""


class KeepsAssessments(Protocol):
    """Where galleries and their assessments lie; the index room's ``Galleries`` is one."""

    def assessment(self, info: Any, k: int, /) -> bytes | None:
        """What is kept of a gallery's fit."""

    def keep_assessment(self, info: Any, k: int, document: bytes, /) -> None:
        """Keep a fit."""

    def references(self, info: Any, /) -> Iterable[tuple[Reference, NDArray[np.float32]]]:
        """A gallery's references and their vectors."""


def kept_assessment(
    galleries: KeepsAssessments,
    info: Assessed,
    k: int,
    say: Callable[[str], None] = lambda _: None,
) -> Assessment:
    """What a gallery's references say of its scores: as kept, else fitted and kept.

    Args:
        galleries: Where it is kept.
        info: Which gallery, in the state that is meant.
        k: References of each class behind a score.
        say: Takes a line before a fit that takes a while, or that replaces a damaged one.
    """
    kept = galleries.assessment(info, k)
    if kept is not None:
        try:
            return Assessment.from_bytes(kept)
        except InputError as error:
            say(f"{error}: fitting it again")
    if info.reals + info.fakes >= LARGE:
        say(f"calibrating {info.name} on its own references (once for each change)")
    assessment = assess_references(galleries.references(info), k)
    galleries.keep_assessment(info, k, assessment.to_bytes())
    return assessment
