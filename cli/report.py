"""``code-report``: scans on record."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from . import diff, formats, rejudge, sign, verify_scan
from . import options as opt
from .running import run

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Read, show and export the scans that a workspace keeps.",
)

Scan = Annotated[
    str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
]


@app.command("list")
def list_(workspace: opt.Workspace = None) -> None:
    """List the scans."""
    from ..index.workspace import Workspace, default_folder
    from . import render

    with Workspace(workspace or default_folder()) as space, space.guarded():
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
                " ".join(s.run["arguments"]["paths"]),
            )
            for s in scans
        ],
    )


@app.command(epilog="Example: [bold]code-report export latest --csv report.csv[/]")
def export(
    scan: Scan,
    csv: formats.Csv = None,
    json_file: formats.Json = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write JSON lines.", rich_help_panel=formats.PANEL),
    ] = None,
    html: formats.Html = None,
    no_thumbnails: formats.NoThumbnails = False,
    workspace: opt.Workspace = None,
) -> None:
    """Write the report of a scan on record."""
    from ..engine.errors import InputError
    from ..index.workspace import Workspace, default_folder
    from . import outputs, render

    wanted = formats.Wanted(csv, json_file, html, jsonl, not no_thumbnails)
    if not wanted.targets:
        raise InputError("no report is asked for", "name one with --csv, --json, --jsonl or --html")
    outputs.check_targets(wanted.targets)
    with ExitStack() as stack:
        space = stack.enter_context(Workspace(workspace or default_folder()))
        stack.enter_context(space.guarded())
        info = space.scans.info(scan)
        for target, write in wanted.writers(space, stack):
            with outputs.whole(target) as stream:
                write(render.report(space.scans, info), stream)


rejudge.register(app)
verify_scan.register(app)
diff.register(app)
sign.register(app)


def main() -> None:
    """Entry point of ``code-report``."""
    run(app)
