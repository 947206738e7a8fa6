"""``code-report show``: a scan, or the verdict of one of its files in plain sentences."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.inert import for_terminal
from . import options as opt
from .console import stdout

if TYPE_CHECKING:
    from ..engine.report.judging import Judging
    from ..engine.results import FileResult
    from ..index.scans import ScanInfo
    from ..index.workspace import Workspace

MOST = 10
"""Files that are named where a text fits several."""


def register(app: typer.Typer) -> None:
    """Add the command to ``code-report``."""
    app.command(
        epilog="Examples: [bold]code-report show latest[/]   "
        "[bold]code-report show latest IMG_0017.jpg[/]   [bold]code-report show 3 9f86d0[/]"
    )(show)


def show(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
    ],
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Its path, the last parts of it, or at least six digits of its SHA-256.",
        ),
    ] = None,
    workspace: opt.Workspace = None,
) -> None:
    """Show a scan; with a file, explain its verdict in plain sentences with the evidence."""
    from ..engine.report.judging import Judging
    from ..engine.results import FileResult
    from ..index.workspace import Workspace
    from .console import say
    from .render import summary_of

    with Workspace.existing(workspace) as space, space.guarded():
        info = space.scans.info(scan)
        if file is None:
            _scan(info, summary_of(space.scans, info))
            return
        places = _places(space, info, file)
        judging = Judging.of_run(info.run)
        for place in places[:MOST]:
            for row in space.scans.rows(info, place, place):
                _file(FileResult.from_row(row), judging)
    if len(places) > MOST:
        say(f"{len(places) - MOST} more files fit: name more of the path", "yellow")


def _places(space: "Workspace", info: "ScanInfo", file: str) -> list[int]:
    """Positions of the rows that a file's name fits, as typed or as a report writes it.

    What fits none is looked for as the path of a file, seen from this directory.
    """
    from ..engine.arguments import recorded_as
    from ..engine.errors import InputError
    from ..engine.inert import path_from_text

    texts = tuple(dict.fromkeys((file, path_from_text(file))))
    for text in texts:
        if places := space.scans.find(info, text):
            return places
    for text in texts:
        for path in recorded_as(text, info.run):
            if places := space.scans.find(info, path, whole=True):
                return places
    raise InputError(
        f"scan {info.key} has no file {file!r}",
        f"see its files with: code-report export {info.key} --csv -",
    )


def _scan(info: "ScanInfo", summary: "Mapping[str, Any]") -> None:
    from ..engine.judging.in_words import (
        arithmetic_in_words,
        origin_in_words,
        shard_in_words,
        views_in_words,
    )
    from ..engine.report.limits import limits
    from ..engine.report.purges import digests_before, purges_in_words

    run = info.run
    arguments, gallery = run["arguments"], run["gallery"]
    _line(f"Scan {info.key}", "bold")
    _facts(
        {
            "state": info.state,
            "id": info.uuid,
            "case": arguments.get("case"),
            "examiner": arguments.get("examiner"),
            "note": arguments.get("note"),
            "paths": ", ".join(arguments["paths"]),
            "lists": ", ".join(one["path"] for one in arguments.get("lists") or ()),
            "shard": shard_in_words(run),
            "directory": arguments.get("directory"),
            "judged again": origin_in_words(run),
            "started": info.started,
            "finished": info.finished,
            "gallery": f"{gallery['name']}, generation {gallery['generation']}, SHA-256"
            f" {gallery['sha256']}: {gallery['reals']} real and {gallery['fakes']} fake",
            "encoder": f"{run['encoder']['sha256']}, {arithmetic_in_words(run['encoder'])}",
            "looked at": views_in_words(run.get("views")),
            "files": summary.get("files"),
            **summary.get("by_verdict", {}),
            **{k: v for k, v in summary.get("by_status", {}).items() if k in ("skipped", "failed")},
            "reasons": ", ".join(f"{k} {v}" for k, v in summary.get("by_reason", {}).items()),
            "results": summary.get("results_sha256"),
            "purged": "; ".join(purges_in_words(run)),
            "results before": ", ".join(digests_before(run)),
        }
    )
    _line("")
    _line("Limits", "bold")
    for limit in limits(run):
        _line(f"- {limit}")


def _file(result: "FileResult", judging: "Judging") -> None:
    from ..engine.report.explain import explain
    from . import render

    said = explain(result, judging)
    _line(result.path, "bold")
    _line(str(said.headline), render.STYLES.get(str(result.verdict), ""))
    for sentence in said.sentences:
        _line(f"- {sentence}")
    if said.advice is not None:
        _line(f"Next: {said.advice}")
    size = f"{result.width} x {result.height}" if result.width else None
    _facts(
        {
            "lies in": result.container,  # two rows may have one path: a file's, and one within
            "frame": f"{result.frame} of {result.frames}" if result.frame else None,
            "sha256": result.sha256,
            "bytes": result.bytes,
            "format": result.format,
            "pixels": size,
            "status": result.status,
            "vote": result.knn,
        }
    )
    if result.neighbours:
        rows = [
            (str(n.label), f"{n.similarity:.4f}", n.id, n.generator, n.source)
            for n in result.neighbours
        ]
        render.table("references", ("class", "cosine", "reference", "generator", "source"), rows)
    if findings := result.provenance.get("findings"):
        columns = ("kind", "value", "strength", "where")
        said_of = [[str(finding.get(column, "")) for column in columns] for finding in findings]
        render.table("provenance", columns, said_of)
    _line("")


def _facts(facts: Mapping[str, Any]) -> None:
    known = {name: str(value) for name, value in facts.items() if value not in (None, "")}
    width = max(map(len, known))
    for name, value in known.items():
        _line(f"{name:{width}}  {value}")


def _line(text: str, style: str = "") -> None:
    """One line; on a terminal it is broken between words."""
    console = stdout()
    console.print(for_terminal(text), style=style or None, soft_wrap=not console.is_terminal)
