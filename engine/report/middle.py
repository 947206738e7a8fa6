"""What the probe compares: the answer on a picture's middle alone, and changes of it in words."""

from dataclasses import dataclass

from ..results import FileResult, Verdict
from .judging import Judging


@dataclass(frozen=True, slots=True)
class Middle:
    """What the middle alone gives.

    Attributes:
        score: Its score.
        verdict: Its verdict.
    """

    score: float
    verdict: Verdict


def middle_of(result: FileResult, judging: Judging) -> Middle | None:
    """Judge the middle by a row and its run's thresholds, as the run itself did.

    The first crop is the middle, and the similarities are the middle's whatever else was cropped.

    Args:
        result: The row.
        judging: Of the run that it belongs to.

    Returns:
        None where they do not say it: thresholds or figures are missing, or the precision was
        reduced, so that a band decided too.
    """
    score = result.crops[0].score if result.crops else result.score
    known = [s for s in (result.real_similarity, result.fake_similarity) if s is not None]
    fake_above, real_below, novel_below = (
        judging.fake_above,
        judging.real_below,
        judging.novel_below,
    )
    if score is None or not known or result.precision != "float32":
        return None
    if fake_above is None or real_below is None or novel_below is None:
        return None
    if max(known) < novel_below or real_below <= score <= fake_above:
        return Middle(score, Verdict.INCONCLUSIVE)
    return Middle(score, Verdict.FAKE if score > fake_above else Verdict.REAL)


_CHANGES = {
    "jpeg_75": "after JPEG 75",
    "jpeg_90": "after JPEG 90",
    "resize_075": "at three quarters of its size",
    "shift_8": "when shifted by 8 pixels",
}


def change_in_words(change: str) -> str:
    """A change of the probe, as a part of a sentence; one of another version by its code."""
    return _CHANGES.get(change) or f"under {change.replace('_', ' ')}"
