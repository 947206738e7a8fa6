"""What a reader has to know before relying on a report."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..judging.in_words import limits_in_words
from ..starter.read import ORIGIN, starters_licence

PUBLISHED = "aimagelab/CoDE"
"""Where the published encoder comes from, as a run record names an encoder's origin."""

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
_OTHER_STARTER = (
    "The encoder is that of a starter which another version of code-forensics embeds: the model"
    " card of that version says on which sources and generators it was measured, and how often it"
    " failed there. Look at the error rates on images like yours: code-index evaluate."
)
_UNKNOWN = (
    "On which generators and sources this encoder was trained is not known here, nor where it"
    " fails. Look at the error rates by generator, on images like yours: code-index evaluate."
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
    return (*own, *_of_encoder(run), *_ALWAYS)


def _of_encoder(run: Mapping[str, Any]) -> Iterator[str]:
    """What is known of the encoder, and the licence of its weights where there is one to state."""
    encoder, origin = run.get("encoder", {}), run.get("gallery", {}).get("encoder_origin")
    starters = starters_licence(encoder.get("sha256"))
    if starters is not None:
        yield _STARTER
    elif origin == ORIGIN:
        yield _OTHER_STARTER
    else:
        yield _PUBLISHED if origin == PUBLISHED else _UNKNOWN
    licence = encoder.get("licence") or starters
    if licence is not None:
        use = ": not for commercial use" if "-NC" in licence else ""
        yield f"The embedded starter's weights and references are licensed {licence}{use}."
