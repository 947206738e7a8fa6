"""``code-report``: scans on record."""

from pathlib import Path
from typing import Annotated

import typer

from . import diff, rejudge, sign, verify_scan
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
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="CSV; - is stdout.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="JSON.")] = None,
    jsonl: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON lines.")] = None,
    workspace: opt.Workspace = None,
) -> None:
    """Write the report of a scan on record."""
    from ..engine.errors import InputError
    from ..engine.report.as_csv import write_csv
    from ..engine.report.as_json import write_json, write_jsonl
    from ..index.workspace import Workspace, default_folder
    from . import outputs, render

    chosen = ((csv, write_csv), (json_file, write_json), (jsonl, write_jsonl))
    formats = [(target, write) for target, write in chosen if target is not None]
    if not formats:
        raise InputError("no report is asked for", "name one with --csv, --json or --jsonl")
    outputs.check_targets([target for target, _ in formats])
    with Workspace(workspace or default_folder()) as space, space.guarded():
        info = space.scans.info(scan)
        for target, write in formats:
            with outputs.whole(target) as stream:
                write(render.report(space.scans, info), stream)


rejudge.register(app)
verify_scan.register(app)
diff.register(app)
sign.register(app)


def main() -> None:
    """Entry point of ``code-report``."""
    run(app)
