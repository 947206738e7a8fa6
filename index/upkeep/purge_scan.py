"""A scan that loses rows to a purge and stays: counted again, and it says what went."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..clock import now
from ..errors import WorkspaceError
from ..scans import ScanInfo, Scans
from .purge_paths import lies_in
from .purge_pending import GO_ON

PURGED = "(purged)"
"""Stands in a run record for a path that the scan was asked for and that was purged since."""

Summarise = Callable[[Iterator[dict[str, Any]]], Mapping[str, Any]]
"""Makes the summary of rows, mappings of the report's names in their order."""

_DIGEST = "results_sha256"


@dataclass(frozen=True, slots=True)
class Cut:
    """What a purge takes from a scan.

    Attributes:
        rows: Positions of the rows that go.
        pointing: Positions of rows that forget their first copy.
        gallery: Whether all rows lose the references behind them.
        paths: What is at or below these is not named any more.
    """

    rows: set[int] = field(default_factory=set)
    pointing: set[int] = field(default_factory=set)
    gallery: bool = False
    paths: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Restated:
    """A scan as it says of itself after a cut.

    Attributes:
        before: The scan before it.
        run: The run record, JSON; ``purged`` lists what purges took.
        summary: The counts and the digest of what is left, JSON; None where there were none.
        paths: How many paths it no longer says that it was asked for.
    """

    before: ScanInfo
    run: str
    summary: str | None
    paths: int = 0


def restate(scans: Scans, info: ScanInfo, cut: Cut, summarise: Summarise) -> Restated:
    """Work out what a scan says after a cut; nothing is written, and nobody has to wait.

    The digest of all rows is compared with the one on record before it is replaced: rows that
    somebody has changed do not become right by a purge.
    """
    summary = info.summary
    stated = None if summary is None else summary.get(_DIGEST)
    intact = None
    if stated is not None:
        intact = summarise(scans.rows(info))[_DIGEST] == stated
    arguments = info.run["arguments"]
    asked = [PURGED if lies_in(path, cut.paths) else path for path in arguments["paths"]]
    purged = {
        "at": now(),
        "rows": len(cut.rows),
        "gallery": cut.gallery,
        _DIGEST: stated,
        "intact": intact,
    }
    hidden = asked.count(PURGED) - arguments["paths"].count(PURGED)
    if hidden:
        purged["paths"] = hidden
    run = {
        **info.run,
        "arguments": {**arguments, "paths": asked},
        "purged": [*info.run.get("purged", ()), purged],
    }
    if summary is None:
        return Restated(info, json.dumps(run), None, hidden)
    new = {**summary, **summarise(_left(scans, info, cut))}
    new["left_out"] = summary.get("left_out", 0)
    if stated is None:
        new.pop(_DIGEST, None)  # one that was never stated proves nothing
    return Restated(info, json.dumps(run), json.dumps(new), hidden)


def write_restated(connection: sqlite3.Connection, scans: Scans, new: Restated) -> None:
    """Write it, within the transaction that makes the cut.

    Raises:
        WorkspaceError: The scan has changed since.
    """
    key = new.before.key
    if scans.info(str(key)) != new.before:
        raise WorkspaceError(
            f"something else has changed scan {key} meanwhile",
            GO_ON,
        )
    connection.execute(
        "UPDATE scans SET run = ?, summary = ? WHERE id = ?", (new.run, new.summary, key)
    )


def _left(scans: Scans, info: ScanInfo, cut: Cut) -> Iterator[dict[str, Any]]:
    for position, row in scans.placed(info):
        if position in cut.rows:
            continue
        if position in cut.pointing:
            row["duplicate_of"] = None
        if cut.gallery:
            row["neighbours"] = []
        yield row
