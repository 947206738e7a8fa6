"""Which encoder a command embeds with, and where a workspace keeps it."""

from contextlib import suppress
from dataclasses import dataclass

from ..engine.embedding.checkpoint import Checkpoint, read_checkpoint
from ..engine.embedding.contracts import KnownEncoder
from ..engine.embedding.deferred import DeferredEmbedder
from ..engine.errors import CheckpointError
from ..engine.inert import path_text
from ..engine.scan import require_same_encoder
from ..index.gallery_records import GalleryInfo
from ..index.workspace import Workspace
from .options import DeviceChoice, PrecisionChoice


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """What the user said of the encoder."""

    weights: str | None
    device: DeviceChoice
    precision: PrecisionChoice


def embedder_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, choice: EncoderChoice
) -> DeferredEmbedder:
    """The encoder that made a gallery, in float32; see :func:`checkpoint_of_gallery`."""
    return DeferredEmbedder(checkpoint_of_gallery(workspace, gallery, choice), choice.device.value)


def checkpoint_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, choice: EncoderChoice
) -> Checkpoint:
    """The encoder that made a gallery: the workspace's copy, or the same from ``--weights``.

    Raises:
        InputError: ``--weights`` is another encoder.
        CheckpointError: The copy in the workspace is damaged.
    """
    if choice.weights is not None:
        checkpoint = read_checkpoint(choice.weights)
        require_same_encoder(gallery.name, gallery.encoder_sha256, checkpoint.sha256)
    else:
        checkpoint = kept_checkpoint(workspace, gallery.encoder_sha256)
    return checkpoint


def kept_checkpoint(workspace: Workspace, sha256: str) -> Checkpoint:
    """The workspace's copy of an encoder; the embedded starter's is put back where it is lost.

    Raises:
        CheckpointError: It is gone or damaged.
    """
    folder = workspace.encoders.find(sha256).folder
    with suppress(CheckpointError):
        if (checkpoint := read_checkpoint(folder)).sha256 == sha256:
            return checkpoint
    from ..engine.starter.read import read_starter

    starter = read_starter()
    if starter.about.encoder_sha256 == sha256:
        keep_encoder(workspace, DeferredEmbedder(starter.checkpoint, "cpu"), starter.checkpoint)
    checkpoint = read_checkpoint(folder)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"the workspace's copy of the encoder in {folder} is damaged",
            "put the original there; commands with --weights also take it from elsewhere, after a"
            " check of its hash",
        )
    return checkpoint


def keep_encoder(workspace: Workspace, embedder: KnownEncoder, checkpoint: Checkpoint) -> None:
    """Keep a copy of an encoder in the workspace."""
    workspace.encoders.keep(
        embedder.sha256,
        checkpoint.weights,
        checkpoint.config,
        embedder.dimension,
        path_text(checkpoint.origin),  # a folder's name may be any bytes
        checkpoint.revision,
    )
