"""``code-train --gallery``: a gallery from the images that trained the encoder."""

from collections.abc import Iterator
from pathlib import Path

from ..engine.decoding.decode import PREPROCESSING
from ..engine.embedding.checkpoint import read_checkpoint
from ..engine.embedding.load import load_embedder
from ..index.gallery_records import NewReference
from ..index.workspace import Workspace, default_folder
from ..train.catalogue import Label
from ..train.config import TrainConfig
from ..train.references import embed_references
from .console import say
from .encoders import keep_encoder
from .options import DeviceChoice
from .session import assessment_of_gallery


def check_name(name: str, workspace: Path | None) -> None:
    """Refuse a name that is taken before hours are spent on training.

    Raises:
        WorkspaceError: There is such a gallery, or the name cannot be used.
    """
    with Workspace(workspace or default_folder()) as space, space.guarded():
        space.galleries.check_new(name)


def build_gallery(
    name: str, workspace: Path | None, model: Path, data: str, config: TrainConfig, per_class: int
) -> None:
    """Embed training images by the trained encoder and keep both in the workspace."""
    with Workspace(workspace or default_folder()) as space, space.guarded():
        checkpoint = read_checkpoint(model)
        embedder = load_embedder(checkpoint, DeviceChoice.AUTO.value)
        keep_encoder(space, embedder, checkpoint)

        def references() -> Iterator[NewReference]:
            for found in embed_references(data, config, embedder, per_class):
                path = str(Path(found.path).absolute()) if found.path else None
                yield NewReference(
                    "fake" if found.label is Label.FAKE else "real",
                    found.generator, found.source, found.vector, path, found.sha256,
                )  # fmt: skip

        info = space.galleries.create(name, embedder.sha256, PREPROCESSING, references(), "train")
        assessment_of_gallery(space, info)
    say(f"built the gallery {info.name} of {info.reals} real and {info.fakes} fake references")
