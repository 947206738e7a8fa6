"""``code-index pull``: the published weights, gallery and classifiers, pinned by hash."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..engine.embedding.checkpoint import Checkpoint
    from ..engine.embedding.contracts import KnownEncoder
    from ..engine.judging.heads import LinearHead, SvmHead
    from ..index.importing.ready_vectors import ReadyVectors
    from ..index.origins import BegunGallery
    from ..index.pull import Fetched
    from ..index.pull_record import Pull
    from ..index.workspace import Workspace

REPO = "aimagelab/CoDE"
GALLERY = "published"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
KNN = "sklearn/knn_tot_classifier_epoch-32.sav"
LINEAR = "sklearn/linear_tot_classifier_epoch-32.sav"
SVM = "sklearn/ocsvm_kernel_poly_gamma_auto_nu_0_1_crop.joblib"
FILES = (WEIGHTS, CONFIG, KNN, LINEAR, SVM)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(
        epilog="Examples: [bold]code-index pull[/]   [bold]code-index pull --revision COMMIT[/]"
    )(pull)


def pull(
    revision: Annotated[
        str, typer.Option(metavar="R", help="Branch, tag or commit.", rich_help_panel="Hub")
    ] = "main",
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Take other bytes than those pulled before.",
            rich_help_panel="Hub",
        ),
    ] = False,
    repo: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Repository.", rich_help_panel="Hub")
    ] = REPO,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the gallery.")] = GALLERY,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Download the published weights, gallery and classifiers, and use them by default.

    Each file is checked against the hash that the hub states for it. Commit and hashes are kept:
    later pulls refuse other bytes, unless --update is given. Nothing in a file is executed.
    HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are honoured; a download that was
    interrupted goes on where it stopped.
    """
    from ..index.importing.stated_hashes import StatedFile
    from ..index.pull import Source, fetch
    from ..index.workspace import Workspace, default_folder
    from .console import is_terminal, say

    with Workspace(workspace or default_folder()) as space, space.guarded():
        before = space.pulls.find(repo)
        there = space.pulls.gallery(repo)
        if there is None:
            space.galleries.check_new(name)
        _silence(quiet or not is_terminal())
        known = [StatedFile(f.name, f.bytes, f.stated) for f in before.files] if before else []
        if not quiet:
            say(f"fetching {len(FILES)} files of {repo}@{revision}")
        fetched = fetch(Source(repo, revision), FILES, known)
        changed = _changed(before, fetched)
        if changed and not update:
            assert before is not None
            _refuse(before, fetched, changed, repo)
        parts = _read(repo, fetched)
        if before is None or changed or update:
            _pin(space, repo, revision, fetched, parts)
        commit = fetched.commit if before is None or changed or update else before.commit
        _store(space, repo, commit, name, fetched, parts, there)
    if before is not None and not changed:
        say(f"{repo} at {commit}: the same {len(FILES)} files as before")
    else:
        say(f"pulled {repo} at {commit}")
    _show(fetched)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is in the files, read and checked, before anything is stored."""

    checkpoint: "Checkpoint"
    embedder: "KnownEncoder"
    references: "ReadyVectors"
    heads: "tuple[LinearHead | SvmHead, ...]"


def _changed(before: "Pull | None", fetched: "Fetched") -> list[str]:
    """Names of files whose bytes are not those on record."""
    if before is None:
        return []
    hashes = {file.name: file.sha256 for file in before.files}
    return [file.name for file in fetched.files if hashes.get(file.name) != file.sha256]


def _refuse(before: "Pull", fetched: "Fetched", changed: list[str], repo: str) -> None:
    from ..index.errors import HubError

    raise HubError(
        f"{repo} has other bytes than those pulled on {before.pulled} at {before.commit[:12]}:"
        f" {', '.join(changed)} at {fetched.commit[:12]}",
        f"take them with --update, or stay with: code-index pull --revision {before.commit}",
    )


def _read(repo: str, fetched: "Fetched") -> _Parts:
    """Read every file; a problem in any of them stops the pull before anything is stored.

    Raises:
        CheckpointError: The weights are no encoder.
        FileFormatError: A classifier is not what its name says, or is of another dimension.
    """
    from ..engine.embedding.checkpoint import Checkpoint
    from ..engine.embedding.load import load_embedder
    from ..index.errors import FileFormatError
    from ..index.importing.sklearn_files import KNeighbors, LinearModel, OneClassSvm, read_sklearn
    from .import_export import head_of, vectors_of

    checkpoint = Checkpoint(fetched[WEIGHTS].data, fetched[CONFIG].data, repo, fetched.commit)
    embedder = load_embedder(checkpoint, "cpu")
    heads = []
    references = None
    for name, expected in ((KNN, KNeighbors), (LINEAR, LinearModel), (SVM, OneClassSvm)):
        model = read_sklearn(fetched[name].data)
        if not isinstance(model, expected):
            raise FileFormatError(f"{name} holds a {type(model).__name__}, not what its name says")
        if isinstance(model, KNeighbors):
            references = vectors_of(model, Path(name), source=repo)
            dimension = references.vectors.shape[1]
        else:
            heads.append(head_of(model, Path(name)))
            dimension = heads[-1].dimension
        if dimension != embedder.dimension:
            raise FileFormatError(
                f"{name} takes {dimension} dimensions, the encoder gives {embedder.dimension}"
            )
    assert references is not None
    return _Parts(checkpoint, embedder, references, tuple(heads))


def _pin(space: "Workspace", repo: str, revision: str, fetched: "Fetched", parts: _Parts) -> None:
    from ..index.pull_record import PinnedFile

    pinned = [PinnedFile(f.name, len(f.data), f.sha256, f.stated) for f in fetched.files]
    space.pulls.pin(repo, revision, fetched.commit, parts.embedder.sha256, pinned)


def _store(
    space: "Workspace",
    repo: str,
    commit: str,
    name: str,
    fetched: "Fetched",
    parts: _Parts,
    there: "BegunGallery | None",
) -> None:
    """Keep what is missing; killed anywhere in between, the next pull does the rest."""
    from ..engine.decoding.decode import PREPROCESSING
    from ..index.errors import GalleryError
    from ..index.pull_record import ACTION, gallery_action
    from .console import say
    from .encoders import keep_encoder
    from .session import assessment_of_gallery

    keep_encoder(space, parts.embedder, parts.checkpoint)
    info = space.galleries.info(there.name) if there else None
    current = (
        info is not None
        and there is not None
        and there.action.endswith(f" {fetched[KNN].sha256}")
        and info.encoder_sha256 == parts.embedder.sha256
    )
    if not current:
        if there is not None and there.generation > 1:
            raise GalleryError(
                f"the gallery {there.name} was changed after it was pulled",
                f"keep it under another name with: code-index export {there.name} FILE.npz and"
                f" code-index import; then code-index remove {there.name}, and pull again",
            )
        if there is not None:
            space.galleries.remove(there.name)
        info = space.galleries.create(
            there.name if there else name,
            parts.embedder.sha256,
            PREPROCESSING,
            parts.references.references(),
            gallery_action(repo, commit, fetched[KNN].sha256),
        )
    assert info is not None
    for head, file in zip(parts.heads, (LINEAR, SVM), strict=True):
        own = next(
            (h for h in space.heads.all() if (h.encoder_sha256, h.kind) ==
             (parts.embedder.sha256, head.kind) and not h.origin.startswith(f"{ACTION} ")),
            None,
        )  # fmt: skip
        if own is not None:
            say(f"note: the {own.kind} classifier stays {own.name}, from {own.origin}", "yellow")
            continue
        space.heads.keep(
            f"{info.name}-{head.kind}",
            head.kind,
            parts.embedder.sha256,
            head.to_bytes(),
            gallery_action(repo, commit, fetched[file].sha256),
            replace=True,
        )
    assessment_of_gallery(space, info)
    say(f"gallery {info.name}: {info.reals} real and {info.fakes} fake references")


def _show(fetched: "Fetched") -> None:
    from . import render

    render.table(
        f"{len(fetched.files)} files, each as the hub states it",
        ("file", "bytes", "sha256"),
        [(file.name, len(file.data), file.sha256) for file in fetched.files],
    )


def _silence(bars: bool) -> None:
    """Keep the hub library's own messages back, and its progress bars too where asked."""
    import logging

    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if bars:
        disable_progress_bars()
