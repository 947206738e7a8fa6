"""Scans on record: their rows as they were reported."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from .content_keys import split_key
from .database import writing
from .errors import UnusableWorkspaceError, WorkspaceError
from .gallery_records import reference_id
from .leases import Leases
from .paths import load_path, store_path
from .scan_recorder import PLAIN, scan_lease
from .sqlite import Database


@dataclass(frozen=True, slots=True)
class ScanInfo:
    """A scan on record.

    Attributes:
        key: Number of the scan in this workspace, from 1.
        uuid: Its identity anywhere.
        started: ISO 8601, UTC.
        finished: ISO 8601, UTC; None while it runs, or where it was killed.
        state: ``running``, ``finished``, ``interrupted`` or ``failed``.
        run: The run record.
        summary: The counts; None where it was killed.
        gallery_key: Key of the gallery that it compared with; None where that was purged.
        generation: State in which it met the gallery.
    """

    key: int
    uuid: str
    started: str
    finished: str | None
    state: str
    run: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    gallery_key: int | None
    generation: int | None


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What two scans are compared by; see the engine's ``FileResult``."""

    path: str
    sha256: str | None
    status: str
    reason: str | None
    knn: str | None
    verdict: str | None
    score: float | None
    p_fake: float | None
    precision: str | None


_ALL = (1 << 63) - 1
_FACTS = ("sha256", "status", "reason", "knn", "verdict", "score", "p_fake", "precision")
_NTH = "ROW_NUMBER() OVER (PARTITION BY path ORDER BY position)"
_COUNTERPARTS = """
CREATE TEMP TABLE {} (
    path NOT NULL,
    nth INTEGER NOT NULL,           -- of the rows of this path
    position INTEGER NOT NULL,
    PRIMARY KEY (path, nth)
) WITHOUT ROWID
"""


