"""``code-report``: scans on record."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import diff, formats, rejudge, show, sign, verify_scan
from . import options as opt
from .console import WIDE, counted, say, stdout, working
from .help import arrange
from .running import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..index.scans import ScanInfo
    from ..index.workspace import Workspace

Row = tuple[str, ...]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def _program(_version: opt.Version = False) -> None:
    """Read, show and export the scans that a workspace keeps."""


Scan = Annotated[
    str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
]


@app.command(
    "list",
    epilog="Examples: [bold]code-report list[/]   [bold]code-report list --jsonl - | jq .fake[/]",
)
def list_(jsonl: opt.Jsonl = None, workspace: opt.Workspace = None) -> None:
    """List the scans."""
    from ..index.workspace import Workspace
    from . import outputs, render

    with Workspace.existing(workspace) as space, space.guarded():
        scans = space.scans.all()
        counts = [_counts(space, scan) for scan in scans]
    if jsonl:
        outputs.write_list(jsonl, map(_facts, scans, counts))
    if jsonl == outputs.STDOUT:
        return
    title = counted(len(scans), "scan")
    columns, rows = _whole(scans, counts)
    if render.table_width(columns, rows) > stdout().width:
        columns, rows = _short(scans, counts, stdout().width)
    render.table(title, columns, rows)


def _facts(scan: "ScanInfo", counts: tuple[int, int]) -> "Mapping[str, Any]":
    """What the list says of a scan, for programs."""
    from ..engine.inert import for_json

    files, fakes = counts
    return {
        "scan": scan.key,
        "id": scan.uuid,
        "started": scan.started,
        "finished": scan.finished,
        "state": scan.state,
        "files": files,
        "fake": fakes,
        "gallery": scan.run["gallery"]["name"],
        "case": for_json(scan.run["arguments"].get("case", "")),
        "what": for_json(_what(scan.run)),
    }


def _whole(
    scans: "Sequence[ScanInfo]", counts: "Sequence[tuple[int, int]]"
) -> tuple[Row, list[Row]]:
    return ("scan", "started", "state", "files", "fake", "gallery", "case", "paths"), [
        (
            str(s.key),
            s.started,
            s.state,
            *map(str, counted_rows),
            s.run["gallery"]["name"],
            s.run["arguments"].get("case", ""),
            _what(s.run),
        )
        for s, counted_rows in zip(scans, counts, strict=True)
    ]


def _short(
    scans: "Sequence[ScanInfo]", counts: "Sequence[tuple[int, int]]", width: int
) -> tuple[Row, list[Row]]:
    """A line a scan on a terminal of so many columns.

    Times are without seconds, the state is shown only where it is not finished, the case where
    there is one, and of long paths both ends; where it is narrow, neither times nor galleries.
    """
    from ..engine.inert import for_terminal
    from . import render

    narrow = width < WIDE
    parts: dict[str, list[str]] = {
        "scan": [str(s.key) for s in scans],
        "started": [s.started[: 10 if narrow else 16].replace("T", " ") for s in scans],
        "files": [str(files) for files, _ in counts],
        "fake": [str(fakes) for _, fakes in counts],
    }
    if not narrow:
        parts["gallery"] = [for_terminal(s.run["gallery"]["name"], 10) for s in scans]
    cases = [for_terminal(s.run["arguments"].get("case", ""), 10) for s in scans]
    if any(cases):
        parts["case"] = cases
    rows = list(zip(*parts.values(), strict=True))
    room = max(width - render.table_width(("", *parts), [("", *row) for row in rows]), 8)
    states = ("" if s.state == "finished" else f"{s.state}: " for s in scans)
    paths = (
        for_terminal(state + _what(s.run), room) for s, state in zip(scans, states, strict=True)
    )
    return (*parts, "paths"), [(*row, path) for row, path in zip(rows, paths, strict=True)]


def _counts(space: "Workspace", scan: "ScanInfo") -> tuple[int, int]:
    """Files and fakes; of a scan that was killed, or runs, those of its rows."""
    if scan.summary is None:
        return space.scans.tally(scan)
    return scan.summary.get("files", 0), scan.summary.get("by_verdict", {}).get("fake", 0)


def _what(run: "Mapping[str, Any]") -> str:
    """What was scanned: paths and lists, and by what other command than code-scan."""
    arguments = run["arguments"]
    named = " ".join([*arguments["paths"], *(one["path"] for one in arguments.get("lists") or ())])
    if rejudged := run.get("rejudged"):
        return f"scan {rejudged['scan']} judged again: {named}"
    return f"{arguments['command']}: {named}" if "command" in arguments else named


@app.command(
    epilog="Examples: [bold]code-report export latest --csv report.csv[/]   "
    "[bold]code-report export 3 --html report.html --no-thumbnails[/]"
)
def export(
    scan: Scan,
    csv: formats.Csv = None,
    json_file: formats.Json = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write JSON lines.", rich_help_panel=formats.PANEL),
    ] = None,
    html: formats.Html = None,
    parquet: formats.Parquet = None,
    case_uco: formats.CaseUco = None,
    no_thumbnails: formats.NoThumbnails = False,
    thumbnail_mb: formats.ThumbnailMb = None,
    workspace: opt.Workspace = None,
) -> None:
    """Write the report of a scan on record."""
    from ..engine.errors import InputError
    from ..engine.report.purges import purges_in_words
    from ..index.workspace import Workspace
    from . import outputs

    wanted = formats.Wanted(
        csv, json_file, html, jsonl, parquet, case_uco, not no_thumbnails, thumbnail_mb
    )
    if not wanted.targets:
        raise InputError(
            "no report is asked for", "name one, such as --csv report.csv or --html report.html"
        )
    outputs.check_targets(wanted.targets)
    with Workspace.existing(workspace) as space, space.guarded():
        info = space.scans.info(scan)
        with working("writing the reports"):
            wanted.write(space, info)
    outputs.say_written(wanted.targets)
    purges = purges_in_words(info.run)
    if purges and wanted.without_purges:
        reports = " and ".join(wanted.without_purges)
        say(f"note: what {reports} cannot say: {'; '.join(purges)}", "yellow")


show.register(app)
rejudge.register(app)
verify_scan.register(app)
diff.register(app)
sign.register(app)


arrange(
    app,
    {
        "Scans": ("list", "show", "export"),
        "Judging again": ("rejudge", "diff", "verify"),
        "Signatures": ("keygen", "sign", "check-signature"),
    },
)


def main() -> None:
    """Entry point of ``code-report``."""
    run(app)
