"""``code-report diff``: the verdicts that flipped between two scans, and why."""

import json
from contextlib import ExitStack
from typing import Annotated

import typer

from . import options as opt

Scan = Annotated[str, typer.Argument(help="Its number, the beginning of its id, or latest.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``code-report``."""
    app.command(epilog="Example: [bold]code-report diff 1 2[/]")(diff)


def diff(
    first: Scan,
    second: Scan,
    jsonl: opt.Jsonl = None,
    workspace: opt.Workspace = None,
) -> None:
    """List the files whose verdict, or plain vote, differs between two scans, and why."""
    from ..engine.inert import for_json
    from ..engine.report.difference import compare_runs
    from ..index.workspace import Workspace
    from . import outputs, render

    outputs.check_targets([jsonl] if jsonl else [])
    with ExitStack() as stack:
        space = stack.enter_context(Workspace.existing(workspace))
        stack.enter_context(space.guarded())
        a, b = space.scans.info(first), space.scans.info(second)
        difference = compare_runs(a.run, b.run)
        lines = stack.enter_context(outputs.Lines(jsonl)) if jsonl else None
        same, table = 0, []
        for before, after in space.scans.pairs(a, b):
            if (before.verdict, before.knn) == (after.verdict, after.knn):
                same += 1
                continue
            why = [str(cause) for cause in difference.of(before, after)]
            if lines is not None:
                row = {
                    "path": for_json(before.path),
                    "verdict": [before.verdict, after.verdict],
                    "knn": [before.knn, after.knn],
                    "reason": [before.reason, after.reason],
                    "score": [before.score, after.score],
                    "p_fake": [before.p_fake, after.p_fake],
                    "why": why,
                }
                lines.write(json.dumps(row) + "\n")
            if jsonl != outputs.STDOUT:
                verdicts = f"{before.verdict or before.status} -> {after.verdict or after.status}"
                votes = f"{before.knn or '-'} -> {after.knn or '-'}"
                table.append((verdicts, votes, ", ".join(why), before.path))
        gone, new = space.scans.only_in(a, b), space.scans.only_in(b, a)
    if jsonl == outputs.STDOUT:
        return
    render.table(
        f"scan {a.key} and scan {b.key}: {len(table)} differ, {same} agree,"
        f" {gone} only in {a.key}, {new} only in {b.key}",
        ("verdict", "vote", "why", "file"),
        table,
    )
