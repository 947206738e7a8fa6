"""What a command needs before it can work: a gallery, its encoder, and a device."""

from collections.abc import Mapping
from typing import Any

from ..engine.embedding.checkpoint import Checkpoint, read_checkpoint
from ..engine.embedding.contracts import KnownEncoder
from ..engine.embedding.deferred import DeferredEmbedder
from ..engine.embedding.load import load_embedder
from ..engine.judging.assessment import Assessment
from ..engine.judging.heads import NamedHead, read_head
from ..engine.judging.judge import Judge, JudgeOptions
from ..engine.judging.kept import kept_assessment
from ..engine.run import GalleryIdentity
from ..engine.starter.read import ORIGIN
from ..index.errors import WorkspaceError
from ..index.gallery_records import GalleryInfo
from ..index.heads import HeadInfo
from ..index.open_gallery import OpenGallery
from ..index.workspace import Workspace
from .console import say
from .encoders import EncoderChoice, kept_checkpoint
from .judging import Classifier
from .starter import starter_encoder


def judge_of_gallery(
    workspace: Workspace,
    gallery: GalleryInfo,
    options: JudgeOptions,
    head: NamedHead | None = None,
) -> Judge:
    """What decides by a gallery; its assessment is fitted where none is kept for its state."""
    return Judge(assessment_of_gallery(workspace, gallery, options.k), options, head)


def head_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, classifier: Classifier
) -> NamedHead | None:
    """The classifier in force for a gallery's encoder; None where the neighbours decide.

    Raises:
        WorkspaceError: There is none of the kind.
    """
    if classifier is Classifier.KNN:
        return None
    return _read_head(workspace, workspace.heads.find(gallery.encoder_sha256, classifier.value))


def head_of_record(workspace: Workspace, judging: Mapping[str, Any]) -> NamedHead | None:
    """The classifier that a run record's ``judging`` names, also where it was replaced since.

    Raises:
        WorkspaceError: It is not there any more.
    """
    named = judging.get("classifier")
    if named is None:
        return None
    return _read_head(workspace, workspace.heads.with_hash(named["sha256"]))


def _read_head(workspace: Workspace, info: HeadInfo) -> NamedHead:
    head = read_head(workspace.heads.document(info), f"the classifier {info.name}")
    return NamedHead(head, info.name, info.sha256)


def identity_of(opened: OpenGallery) -> GalleryIdentity:
    """What a run record says of a gallery that is open."""
    info = opened.info
    return GalleryIdentity(
        info.name,
        info.sha256,
        info.generation,
        info.reals,
        info.fakes,
        opened.search_record(),
        info.encoder_origin,
    )


def assessment_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, k: int | None = None
) -> Assessment:
    """What a gallery's references say of its scores: as kept, else fitted and kept.

    Args:
        workspace: Where it is kept.
        gallery: Which gallery.
        k: References of each class behind a score; None is the gallery's own.
    """
    k = k or workspace.k_of_gallery(gallery.name)
    return kept_assessment(workspace.galleries, gallery, k, say)


def encoder_for_build(
    workspace: Workspace, choice: EncoderChoice, purpose: str = "embedding with"
) -> tuple[KnownEncoder, Checkpoint]:
    """The encoder for a new gallery: ``--weights``, pulled, the only own one, else the starter's.

    Where ``--weights`` does not name it, a line does.

    Args:
        workspace: Where it may be kept.
        choice: What the user said.
        purpose: What it is for, as that line begins.

    Raises:
        WorkspaceError: There are several.
        CheckpointError: It is damaged.
    """
    if choice.weights is not None:
        checkpoint = read_checkpoint(choice.weights)  # new here: all of it is looked at now
        return load_embedder(checkpoint, choice.device.value), checkpoint
    kept = [encoder for encoder in workspace.encoders.all() if encoder.origin != ORIGIN]
    pulled = workspace.pulls.latest()
    if pulled is not None:
        kept = [encoder for encoder in kept if encoder.sha256 == pulled.encoder_sha256] or kept
    if len(kept) > 1:
        raise WorkspaceError(
            "the workspace keeps several encoders",
            "say which with --weights (a folder with model.safetensors and config.json)",
        )
    if kept:
        (own,) = kept
        checkpoint = kept_checkpoint(workspace, own.sha256)
        is_pulled = pulled is not None and own.sha256 == pulled.encoder_sha256
        which = "the pulled encoder" if is_pulled else "the workspace's only encoder"
        say(f"{purpose} {which}, {own.origin} ({own.sha256[:12]}); another one: --weights")
    else:
        checkpoint = starter_encoder(workspace)
        say(f"{purpose} the encoder of the embedded starter; another one: --weights")
    return DeferredEmbedder(checkpoint, choice.device.value), checkpoint
