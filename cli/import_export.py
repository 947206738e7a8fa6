"""``code-index import``, ``export`` and ``heads``: galleries and classifiers as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..engine.embedding.checkpoint import Checkpoint
    from ..engine.embedding.contracts import KnownEncoder
    from ..engine.judging.heads import LinearHead, SvmHead
    from ..index.importing.ready_vectors import ReadyVectors
    from ..index.importing.sklearn_files import KNeighbors, LinearModel, OneClassSvm
    from ..index.workspace import Workspace

Name = Annotated[str, typer.Argument(metavar="NAME", help="The gallery, or the classifier.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(
        "import",
        epilog="Examples: [bold]code-index import desk vectors.npz --weights ./CoDE[/]   "
        "[bold]code-index import published-svm ocsvm.joblib[/]",
    )(import_)
    app.command(epilog="Example: [bold]code-index export desk desk.npz[/]")(export)
    app.command(epilog="Example: [bold]code-index heads[/]")(heads)


def import_(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Ready vectors (.npz, .safetensors), or a classifier of scikit-learn"
            " (.sav, .joblib, .pkl).",
        ),
    ],
    weights: opt.NewWeights = None,
    replace: Annotated[
        bool, typer.Option(help="Use this classifier in the place of the one of its kind.")
    ] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Make a gallery, or a classifier for --classifier, from a file; nothing in it is executed.

    Nearest-neighbour files and ready vectors become galleries. A logistic regression or a
    one-class SVM becomes the linear or the svm classifier of the encoder whose vectors it takes.
    """
    from ..engine.judging.heads import read_head
    from ..index.importing.files_to_import import FileKind, file_kind, read_bounded
    from ..index.importing.ready_vectors import read_npz, read_safetensors
    from ..index.importing.sklearn_files import KNeighbors, read_sklearn_file

    model: KNeighbors | LinearModel | OneClassSvm | None = None
    ready: ReadyVectors | None = None
    head: LinearHead | SvmHead | None = None
    match file_kind(file):
        case FileKind.NPZ:
            ready = read_npz(file)
        case FileKind.SAFETENSORS_HEAD:
            head = read_head(read_bounded(file), str(file))
        case FileKind.SAFETENSORS:
            ready = read_safetensors(file)
        case FileKind.PICKLE:
            model = read_sklearn_file(file)
            if isinstance(model, KNeighbors):
                ready = vectors_of(model, file)
            else:
                head = head_of(model, file)
    with _open(workspace) as space, space.guarded():
        if ready is not None:
            _import_gallery(space, name, ready, weights, file)
        else:
            assert head is not None
            _import_head(space, name, head, weights, file, replace)


def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Ends in .npz or .safetensors; replaced.")
    ],
    workspace: opt.Workspace = None,
) -> None:
    """Write a gallery's vectors, labels and names, or a classifier, for another workspace.

    ``code-index import`` reads it. Paths and hashes of files stay here.
    """
    from ..engine.errors import InputError
    from ..index.importing.ready_vectors import exported, write_npz, write_safetensors
    from .console import counted, say
    from .starter import workspace_of

    if file.suffix not in (".npz", ".safetensors"):
        raise InputError(
            f"cannot tell the format of {str(file)!r}", "let it end in .npz or .safetensors"
        )
    with workspace_of(workspace, name) as space, space.guarded():
        head = space.heads.named(name)
        if head is not None and name not in space.galleries.names():
            if file.suffix != ".safetensors":
                raise InputError(
                    f"{name} is a classifier, not a gallery", "export it as .safetensors"
                )
            document = space.heads.document(head)
            with exported(file) as temporary:
                temporary.write_bytes(document)
            say(f"wrote the {head.kind} classifier {head.name} to {file}")
            return
        vectors = _exported(space, name)
    (write_npz if file.suffix == ".npz" else write_safetensors)(file, vectors)
    say(f"wrote {counted(len(vectors.labels), 'reference')} of {name} to {file}")


def heads(workspace: opt.Workspace = None) -> None:
    """List the classifiers that --classifier can name beside knn."""
    from ..index.workspace import Workspace
    from . import render
    from .console import counted

    with Workspace.existing(workspace) as space, space.guarded():
        known = space.heads.all()
    render.table(
        counted(len(known), "classifier"),
        ("name", "--classifier", "encoder", "sha256", "from", "added"),
        [(h.name, h.kind, h.encoder_sha256[:12], h.sha256[:12], h.origin, h.added) for h in known],
    )


def vectors_of(model: "KNeighbors", path: Path, source: str = "") -> "ReadyVectors":
    """The references in a nearest-neighbour classifier; generators stay unknown.

    Raises:
        FileFormatError: A label is neither real nor fake, or a vector is unusable.
    """
    from ..index.importing.ready_vectors import ready
    from .console import say

    found = ready(path, model.vectors, model.labels, (), (source,) * len(model.labels))
    if model.metric != "cosine":
        say(f"note: made for the metric {model.metric}; scans here compare by cosine", "yellow")
    if model.n_neighbors != 1:
        say(f"note: made for votes of {model.n_neighbors}: scan with -k {model.n_neighbors}")
    if in_records(found.labels):
        say(f"{len(found.labels) // RECORD} records of one real and {RECORD - 1} fakes each")
    return found


RECORD = 5
"""References of one record in CoDE's own order: a real image, and four fakes of its caption."""


