"""``code-report``: scans on record."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import diff, formats, rejudge, show, sign, verify_scan
from . import options as opt
from .console import working
from .help import arrange
from .running import run

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@app.command("list", epilog="Example: [bold]code-report list[/]")
def list_(workspace: opt.Workspace = None) -> None:
    """List the scans."""
    from ..index.workspace import Workspace
    from . import render

    with Workspace.existing(workspace) as space, space.guarded():
        scans = space.scans.all()
    render.table(
        f"{len(scans)} scans",
        ("scan", "started", "state", "files", "fake", "gallery", "case", "paths"),
        [
            (
                s.key,
                s.started,
                s.state,
                (s.summary or {}).get("files", ""),
                (s.summary or {}).get("by_verdict", {}).get("fake", 0),
                s.run["gallery"]["name"],
                s.run["arguments"].get("case", ""),
                _what(s.run),
            )
            for s in scans
        ],
    )


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
