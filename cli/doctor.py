"""``code-index doctor``: what could make a gallery's verdicts wrong, and what to do about it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.interrupt import interruptible
from . import options as opt
from .running import EXIT_INTERRUPTED, EXIT_MATCHED

if TYPE_CHECKING:
    from ..engine.evaluation.duplicates import Against
    from ..engine.evaluation.file_facts import FileFacts
    from ..engine.evaluation.findings import Finding, References
    from ..index.gallery_records import GalleryInfo
    from ..index.workspace import Workspace
    from .encoders import EncoderChoice


class FailOn(StrEnum):
    """What ``--fail-on`` can name."""

    SERIOUS = "serious"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: [bold]code-index doctor desk --against ./seized[/]")(doctor)


def doctor(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The gallery.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Files or folders that should not be in the gallery; again for more."
            " Default: what the workspace has scanned.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON.")
    ] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option("--fail-on", help="Exit with 1 if a finding is serious."),
    ] = None,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.ExactPrecision = opt.PrecisionChoice.AUTO,
    workers: opt.Workers = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Examine a gallery for what could make its verdicts wrong.

    Balance, duplicates, leakage, dead vectors, sources, generators; how well its own references
    are told apart, each left out in turn; and whether the classes can be told apart by file format
    and compression alone, or by coarse colours alone. Reads the files that the gallery was built
    from, where they still lie there; changes nothing. Exits with 1 with --fail-on serious, if
    anything is serious.
    """
    from ..engine.evaluation.doctor import examine
    from . import outputs
    from .console import say
    from .encoders import EncoderChoice
    from .session import assessment_of_gallery
    from .starter import gallery_named, workspace_of

    outputs.check_targets([json_file] if json_file else [])
    with workspace_of(workspace, name) as space, space.guarded():
        info = gallery_named(space, name)
        if against:
            choice = EncoderChoice(weights, device, precision)
            files = _given(space, info, choice, against, workers, quiet)
        else:
            files = _scanned(space, info)
        if not quiet:
            say(f"examining {info.reals} real and {info.fakes} fake references")
        assessment = assessment_of_gallery(space, info)
        findings = examine(_references(space, info), _Known(space, info), files, assessment)
    if json_file is not None:
        with outputs.whole(json_file) as stream:
            document = {
                "gallery": {"name": info.name, "sha256": info.sha256},
                "findings": [finding.as_dict() for finding in findings],
            }
            json.dump(document, stream, indent=2, allow_nan=False)
            stream.write("\n")
    if json_file != outputs.STDOUT:
        _show(info.name, findings)
    if fail_on is not None and any(finding.severity == fail_on.value for finding in findings):
        raise typer.Exit(EXIT_MATCHED)


class _Known:
    """What the workspace knows of files that are not at hand."""

    def __init__(self, space: "Workspace", info: "GalleryInfo") -> None:
        from ..index.content_records import ANY_PRECISION, Recall

        recall = Recall(precisions=ANY_PRECISION)
        self._store = space.contents(info.encoder_sha256, info.preprocessing, recall)

    def __call__(self, sha256: str) -> "FileFacts | None":
        from ..engine.evaluation.file_facts import FileFacts

        content = self._store.known_content(sha256)
        if content is None or content.width is None or content.height is None:
            return None
        return FileFacts(content.format or "", content.bytes, content.width, content.height)


def _references(space: "Workspace", info: "GalleryInfo") -> "References":
    import numpy as np

    from ..engine.evaluation.findings import References
    from ..engine.results import Label

    rows = list(space.galleries.references(info))
    return References(
        name=info.name,
        vectors=np.stack([vector for _, vector in rows]),
        labels=np.array([int(r.label == Label.FAKE) for r, _ in rows], dtype=np.int64),
        sources=tuple(r.source for r, _ in rows),
        generators=tuple(r.generator for r, _ in rows),
        sha256=tuple(r.sha256 or "" for r, _ in rows),
        paths=tuple(r.path or "" for r, _ in rows),
        compared=np.array([r.compared for r, _ in rows], dtype=np.bool_),
    )


def _scanned(space: "Workspace", info: "GalleryInfo") -> "Against":
    from ..engine.evaluation.duplicates import Against, ScannedFile
    from ..engine.judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY

    total, found = space.galleries.scanned(info, NEAR_DUPLICATE_SIMILARITY)
    files = [ScannedFile(f.path, f.sha256, similarity=f.similarity) for f in found]
    return Against("files that the workspace has scanned", total, files)


def _given(
    space: "Workspace",
    info: "GalleryInfo",
    choice: "EncoderChoice",
    paths: list[Path],
    workers: int,
    quiet: bool,
) -> "Against":
    """Embed files as a scan would, or take what is known of them."""
    from ..engine.build import LabelledFolder, embed_folders
    from ..engine.errors import InputError
    from ..engine.evaluation.duplicates import Against, ScannedFile
    from ..engine.files.discover import WalkOptions, walk
    from ..engine.pipeline.options import PipelineOptions
    from ..engine.results import Label
    from .console import say
    from .encoders import embedder_of_gallery
    from .progress import meter

    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or directory at {str(path)!r}")
    embedder = embedder_of_gallery(space, info, choice)
    store = space.contents(info.encoder_sha256, info.preprocessing)
    options = WalkOptions(omit=(space.folder,))
    files: list[ScannedFile] = []
    with interruptible() as stopped, meter("reading", [walk(paths, options)], quiet) as progress:
        for file in embed_folders(
            [LabelledFolder(path, Label.REAL) for path in paths],  # the label is not used
            store,
            embedder,
            options,
            PipelineOptions(workers),
            stop=stopped,
        ):
            content = store.known_content(file.sha256) if file.sha256 else None
            vector = content.vector if content else None
            files.append(ScannedFile(file.path, file.sha256 or "", vector))
            progress.advance("")
        if stopped():
            say("interrupted: what was embedded is kept; run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED)
    return Against("given files", len(files), files)


_STYLES = {"serious": "bold red", "warning": "yellow", "note": "cyan", "good": "green"}


def _show(name: str, findings: "tuple[Finding, ...]") -> None:
    from ..engine.inert import for_terminal
    from .console import stdout

    console = stdout()
    console.print(for_terminal(f"gallery {name}"), style="bold")
    for finding in findings:
        console.print(f"{finding.severity:8}", style=_STYLES.get(finding.severity), end=" ")
        console.print(for_terminal(f"{finding.check.replace('_', ' ')}: {finding.message}"))
        if finding.advice:
            console.print(for_terminal(f"         -> {finding.advice}"), style="dim")
