"""Reads the embedded starter, checked against the hashes that it states of its own files."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..decoding.layout import Crops
from ..embedding.checkpoint import CONFIG_NAME, WEIGHTS_NAME, Checkpoint
from ..errors import CheckpointError

FORM = 3
"""Of the folder; another one is not read."""

EMBEDDED = Path(__file__).with_name("assets")
"""Where the package keeps it. Never written to."""

ORIGIN = "embedded starter"
"""Where its encoder is said to come from."""

ABOUT_NAME = "starter.json"
GALLERY_NAME = "gallery.safetensors"
ASSESSMENT_NAME = "assessment.npz"
SOURCES_NAME = "sources.json"
CARD_NAME = "MODEL_CARD.md"
LICENCE_NAME = "LICENSE"

FILES = (
    WEIGHTS_NAME,
    CONFIG_NAME,
    GALLERY_NAME,
    ASSESSMENT_NAME,
    SOURCES_NAME,
    CARD_NAME,
    LICENCE_NAME,
)
"""What a starter consists of, beside the file that states their hashes."""


@dataclass(frozen=True, slots=True)
class About:
    """What a starter says of itself.

    Attributes:
        gallery_sha256: Identity of the gallery, as a workspace seals it; the starter's own too.
        encoder_sha256: Identity of the encoder.
        preprocessing: Identity of the steps before the encoder.
        reals: Real references.
        fakes: Fake references.
        k: References of each class behind a score that it is made for.
        crops: The crops of a picture that it is made for.
        licence: SPDX identifier of the licence of weights and vectors.
        hashes: SHA-256 of each file of :data:`FILES`, in that order.
    """

    gallery_sha256: str
    encoder_sha256: str
    preprocessing: str
    reals: int
    fakes: int
    k: int
    crops: Crops
    licence: str
    hashes: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """As the text of ``starter.json``."""
        document = {
            "form": FORM,
            "gallery_sha256": self.gallery_sha256,
            "encoder_sha256": self.encoder_sha256,
            "preprocessing": self.preprocessing,
            "reals": self.reals,
            "fakes": self.fakes,
            "k": self.k,
            "crops": str(self.crops),
            "licence": self.licence,
            "files": dict(zip(FILES, self.hashes, strict=True)),
        }
        return (json.dumps(document, indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Starter:
    """A starter, its files checked.

    Attributes:
        folder: Where they lie.
        about: What it says of itself.
        checkpoint: The encoder.
        assessment: What was fitted on the gallery, as bytes.
    """

    folder: Path
    about: About
    checkpoint: Checkpoint
    assessment: bytes

    @property
    def gallery(self) -> Path:
        """The file with the gallery's vectors, labels, generators and sources."""
        return self.folder / GALLERY_NAME

    @property
    def card(self) -> Path:
        """The model card: data, recipe, every measured figure, and limits."""
        return self.folder / CARD_NAME


def read_about(folder: Path = EMBEDDED) -> About:
    """Read what a starter says of itself; its other files are not looked at.

    Raises:
        CheckpointError: It is missing, damaged, or of another form.
    """
    try:
        document: dict[str, Any] = json.loads((folder / ABOUT_NAME).read_bytes())
        if document["form"] != FORM:
            raise ValueError(f"it is of form {document['form']}")
        return About(
            document["gallery_sha256"],
            document["encoder_sha256"],
            document["preprocessing"],
            document["reals"],
            document["fakes"],
            document["k"],
            Crops(document["crops"]),
            document["licence"],
            tuple(document["files"][name] for name in FILES),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, f"{ABOUT_NAME}: {error}") from error


def starters_licence(encoder_sha256: str | None) -> str | None:
    """The licence of an encoder that is the embedded starter's; a damaged package costs nothing.

    Returns:
        SPDX identifier; None for any other encoder.
    """
    try:
        about = read_about()
    except CheckpointError:
        return None
    return about.licence if encoder_sha256 == about.encoder_sha256 else None


def read_starter(folder: Path = EMBEDDED) -> Starter:
    """Read a starter.

    Args:
        folder: Where it lies.

    Raises:
        CheckpointError: A file is missing, or not the one whose hash is stated.
    """
    about = read_about(folder)
    content = {}
    for name, stated in zip(FILES, about.hashes, strict=True):
        try:
            content[name] = (folder / name).read_bytes()
        except OSError as error:
            raise _damaged(folder, f"{name}: {error.strerror}") from error
        if hashlib.sha256(content[name]).hexdigest() != stated:
            raise _damaged(folder, f"{name} is not the file that was made with it")
    checkpoint = Checkpoint(content[WEIGHTS_NAME], content[CONFIG_NAME], ORIGIN)
    return Starter(folder, about, checkpoint, content[ASSESSMENT_NAME])


def _damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"the starter in {folder} is damaged: {what}",
        "install code-forensics again, or build a gallery with an encoder of your own:"
        " code-index build NAME --real DIR --fake DIR --weights CHECKPOINT",
    )
