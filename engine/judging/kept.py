"""A gallery's assessment, fitted once for each of its states and kept beside it."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contracts import Reference
from ..decoding.layout import Crops
from ..decoding.views import ViewPlan
from ..errors import InputError
from ..results import Label
from .assessment import Assessment, assess_references
from .calibration import MIN_REFERENCES
from .leave_one_out import FurtherViews

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

    def assessment(self, info: Any, k: int, plan: str, /) -> bytes | None:
        """What is kept of a gallery's fit for a plan of views."""

    def keep_assessment(self, info: Any, k: int, document: bytes, plan: str, /) -> None:
        """Keep a fit."""

    def references(self, info: Any, /) -> Iterable[tuple[Reference, NDArray[np.float32]]]:
        """A gallery's references and their vectors."""

    def further_views(self, info: Any, plan: str, /) -> FurtherViews | None:
        """What else a plan looks at of their pictures, in the same order, if that is known."""


def kept_assessment(
    galleries: KeepsAssessments,
    info: Assessed,
    k: int,
    say: Callable[[str], None] = lambda _: None,
    crops: Crops = Crops.CENTER,
) -> Assessment:
    """What a gallery's references say of its scores: as kept, else fitted and kept.

    Args:
        galleries: Where it is kept.
        info: Which gallery, in the state that is meant.
        k: References of each class behind a score.
        say: Takes a line before a fit that takes a while, or that replaces a damaged one.
        crops: What scans look at of a picture. Where it is not known for most references what that
            gives, the fit is that of their middles, and says so.
    """
    plan = ViewPlan(crops).id
    kept = galleries.assessment(info, k, plan)
    if kept is not None:
        try:
            return Assessment.from_bytes(kept)
        except InputError as error:
            say(f"{error}: fitting it again")
    further = galleries.further_views(info, plan) if plan else None
    if plan and (further is None or not _enough(galleries, info, further)):
        return kept_assessment(galleries, info, k, say)
    if info.reals + info.fakes >= LARGE:
        say(f"calibrating {info.name} on its own references (once for each change)")
    assessment = assess_references(galleries.references(info), k, crops, further)
    galleries.keep_assessment(info, k, assessment.to_bytes(), plan)
    return assessment


def _enough(galleries: KeepsAssessments, info: Assessed, further: FurtherViews) -> bool:
    """Whether the further views of most references of each class are known: else fewer speak."""
    every: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for (reference, _), there in zip(galleries.references(info), further.known, strict=True):
        every[reference.label] += 1
        known[reference.label] += bool(there)
    return all(known[label] >= max(MIN_REFERENCES, every[label] / 2) for label in Label)
