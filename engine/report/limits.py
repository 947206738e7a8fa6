"""What a reader has to know before relying on a report."""

from collections.abc import Mapping
from typing import Any

from ..judging.in_words import limits_in_words

_ALWAYS = (
    "A verdict is a lead, not a proof. It compares an image with the references of a gallery and"
    " says which it resembles; it does not see what an image shows.",
    "The published encoder was trained on generators up to SDXL and DeepFloyd IF. Others report"
    " results near chance on generators of 2025, unless the gallery holds examples of them. Look"
    " at the error rates by generator: code-index evaluate.",
    'The verdict "real" means that no trace of generation was found, not that there is none.'
    " Strong compression, resizing and screenshots remove such traces.",
    "Where generated images are rare, most of the files called fake can be real: use the"
    " likelihood ratio with a prior of your own.",
    "Edited photographs, drawings, renderings and scans are neither class, and can get either"
    " verdict.",
    "Provenance is what the files say of themselves. It stands beside the verdict and is no part"
    " of it; whatever is not signed can be written and removed by anyone.",
)
_UNCALIBRATED = (
    "This run had no thresholds with known error rates: the nearest references voted, and how"
    " often such a vote is wrong is not known."
)


def limits(run: Mapping[str, Any]) -> tuple[str, ...]:
    """State a report's limits, those of its own run first.

    Args:
        run: The run record.
    """
    judging = run.get("judging")
    own = limits_in_words(judging) if judging else [_UNCALIBRATED]
    return (*own, *_ALWAYS)
