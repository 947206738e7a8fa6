"""``code-index merge``: the shards of a scan become one scan."""

from pathlib import Path
from typing import Annotated

import typer

from ..engine.interrupt import interruptible
from . import options as opt
from .running import EXIT_INTERRUPTED


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(
        epilog="Example: [bold]code-index merge ./shard-1 ./shard-2 ./shard-3 ./shard-4[/]"
    )(merge)


def merge(
    workspaces: Annotated[
        list[Path],
        typer.Argument(
            metavar="WORKSPACE...", help="Of all shards, each once.", parser=opt.named_path
        ),
    ],
    workspace: opt.Workspace = None,
) -> None:
    """Merge the shards of a scan (code-scan --shard I/N) into this workspace, as one scan.

    Of each workspace the newest sharded scan is taken. The scan that comes out is what a run
    without shards would have given, up to its times. It appears as a whole or not at all; run the
    command again after an interruption.
    """
    from ..engine.files.shard import place_in_walk
    from ..engine.report.tally import summarise
    from ..index.errors import WorkspaceError
    from ..index.merge import MergePlan, Stopped
    from ..index.paths import workspace_folder
    from ..index.shard_scans import asked_paths, check_shards, find_shard
    from ..index.workspace import Workspace, default_folder
    from .console import counted, say

    target = workspace or default_folder()
    folders = [workspace_folder(folder) for folder in workspaces]
    if workspace_folder(target).resolve() in {folder.resolve() for folder in folders}:
        raise WorkspaceError(
            f"{target} is the workspace to merge into", "name another one with --workspace"
        )
    shards = [find_shard(folder) for folder in folders]
    check_shards(shards)
    with Workspace.existing(target) as space, space.guarded():
        merger = space.merger()
        there = merger.merged(shards)
        if there is not None:
            say(f"these shards were merged before: scan {there.key}")
            return
        recurse = shards[0].info.run["arguments"]["recurse"]
        key = place_in_walk(asked_paths(shards), recurse)
        with interruptible() as stopped:
            try:
                info = merger.merge(MergePlan(shards, key, summarise, stopped))
            except Stopped:
                say("interrupted: nothing of the scan was written; run the same command again")
                raise typer.Exit(EXIT_INTERRUPTED) from None
    files = (info.summary or {}).get("files", 0)
    say(f"merged {counted(len(shards), 'shard')} into scan {info.key}: {counted(files, 'file')}")
    hosts = {str(shard.info.run.get("host", {}).get("machine")) for shard in shards}
    if len(hosts) > 1:
        say(
            f"note: the shards come from different machines ({', '.join(sorted(hosts))}): vectors"
            " agree to 1e-5 across platforms, not to the bit",
            "yellow",
        )
