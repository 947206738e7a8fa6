"""What ``code-index build`` and ``add`` share: labelled folders, embedded, as references."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..engine.interrupt import interruptible
from .running import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..engine.build import LabelledFolder, ReferenceFile
    from ..engine.embedding.contracts import KnownEncoder
    from ..engine.pipeline.contracts import Cluster
    from ..index.gallery_records import NewReference
    from ..index.workspace import Workspace


class Files:
    """Which files a build takes, and how."""

    def __init__(
        self,
        include: list[str] | None,
        exclude: list[str] | None,
        follow_symlinks: bool,
        bounds: tuple[int, int, float],
        workers: int,
        quiet: bool,
    ) -> None:
        self.include = tuple(include or ())
        self.exclude = tuple(exclude or ())
        self.follow_symlinks = follow_symlinks
        self.bounds = bounds
        self.workers = workers
        self.quiet = quiet


def embed(
    space: "Workspace",
    folders: "list[LabelledFolder]",
    embedder: "KnownEncoder",
    files: Files,
    cluster: "Cluster | None" = None,
    held: Collection[tuple[str, str]] = (),
) -> "list[ReferenceFile]":
    """Embed folders into the workspace and say what cannot be a reference.

    Args:
        space: The workspace.
        folders: What to embed.
        embedder: The encoder.
        files: Which files below them, and how.
        cluster: What reads, decodes and embeds; None is this machine.
        held: SHA-256 and label of what the gallery holds already.
    """
    from ..engine.build import embed_folders
    from ..engine.decoding.decode import DecodeOptions
    from ..engine.files.discover import WalkOptions, walk
    from ..engine.pipeline.options import PipelineOptions
    from .console import say
    from .progress import meter

    walk_options = WalkOptions(
        follow_symlinks=files.follow_symlinks,
        include=files.include,
        exclude=files.exclude,
        omit=(space.folder,),
    )
    store = space.contents(embedder.sha256, preprocessing())
    usable: list[ReferenceFile] = []
    walks = [walk([folder.path], walk_options) for folder in folders]
    with interruptible() as stopped, meter("embedding", walks, files.quiet) as progress:
        for found in embed_folders(
            folders,
            store,
            embedder,
            walk_options,
            PipelineOptions(files.workers, decode=DecodeOptions(*files.bounds)),
            stop=stopped,
            cluster=cluster,
        ):
            if found.reason is None:
                usable.append(found)
            elif not files.quiet:
                say(f"left out {found.path}: {found.reason}", "yellow")
            progress.advance("")
        if stopped():
            say("interrupted: what was embedded is kept; run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED)
    _warn_of_conflicts(usable, held)
    return usable


def references(
    space: "Workspace", embedder: "KnownEncoder", usable: "list[ReferenceFile]"
) -> "Iterator[NewReference]":
    """What was embedded, with its vectors, one by one; the same bytes once a class.

    Copies would vote twice, and stand in for each other where one is left out. The first of them
    gives the source and the generator.
    """
    from ..index.gallery_records import NewReference

    store = space.contents(embedder.sha256, preprocessing())
    seen: set[tuple[str | None, str]] = set()
    for reference in usable:
        same = (reference.sha256, reference.label)
        if same in seen:
            continue
        seen.add(same)
        content = store.known_content(reference.sha256 or "")
        assert content is not None and content.vector is not None
        yield NewReference(
            reference.label,
            reference.generator,
            reference.source,
            content.vector,
            str(Path(reference.path).absolute()),
            reference.sha256,
        )


def say_copies(usable: "list[ReferenceFile]", taken: int) -> None:
    """Say how many files became no reference, as their class holds the same bytes."""
    from .console import say

    if copies := len(usable) - taken:
        say(f"left out {copies} of {len(usable)} files: their class holds the same bytes already")


def _warn_of_conflicts(usable: "list[ReferenceFile]", held: Collection[tuple[str, str]]) -> None:
    """Name files of one class whose bytes stand in the other: here, or in the gallery."""
    from .console import counted, say

    labels: dict[str, set[str]] = {}
    for sha256, label in held:
        labels.setdefault(sha256, set()).add(label)
    conflicts: dict[str, str] = {}  # first path by content
    for reference in usable:
        sha256 = reference.sha256 or ""
        there = labels.setdefault(sha256, set())
        if there - {reference.label}:
            conflicts.setdefault(sha256, reference.path)
        there.add(reference.label)
    if conflicts:
        first = next(iter(conflicts.values()))
        stand = counted(len(conflicts), "file stands", "files stand")
        say(f"warning: {stand} in both classes, first {first}", "yellow")


def labelled_folders(real: list[Path] | None, fake: list[str] | None) -> "list[LabelledFolder]":
    """Folders as ``--real DIR`` and ``--fake [GENERATOR=]DIR`` name them.

    Raises:
        InputError: None is given, or one does not exist.
    """
    from ..engine.build import LabelledFolder
    from ..engine.errors import InputError
    from ..engine.results import Label

    folders = [LabelledFolder(path, Label.REAL) for path in real or ()]
    for text in fake or ():
        generator, equals, path = text.partition("=")
        if equals and not Path(text).exists():
            if not generator or not path:
                raise InputError(
                    f"--fake {text} lacks its {'folder' if generator else 'generator'}",
                    "write --fake GENERATOR=DIR, or --fake DIR whose sub-folders name generators",
                )
            folders.append(LabelledFolder(Path(path), Label.FAKE, generator))
        elif not text:
            raise InputError("--fake names no folder", "for this directory write .")
        else:
            folders.append(LabelledFolder(Path(text), Label.FAKE))
    if not folders:
        raise InputError("no folder is given", "name folders with --real DIR and --fake DIR")
    for folder in folders:
        if not folder.path.exists():
            raise InputError(f"there is no folder {str(folder.path)!r}")
    return folders


def preprocessing() -> str:
    """Identity of the steps before the encoder."""
    from ..engine.decoding.decode import PREPROCESSING

    return PREPROCESSING
