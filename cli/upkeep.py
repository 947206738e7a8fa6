"""``code-index verify``, ``purge``, ``backup`` and ``restore``: a workspace kept in order."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt
from .console import counted, say
from .running import EXIT_MATCHED

if TYPE_CHECKING:
    from ..index.upkeep.findings import CheckResult
    from ..index.upkeep.purge_plan import PurgePlan
    from ..index.workspace import Workspace

SHOWN = 100
"""Findings of one check that are listed; the rest are counted."""


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: [bold]code-index verify --files[/]")(verify)
    app.command(epilog="Example: [bold]code-index purge --scan 7 --path ./seized --yes[/]")(purge)
    app.command(epilog="Example: [bold]code-index backup desk-2025-06-01.zip[/]")(backup)
    app.command(
        epilog="Example: [bold]code-index restore desk-2025-06-01.zip --workspace ./new[/]"
    )(restore)


def verify(
    files: Annotated[
        bool,
        typer.Option("--files", help="Read every scanned file again and compare its hash."),
    ] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Check the workspace, and repair what can be made again.

    Checked are the database, the vectors, the seals of the galleries, the copies of the encoders,
    and the FAISS files against the database. FAISS files are rebuilt, what killed processes left
    over is removed, and their scans are marked interrupted. Exit code 1: something remains.
    """
    clean = True
    with _open(workspace) as space, space.guarded():
        for result in space.verify(_identify, files):
            _show(result)
            clean = clean and result.clean
    if not clean:
        raise typer.Exit(EXIT_MATCHED)
    say("the workspace is sound", "green")


def purge(
    scan: Annotated[
        list[str] | None,
        typer.Option(metavar="SCAN", help="A scan: number, beginning of its id, or latest."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="A file, folder or address as scanned, and all below it."
        ),
    ] = None,
    gallery: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A gallery, also one that was removed."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a purge that was interrupted."),
    ] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Drop it, and clean up after what it has taken."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Remove scans, paths or galleries for good.

    What was known only through them goes too: paths, hashes, embeddings. Deleted rows are
    overwritten and the database is compacted. Backups and reports that were made before are not
    touched, and a scan that runs keeps its rows. A scan that loses only some of its rows is counted
    again, says how many went and when, and in place of a path that it was asked for
    "(purged)"; the directory that it was started in, the patterns of --include and --exclude, the
    names of lists and what the examiner wrote stay.

    A purge that was interrupted goes on with --resume, which leaves scans that began later alone;
    nothing else is purged before. With --forget nothing more of what it named goes, and what it has
    begun stays half done.
    """
    from ..engine.errors import InputError
    from ..engine.report.tally import summarise
    from ..index.upkeep.purge_plan import PurgeRequest

    if resume + forget + bool(scan or path or gallery) > 1:
        raise InputError(
            "--resume and --forget mean the purge that was interrupted, and each stands alone",
            "name what else should go when that is through",
        )
    request = PurgeRequest(tuple(scan or ()), tuple(path or ()), tuple(gallery or ()))
    with _open(workspace) as space, space.guarded():
        purger = space.purger(summarise)
        plan = purger.resume(forget) if resume or forget else purger.plan(request)
        if resume:
            say(f"going on with a purge that was interrupted: {plan.named.in_words()}")
        if forget:
            say(
                "what the interrupted purge has taken is lost, also rows of scans that it was at;"
                " the rest of what it named stays"
            )
        _announce(plan)
        if not yes:
            if not sys.stdin.isatty():
                raise InputError("nobody is there to be asked", "add --yes to purge without asking")
            question = "Drop the rest of that purge?" if forget else "Remove this for good?"
            typer.confirm(question, abort=True, err=True)
        done = purger.carry_out(plan)
    counts = ", ".join(
        counted(count, _SINGULAR.get(name, name.removesuffix("s")), name)
        for name, count in done.counts().items()
        if count
    )
    say(f"purged: {counts or 'nothing'}")
    for note in done.notes:
        say(f"note: {note}", "yellow")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ZIP file to make.")],
    workspace: opt.Workspace = None,
) -> None:
    """Back the workspace up into one file, also while a scan runs.

    It holds the database as it is at this moment, and the copies of the encoders.
    """
    with _open(workspace) as space, space.guarded():
        made = space.backup(file)
    say(
        f"backed up {_in_words(made.scans, made.galleries, made.encoders)}:"
        f" {file}, {made.bytes / 1e6:.1f} MB"
    )
    if made.missing:
        lost = counted(made.missing, "encoder")
        say(f"note: the workspace has lost the weights of {lost}", "yellow")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of code-index backup.")],
    workspace: opt.Workspace = None,
) -> None:
    """Put a backup back as a new workspace; nothing is overwritten."""
    from ..index.upkeep.backup import read_backup
    from ..index.workspace import default_folder

    folder = workspace or default_folder()
    found = read_backup(file, folder)
    say(f"restored {_in_words(found.scans, found.galleries, found.encoders)} to {folder}")


_SINGULAR = {"galleries": "gallery"}
"""Of what purges count, where it is not without the s."""


def _in_words(scans: int, galleries: int, encoders: int) -> str:
    return (
        f"{counted(scans, 'scan')}, {counted(galleries, 'gallery', 'galleries')} and"
        f" {counted(encoders, 'encoder')}"
    )


def _announce(plan: "PurgePlan") -> None:

    for info in plan.scans:
        paths = " ".join(info.run["arguments"]["paths"])
        say(f"scan {info.key} of {info.started}: {paths}")
    if plan.prefixes:
        say(f"{counted(plan.rows, 'row')} of other scans at or below {', '.join(plan.prefixes)}")
    if plan.naming:
        say(f"{plan.naming} of the scans that stay were asked for it, and will not say so any more")
    for info in plan.emptied:
        paths = " ".join(info.run["arguments"]["paths"])
        say(f"scan {info.key} of {info.started} goes as a whole, as all its rows do: {paths}")
    if plan.galleries:
        galleries = counted(len(plan.galleries), "gallery", "galleries")
        say(f"{galleries} with {counted(plan.references, 'reference')}")


def _show(result: "CheckResult") -> None:
    from ..index.upkeep.findings import Outcome

    state = "" if result.findings else ": sound"
    say(f"{result.name}: {result.examined} checked{state}")
    styles = {Outcome.REPAIRED: "yellow", Outcome.REMAINS: "bold red", Outcome.NOTED: ""}
    for finding in result.findings[:SHOWN]:
        hint = f"; {finding.hint}" if finding.hint else ""
        outcome = "" if finding.outcome is Outcome.NOTED else f" ({finding.outcome})"
        say(f"  {finding.what}{outcome}{hint}", styles[finding.outcome])
    if len(result.findings) > SHOWN:
        say(f"  and {len(result.findings) - SHOWN} more")


def _identify(folder: Path) -> str | None:
    from ..engine.embedding.checkpoint import read_checkpoint
    from ..engine.errors import EngineError

    if not folder.is_dir():  # else its name would be looked up elsewhere
        return None
    try:
        return read_checkpoint(folder).sha256
    except EngineError:
        return None


def _open(folder: Path | None) -> "Workspace":
    from ..index.workspace import Workspace

    return Workspace.existing(folder)
