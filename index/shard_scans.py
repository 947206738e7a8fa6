"""The shards of a scan in their workspaces: found, and checked to be parts of one whole."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .database import connect, explained, is_sealed
from .errors import WorkspaceError
from .leases import Leases
from .scans import ScanInfo, Scans
from .sqlite import Database
from .upkeep.backup import DATABASE_NAME
from .upkeep.purge_scan import PURGED

_SAME = ("version", "preprocessing", "views", "k", "judging", "decoders", "packages")
"""Parts of the run record that rows depend on, whatever machine makes them."""


@dataclass(frozen=True, slots=True)
class ShardScan:
    """One shard of a scan.

    Attributes:
        folder: Its workspace.
        number: Which shard it is, from 1.
        count: How many there are.
        info: The scan in that workspace.
    """

    folder: Path
    number: int
    count: int
    info: ScanInfo


@contextmanager
def other_workspace(folder: Path) -> Iterator[Database]:
    """Open the database of another workspace; nothing is written to it but migrations.

    One on read-only media is read as it is.

    Raises:
        WorkspaceError: There is none, or it cannot be read.
    """
    path = folder / DATABASE_NAME
    if not path.is_file():
        raise WorkspaceError(
            f"there is no workspace at {folder}", "name the folders that code-scan --shard filled"
        )
    with closing(connect(path, is_sealed(folder))) as database, explained(path):
        yield database


def find_shard(folder: Path) -> ShardScan:
    """The newest sharded scan of a workspace.

    Raises:
        WorkspaceError: It has none, or that is not finished.
    """
    with other_workspace(folder) as database:
        scans = Scans(database, Leases(folder / "leases", is_sealed(folder)))
        sharded = [info for info in scans.all() if info.run["arguments"].get("shard")]
        if not sharded:
            raise WorkspaceError(
                f"the workspace {folder} holds no shard of a scan",
                "make one with: code-scan PATH... --shard I/N --workspace DIR",
            )
        info = sharded[-1]
        number, _, count = str(info.run["arguments"]["shard"]).partition("/")
        if info.state != "finished":
            running = info in scans.alive()
            raise WorkspaceError(
                f"shard {number}/{count} in {folder} is {'running' if running else 'unfinished'}",
                "wait for it" if running else "run its code-scan command again: it goes on",
            )
    return ShardScan(folder, int(number), int(count), info)


def asked_paths(shards: Sequence[ShardScan]) -> list[str]:
    """What all shards were asked for; a path that was purged from some, as the others name it."""
    every = [shard.info.run["arguments"]["paths"] for shard in shards]
    return [
        next((path for path in same if path != PURGED), PURGED) for same in zip(*every, strict=True)
    ]


def check_shards(shards: Sequence[ShardScan]) -> None:
    """Refuse shards that are not the parts of one scan, each once.

    Raises:
        WorkspaceError: One is missing or there twice, or they were not made alike.
    """
    first = shards[0]
    count = len(first.info.run["arguments"]["paths"])
    asked = asked_paths([s for s in shards if len(s.info.run["arguments"]["paths"]) == count])
    for shard in shards:
        for what in _differences(first.info.run, shard.info.run, asked):
            raise WorkspaceError(
                f"the scans in {first.folder} and {shard.folder} differ in {what}",
                "shards need the same command, versions and gallery: restore one backup"
                " (code-index backup) into the workspace of each, and scan again",
            )
        if shard.count != first.count:
            raise WorkspaceError(
                f"{first.folder} holds one of {first.count} shards,"
                f" {shard.folder} one of {shard.count}",
                "scan all of them with the same N in --shard I/N",
            )
    numbers = [shard.number for shard in shards]
    for number in sorted(set(numbers)):
        if numbers.count(number) > 1:
            raise WorkspaceError(
                f"shard {number}/{first.count} is there twice", "name each workspace once"
            )
    missing = [str(n) for n in range(1, first.count + 1) if n not in set(numbers)]
    if missing:
        raise WorkspaceError(
            f"{len(missing)} of {first.count} shards are missing: {', '.join(missing[:20])}",
            "scan them, and name their workspaces too",
        )


def _differences(one: Any, other: Any, asked: Sequence[str]) -> list[str]:
    """Names of what has to be the same in two run records, and is not.

    Args:
        one: The first shard's.
        other: Another one's.
        asked: The paths of all, see :func:`asked_paths`.
    """
    found = [name for name in _SAME if one.get(name) != other.get(name)]
    for part, name in (
        ("gallery", "name"),
        ("gallery", "sha256"),
        ("gallery", "search"),
        ("encoder", "sha256"),
        ("encoder", "precision"),
    ):
        if one[part].get(name) != other[part].get(name):
            found.append(f"{part} {name}")
    mine, theirs = _arguments(one, asked), _arguments(other, asked)
    if mine != theirs:
        names = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
        found.append(f"their arguments ({', '.join(names)})")
    return found


def _arguments(run: Any, asked: Sequence[str]) -> dict[str, Any]:
    """What a scan was asked for, as far as all shards share it, with the names that were purged."""
    paths = run["arguments"]["paths"]
    if len(paths) == len(asked):
        paths = [b if a == PURGED else a for a, b in zip(paths, asked, strict=True)]
    return {**run["arguments"], "paths": paths, "shard": None, "directory": None}