class Scans:
    """The scans of a workspace."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases

    def all(self) -> list[ScanInfo]:
        """Every scan, the newest last."""
        return [self._told(_scan_info(row)) for row in self._select("ORDER BY id")]

    def info(self, which: str) -> ScanInfo:
        """One scan, by number, by the beginning of its uuid, or ``latest``: no evaluation is.

        Raises:
            WorkspaceError: There is none, or several begin so.
        """
        if which == "latest":
            rows = self._select(
                "WHERE json_extract(run, '$.arguments.command') IS NULL ORDER BY id DESC LIMIT 1"
            )
        elif which.isdecimal() and len(which) < 8:
            rows = self._select("WHERE id = ?", int(which))
        else:
            rows = self._select(
                "WHERE substr(uuid, 1, ?) = ? AND ? <> ''", len(which), which, which
            )
        if len(rows) != 1:
            problem = "there is no scan" if not rows else "several scans begin with"
            raise WorkspaceError(f"{problem} {which!r}", "see them with: code-report list")
        return self._told(_scan_info(rows[0]))

    def _told(self, info: ScanInfo) -> ScanInfo:
        """A scan whose process has died without a word is interrupted, if not on record as such."""
        if info.state == "running" and not self._leases.held(scan_lease(info.uuid)):
            return replace(info, state="interrupted")
        return info

    def alive(self) -> list[ScanInfo]:
        """The scans that a living process is writing."""
        running = self._select("WHERE state = 'running' ORDER BY id")
        return [s for s in map(_scan_info, running) if self._leases.held(scan_lease(s.uuid))]

    def close_killed(self) -> list[ScanInfo]:
        """Mark the scans as interrupted whose process has died without a word.

        Returns:
            Those scans, as they were.
        """
        with writing(self._database) as connection:
            alive = {info.key for info in self.alive()}
            running = map(_scan_info, self._select("WHERE state = 'running' ORDER BY id"))
            killed = [info for info in running if info.key not in alive]
            connection.executemany(
                "UPDATE scans SET state = 'interrupted' WHERE id = ?",
                [(info.key,) for info in killed],
            )
        return killed

    def find(self, info: ScanInfo, text: str, whole: bool = False) -> list[int]:
        """Positions of the rows that a text names.

        Args:
            info: The scan.
            text: A whole path; else the first digits of a SHA-256, at least six; else the end of
                a path. What fits in the earliest of these ways counts.
            whole: Only a whole path.
        """
        scan, path = ("SELECT position FROM verdicts WHERE scan_id = ?", store_path(text))
        rows = self._database.conn.execute(f"{scan} AND path = ?", (info.key, path)).fetchall()
        if whole:
            return [row[0] for row in rows]
        if not rows and re.fullmatch("[0-9a-fA-F]{6,64}", text):
            span = (text.lower(), text.lower() + "g")
            rows = self._database.conn.execute(
                f"{scan} AND sha256 >= ? AND sha256 < ? ORDER BY position", (info.key, *span)
            ).fetchall()
        if not rows:
            end = "" if text.startswith(("/", "\\")) else "[/\\\\]"
            every = self._database.conn.execute(
                "SELECT position, path FROM verdicts WHERE scan_id = ? ORDER BY position",
                (info.key,),
            )
            fits = re.compile(f"(^|{end}){re.escape(text)}$" if end else f"{re.escape(text)}$")
            rows = [row for row in every if fits.search(load_path(row[1]))]
        return [row[0] for row in rows]

    def rows(self, info: ScanInfo, first: int = 0, last: int = _ALL) -> Iterator[dict[str, Any]]:
        """Rows of a scan in order, as mappings of the report's names; memory stays flat.

        Args:
            info: The scan.
            first: Position of the first row.
            last: Position of the last row.
        """
        return (row for _, row in self.placed(info, first, last))

    def placed(
        self, info: ScanInfo, first: int = 0, last: int = _ALL
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """As :meth:`rows`, each with its position: where rows were purged, some are missing."""
        neighbours = self._neighbours(info, first, last)
        head = next(neighbours, None)
        for row in self._database.conn.execute(
            "SELECT position, path, sha256, container, duplicate_of, provenance, crops, probe,"  # noqa: S608
            f" {', '.join(PLAIN)} FROM verdicts WHERE scan_id = ?"
            " AND position BETWEEN ? AND ? ORDER BY position",
            (info.key, first, last),
        ):
            position, path, key, container, duplicate_of, provenance, crops, probe, *plain = row
            sha256, frame = split_key(key) if key else (None, 1)
            fields = dict(zip(PLAIN, plain, strict=True))
            mine = []
            while head is not None and head[0] <= position:
                mine.append(head[1])
                head = next(neighbours, None)
            yield (
                position,
                {
                    "path": load_path(path),
                    "sha256": sha256,
                    "container": None if container is None else load_path(container),
                    "frame": frame if (fields["frames"] or 1) > 1 else None,
                    "duplicate_of": None if duplicate_of is None else load_path(duplicate_of),
                    "provenance": json.loads(provenance),
                    "crops": json.loads(crops),
                    "probe": json.loads(probe),
                    "neighbours": mine,
                    **fields,
                },
            )

    def count(self, info: ScanInfo) -> int:
        """Number of rows of a scan."""
        (count,) = self._database.conn.execute(
            "SELECT COUNT(*) FROM verdicts WHERE scan_id = ?", (info.key,)
        ).fetchone()
        return int(count)

    def tally(self, info: ScanInfo) -> tuple[int, int]:
        """Number of rows of a scan, and of those that are fake."""
        rows, fakes = self._database.conn.execute(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE verdict = 'fake') FROM verdicts"
            " WHERE scan_id = ?",
            (info.key,),
        ).fetchone()
        return int(rows), int(fakes)

    def pairs(self, first: ScanInfo, second: ScanInfo) -> Iterator[tuple[RowFacts, RowFacts]]:
        """Rows of two scans of the same path, in the order of the first scan.

        Where a scan that watched has several rows of a path, the nth of one goes with the nth of
        the other.
        """
        connection = self._database.conn
        columns = [f"{scan}.{column}" for scan in "ab" for column in _FACTS]
        table = f"counterparts_{uuid4().hex}"  # several may be read at a time
        with closing(connection.cursor()) as rows:
            rows.execute(_COUNTERPARTS.format(table))
            rows.execute(
                f"INSERT INTO {table} SELECT path, {_NTH}, position FROM verdicts"  # noqa: S608
                " WHERE scan_id = ?",
                (second.key,),
            )
            try:
                for path, *values in rows.execute(
                    f"SELECT a.path, {', '.join(columns)} FROM"  # noqa: S608
                    f" (SELECT position, path, {', '.join(_FACTS)}, {_NTH} AS nth"
                    " FROM verdicts WHERE scan_id = ?) a"
                    f" JOIN {table} c ON c.path = a.path AND c.nth = a.nth"
                    " JOIN verdicts b ON b.scan_id = ? AND b.position = c.position"
                    " ORDER BY a.position",
                    (first.key, second.key),
                ):
                    loaded, width = load_path(path), len(_FACTS)
                    yield RowFacts(loaded, *values[:width]), RowFacts(loaded, *values[width:])
            finally:
                rows.close()
                with suppress(sqlite3.ProgrammingError):  # the workspace was closed meanwhile
                    connection.execute(f"DROP TABLE temp.{table}")

    def precisions(self, info: ScanInfo) -> list[str]:
        """The precisions in which the rows of a scan were computed."""
        rows = self._database.conn.execute(
            "SELECT DISTINCT precision FROM verdicts WHERE scan_id = ? AND precision IS NOT NULL"
            " ORDER BY precision",
            (info.key,),
        )
        return [precision for (precision,) in rows]

    def only_in(self, first: ScanInfo, second: ScanInfo) -> int:
        """How many rows of the first scan have no counterpart in the second; see :meth:`pairs`."""
        (count,) = self._database.conn.execute(
            "SELECT COALESCE(SUM(MAX(a.rows - COALESCE(b.rows, 0), 0)), 0) FROM"
            " (SELECT path, COUNT(*) AS rows FROM verdicts WHERE scan_id = ? GROUP BY path) a"
            " LEFT JOIN"
            " (SELECT path, COUNT(*) AS rows FROM verdicts WHERE scan_id = ? GROUP BY path) b"
            " ON b.path = a.path",
            (first.key, second.key),
        ).fetchone()
        return int(count)

    def _neighbours(
        self, info: ScanInfo, first: int, last: int
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for (
            position,
            key,
            gallery,
            ordinal,
            label,
            generator,
            source,
            similarity,
        ) in self._database.conn.execute(
            "SELECT n.position, r.id, g.name, r.ordinal, r.label, r.generator, r.source,"
            ' n.similarity FROM neighbours n JOIN "references" r ON r.id = n.reference_id'
            " JOIN galleries g ON g.id = r.gallery_id"
            " WHERE n.scan_id = ? AND n.position BETWEEN ? AND ? ORDER BY n.position, n.rank",
            (info.key, first, last),
        ):
            yield (
                position,
                {
                    "key": key,
                    "id": reference_id(gallery, ordinal),
                    "label": label,
                    "generator": generator,
                    "source": source,
                    "similarity": similarity,
                },
            )

    def _select(self, tail: str, *values: str | int) -> list[sqlite3.Row]:
        return self._database.conn.execute(
            "SELECT id, uuid, started, finished, state, run, summary, gallery_id, generation"  # noqa: S608
            f" FROM scans {tail}",
            values,
        ).fetchall()


def _scan_info(row: sqlite3.Row) -> ScanInfo:
    key, uuid, started, finished, state, run, summary, *gallery = row
    try:
        record = json.loads(run)
        counts = None if summary is None else json.loads(summary)
    except (ValueError, RecursionError) as error:
        raise UnusableWorkspaceError(
            f"the record of scan {key} is damaged ({error})", "restore the workspace from a backup"
        ) from error
    return ScanInfo(key, uuid, started, finished, state, record, counts, *gallery)
