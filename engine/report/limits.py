"""What a reader has to know before relying on a report."""

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from ..judging.in_words import limits_in_words
from ..starter.read import read_about

_ALWAYS = (
    "A verdict is a lead, not a proof. It compares an image with the references of a gallery and"
    " says which it resembles; it does not see what an image shows.",
    'The verdict "real" means that no trace of generation was found, not that there is none.'
    " Strong compression, resizing and screenshots remove such traces.",
    "Where generated images are rare, most of the files called fake can be real: use the"
    " likelihood ratio with a prior of your own.",
    "Edited photographs, drawings, renderings and scans are neither class, and can get either"
    " verdict.",
    "Provenance is what the files say of themselves. It stands beside the verdict and is no part"
    " of it; whatever is not signed can be written and removed by anyone.",
)
_PUBLISHED = (
    "The published encoder was trained on generators up to SDXL and DeepFloyd IF. Others report"
    " results near chance on generators of 2025, unless the gallery holds examples of them. Look"
    " at the error rates by generator: code-index evaluate."
)
_STARTER = (
    "The embedded starter's encoder was trained on a few thousand images. Which sources and"
    " generators it was measured on, and how often it failed there, stands in its model card"
    " (code-index info starter names the file); of others nothing is known. Look at the error"
    " rates on images like yours: code-index evaluate."
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
    own = limits_in_words(judging, run.get("views")) if judging else [_UNCALIBRATED]
    encoder = run.get("encoder", {}).get("sha256")
    return (*own, _STARTER if encoder == _starters() else _PUBLISHED, *_ALWAYS)


def _starters() -> str | None:
    """Identity of the embedded starter's encoder; a damaged package costs no report."""
    try:
        return read_about().encoder_sha256
    except CheckpointError:
        return None