def in_records(labels: tuple[str, ...]) -> bool:
    """Whether labels come as in CoDE's published gallery: one real, then four fakes, repeated."""
    record = ("real", *["fake"] * (RECORD - 1))
    return bool(labels) and labels == record * (len(labels) // RECORD)


def head_of(model: "LinearModel | OneClassSvm", path: Path) -> "LinearHead | SvmHead":
    """The classifier in a file, turned so that the engine knows which side is fake.

    Raises:
        FileFormatError: Its classes are not real and fake.
    """
    from ..engine.heads import Kernel, KernelKind
    from ..engine.judging.heads import LinearHead, SvmHead
    from ..index.errors import FileFormatError
    from ..index.importing.ready_vectors import label_word
    from ..index.importing.sklearn_files import LinearModel

    if isinstance(model, LinearModel):
        classes = [label_word(value) for value in model.classes.tolist()]
        if sorted(classes) != ["fake", "real"]:
            raise FileFormatError(
                f"{path}: the classes are not real and fake", "label them 0 real and 1 fake"
            )
        sign = 1.0 if classes[1] == "fake" else -1.0
        return LinearHead(sign * model.coef, sign * model.intercept)
    kernel = Kernel(KernelKind(model.kernel), model.gamma, model.coef0, model.degree)
    return SvmHead(model.support_vectors, model.dual_coef, model.intercept, kernel)


def _import_gallery(
    space: "Workspace", name: str, ready: "ReadyVectors", weights: str | None, file: Path
) -> None:
    from ..engine.decoding.decode import PREPROCESSING
    from ..index.errors import FileFormatError
    from .console import say
    from .encoders import keep_encoder
    from .session import assessment_of_gallery

    space.galleries.check_new(name)
    taking = "taking the vectors for those of"
    embedder, checkpoint = _encoder(space, weights, ready.encoder, taking)
    for what, stated, ours in (
        ("encoder", ready.encoder, embedder.sha256),
        ("preprocessing", ready.preprocessing, PREPROCESSING),
    ):
        if stated not in ("", ours):
            raise FileFormatError(
                f"{file}: the vectors were made with {what} {stated[:40]!r}, not {ours[:40]!r}",
                "name the encoder that made them with --weights"
                if what == "encoder"
                else "make the gallery again from its images with: code-index build",
            )
    if ready.vectors.shape[1] != embedder.dimension:
        raise FileFormatError(
            f"{file}: vectors have {ready.vectors.shape[1]} dimensions, the encoder gives"
            f" {embedder.dimension}",
            "name the encoder that made them with --weights",
        )
    keep_encoder(space, embedder, checkpoint)
    info = space.galleries.create(
        name, embedder.sha256, PREPROCESSING, ready.references(), _origin(file)
    )
    assessment_of_gallery(space, info)
    say(f"imported {info.name}: {info.reals} real and {info.fakes} fake references")


def _import_head(
    space: "Workspace",
    name: str,
    head: "LinearHead | SvmHead",
    weights: str | None,
    file: Path,
    replace: bool,
) -> None:
    from ..index.errors import FileFormatError
    from .console import say
    from .encoders import keep_encoder

    space.galleries.check_new(name)  # `export` tells the two by name
    embedder, checkpoint = _encoder(space, weights, "", "taking the classifier for one of")
    if head.dimension != embedder.dimension:
        raise FileFormatError(
            f"{file}: the classifier takes {head.dimension} dimensions, the encoder gives"
            f" {embedder.dimension}",
            "name the encoder that it was fitted on with --weights",
        )
    document = head.to_bytes()
    if not replace:
        space.heads.check_new(embedder.sha256, head.kind, document)
    keep_encoder(space, embedder, checkpoint)
    kept = space.heads.keep(name, head.kind, embedder.sha256, document, _origin(file), replace)
    if kept.name != name:
        say(f"note: it is on record as {kept.name} already, and keeps that name", "yellow")
    say(
        f"imported {kept.name}: code-scan --classifier {kept.kind} uses it with galleries of the"
        f" encoder {kept.encoder_sha256[:12]}"
    )


def _origin(file: Path) -> str:
    """Where an import came from, for people; a file's name may be any bytes."""
    from ..engine.inert import path_text

    return f"import {path_text(file.name)}"


def _encoder(
    space: "Workspace", weights: str | None, stated: str, purpose: str
) -> "tuple[KnownEncoder, Checkpoint]":
    """The encoder of ``--weights``, else the one that the file names, else that of a build."""
    from .encoders import EncoderChoice
    from .session import encoder_for_build

    if weights is None and any(kept.sha256 == stated for kept in space.encoders.all()):
        weights = str(space.encoders.find(stated).folder)
    choice = EncoderChoice(weights, opt.DeviceChoice.CPU, opt.PrecisionChoice.FLOAT32)
    return encoder_for_build(space, choice, purpose)


def _exported(space: "Workspace", name: str) -> "ReadyVectors":
    import numpy as np

    from ..index.importing.ready_vectors import ReadyVectors
    from .starter import gallery_named

    info = gallery_named(space, name)
    references = list(space.galleries.references(info))
    return ReadyVectors(
        np.stack([vector for _, vector in references]),
        tuple(reference.label for reference, _ in references),
        tuple(reference.generator for reference, _ in references),
        tuple(reference.source for reference, _ in references),
        info.encoder_sha256,
        info.preprocessing,
        tuple(reference.trained for reference, _ in references),
        tuple(reference.compared for reference, _ in references),
    )


def _open(folder: Path | None) -> "Workspace":
    from ..index.workspace import Workspace, default_folder

    return Workspace(folder or default_folder())
