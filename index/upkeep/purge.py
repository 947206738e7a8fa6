"""Removes scans, paths and galleries for good, and everything that was known only through them."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ..database import writing
from ..errors import WorkspaceError
from ..leases import Leases
from ..scans import Scans
from ..searching.faiss_files import FaissFiles
from ..sqlite import Database
from .purge_plan import Purged, PurgePlan, PurgeRequest

BUILD_LEASE = "build-"
"""Begins the names of the leases that a build of a gallery holds."""

_CHUNK = 5000
"""Rows a transaction: a scan that runs meanwhile waits for no longer than these take."""

_UNDER = "(CAST({0} AS BLOB) = ? OR substr(CAST({0} AS BLOB), 1, ?) = ?)"
"""Whether a path is a given one, or lies below it; text and undecodable bytes alike."""

_WITHIN = f"({_UNDER} OR CAST(container AS BLOB) = ?)"
"""The same, and what lies within a file: members of an archive, further frames."""

_UNUSED_FILES = (
    "SELECT f.id FROM files f JOIN contents c ON c.id = f.content_id"
    " WHERE f.path NOT IN (SELECT path FROM verdicts)"
    ' AND c.sha256 NOT IN (SELECT sha256 FROM "references" WHERE sha256 IS NOT NULL)'
)
_UNUSED_CONTENTS = (
    "SELECT id FROM contents c WHERE id > ? AND id <= ? AND NOT EXISTS (SELECT 1"
    " FROM scans s CROSS JOIN verdicts v ON v.scan_id = s.id AND v.sha256 = c.sha256)"
    ' AND sha256 NOT IN (SELECT sha256 FROM "references" WHERE sha256 IS NOT NULL)'
)


class Purger:
    """Removes things from one workspace.

    Deleted rows are overwritten (``secure_delete``), the database is compacted, and the
    write-ahead log and the FAISS files go. Backups that were made before keep what they hold.
    """

    def __init__(self, database: Database, scans: Scans, files: FaissFiles, leases: Leases) -> None:
        self._database = database
        self._connection: sqlite3.Connection = database.conn
        self._scans = scans
        self._files = files
        self._leases = leases

    def plan(self, request: PurgeRequest) -> PurgePlan:
        """Look up what a request comes to; nothing is changed.

        Raises:
            WorkspaceError: Something is not on record, or is in use.
        """
        if not (request.scans or request.paths or request.galleries):
            raise WorkspaceError(
                "nothing is named that should go", "name it with --scan, --path or --gallery"
            )
        self._refuse_while_building()
        alive = {info.key: info for info in self._scans.alive()}
        scans = {info.key: info for info in map(self._scans.info, request.scans)}
        for key in scans.keys() & alive.keys():
            raise WorkspaceError(
                f"scan {key} is running", "interrupt it with Ctrl-C, then purge it"
            )
        prefixes = [spelling for path in request.paths for spelling in self._spellings(path)]
        notes = []
        rows = 0
        for prefix in prefixes:
            found = self._rows_under(prefix)
            left = sorted({scan for scan, _ in found} & alive.keys())
            notes += [f"scan {key} is running: its rows stay until a later purge" for key in left]
            if cited := self._ids_under('"references"', prefix):
                notes.append(
                    f"{len(cited)} references of galleries come from {prefix}: they go only"
                    " with their gallery"
                )
            rows += sum(scan not in alive and scan not in scans for scan, _ in found)
        galleries: list[int] = []
        for name in request.galleries:
            galleries += self._galleries(name)
        references = self._count_in('"references"', "gallery_id", galleries)
        return PurgePlan(
            tuple(scans.values()), tuple(prefixes), rows, tuple(galleries), references, tuple(notes)
        )

    def carry_out(self, plan: PurgePlan) -> Purged:
        """Remove what was planned. Interrupted, the same request goes on where it stopped."""
        done = Purged(notes=plan.notes)
        for info in plan.scans:
            self._remove_scan(info.key, done)
        for prefix in plan.prefixes:
            self._remove_paths(prefix, done)
        for key in plan.galleries:
            self._remove_gallery(key, done)
        self._remove_unused(done)
        with writing(self._database):
            self._files.forget_all()
        self._files.sweep()
        self._compact(done)
        return done

    def _refuse_while_building(self) -> None:
        if self._leases.all_held(BUILD_LEASE):
            raise WorkspaceError(
                "a gallery is being built or added to in this workspace",
                "purge when that has finished",
            )

    def _spellings(self, path: str) -> list[str]:
        """A path as it stands on record: a scan of ``.`` writes ``./photos`` for ``photos``."""
        plain = os.path.normpath(path)
        spellings = [plain] if Path(plain).is_absolute() else [plain, f"{os.curdir}{os.sep}{plain}"]
        found = [s for s in spellings if self._rows_under(s) or self._ids_under("files", s)]
        if not found:
            raise WorkspaceError(
                f"nothing at {plain!r} is on record",
                "name it as it stands in the reports: relative, if it was scanned so",
            )
        return found

    def _galleries(self, name: str) -> list[int]:
        keys = [
            key
            for (key,) in self._connection.execute(
                "SELECT id FROM galleries WHERE name = ? ORDER BY id", (name,)
            )
        ]
        if not keys:
            raise WorkspaceError(
                f"there is no gallery {name!r}, nor was there one",
                "see the galleries with: code-index list",
            )
        self._refuse_used(keys)
        return keys

    def _refuse_used(self, galleries: Sequence[int]) -> None:
        for info in self._scans.alive():
            (used,) = self._connection.execute(
                "SELECT gallery_id FROM scans WHERE id = ?", (info.key,)
            ).fetchone()
            if used in galleries:
                raise WorkspaceError(
                    f"scan {info.key} is running and compares with this gallery",
                    "interrupt it with Ctrl-C, or wait for it",
                )

    def _remove_scan(self, key: int, done: Purged) -> None:
        while self._delete_rows(
            [
                (key, position)
                for (position,) in self._connection.execute(
                    "SELECT position FROM verdicts WHERE scan_id = ? LIMIT ?", (key, _CHUNK)
                )
            ],
            done,
        ):
            pass
        with writing(self._database) as connection:
            done.scans += connection.execute("DELETE FROM scans WHERE id = ?", (key,)).rowcount

    def _remove_paths(self, prefix: str, done: Purged) -> None:
        alive = {info.key for info in self._scans.alive()}
        rows = [row for row in self._rows_under(prefix) if row[0] not in alive]
        for first in range(0, len(rows), _CHUNK):
            self._delete_rows(rows[first : first + _CHUNK], done)
        pointing = [row for row in self._rows_pointing(prefix) if row[0] not in alive]
        for first in range(0, len(pointing), _CHUNK):
            with writing(self._database) as connection:
                connection.executemany(
                    "UPDATE verdicts SET duplicate_of = NULL WHERE scan_id = ? AND position = ?",
                    pointing[first : first + _CHUNK],
                )
        self._delete_files(self._files_within(prefix), done)
        for key in sorted({scan for scan, _ in rows}):
            # A scan of which nothing is left still names the path that it was asked for.
            if not self._count_in("verdicts", "scan_id", [key]):
                self._remove_scan(key, done)

    def _remove_gallery(self, key: int, done: Purged) -> None:
        with writing(self._database) as connection:
            self._refuse_used([key])
            done.references += self._count_in('"references"', "gallery_id", [key])
            connection.execute(
                "DELETE FROM settings WHERE key = 'gallery' AND value ="
                " (SELECT name FROM galleries WHERE id = ? AND removed IS NULL)",
                (key,),
            )
            # Without it each reference would search all neighbours for those that cite it.
            connection.execute("CREATE INDEX for_purge ON neighbours(reference_id)")
            done.galleries += connection.execute(
                "DELETE FROM galleries WHERE id = ?", (key,)
            ).rowcount
            connection.execute("DROP INDEX for_purge")

    def _remove_unused(self, done: Purged) -> None:
        """Remove what no row of a scan and no reference of a gallery stands for any more."""
        unused = [key for (key,) in self._connection.execute(_UNUSED_FILES)]
        self._delete_files(unused, done)
        (last,) = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM contents").fetchone()
        for first in range(0, last, _CHUNK):
            with writing(self._database) as connection:
                self._refuse_while_building()
                keys = connection.execute(_UNUSED_CONTENTS, (first, first + _CHUNK)).fetchall()
                done.embeddings += _delete(connection, "embeddings", "content_id", keys)
                done.contents += _delete(connection, "contents", "id", keys)

    def _compact(self, done: Purged) -> None:
        """Give the space back, and empty the write-ahead log, which holds old pages."""
        if self._scans.alive():
            done.notes += (
                "a scan is running: what went is overwritten, but the database keeps its size"
                " until a later purge",
            )
        else:
            self._connection.execute("VACUUM")
        (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            done.notes += (
                "another process is reading: the write-ahead log still holds what went; run any"
                " purge again when it has finished",
            )

    def _delete_rows(self, rows: Sequence[tuple[int, int]], done: Purged) -> int:
        with writing(self._database) as connection:
            count = connection.executemany(
                "DELETE FROM verdicts WHERE scan_id = ? AND position = ?", rows
            ).rowcount
        done.rows += max(count, 0)
        return len(rows)

    def _delete_files(self, keys: Sequence[int], done: Purged) -> None:
        for first in range(0, len(keys), _CHUNK):
            part = [(key,) for key in keys[first : first + _CHUNK]]
            with writing(self._database) as connection:
                done.files += _delete(connection, "files", "id", part)

    def _rows_under(self, prefix: str) -> list[tuple[int, int]]:
        return self._connection.execute(
            f"SELECT scan_id, position FROM verdicts WHERE {_WITHIN.format('path')}",  # noqa: S608
            (*_under(prefix), os.fsencode(prefix)),
        ).fetchall()

    def _rows_pointing(self, prefix: str) -> list[tuple[int, int]]:
        """Rows that call something there their first copy; its members count as below a file."""
        members = "substr(CAST(duplicate_of AS BLOB), 1, ?) = ?"
        inside = [os.fsencode(prefix) + mark for mark in (b"!/", b"#frame=")]
        return self._connection.execute(
            "SELECT scan_id, position FROM verdicts"  # noqa: S608
            f" WHERE {_UNDER.format('duplicate_of')} OR {members} OR {members}",
            (*_under(prefix), *(value for part in inside for value in (len(part), part))),
        ).fetchall()

    def _ids_under(self, table: str, prefix: str) -> list[int]:
        rows = self._connection.execute(
            f"SELECT id FROM {table} WHERE {_UNDER.format('path')}",  # noqa: S608
            _under(prefix),
        )
        return [key for (key,) in rows]

    def _files_within(self, prefix: str) -> list[int]:
        rows = self._connection.execute(
            f"SELECT id FROM files WHERE {_WITHIN.format('path')}",  # noqa: S608
            (*_under(prefix), os.fsencode(prefix)),
        )
        return [key for (key,) in rows]

    def _count_in(self, table: str, column: str, keys: Sequence[int]) -> int:
        return sum(
            self._connection.execute(
                f"SELECT COUNT(*) FROM {table} WHERE {column} = ?",  # noqa: S608
                (key,),
            ).fetchone()[0]
            for key in keys
        )


def _delete(
    connection: sqlite3.Connection, table: str, column: str, keys: Sequence[tuple[int]]
) -> int:
    if not keys:
        return 0
    statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608
    return connection.executemany(statement, keys).rowcount


def _under(prefix: str) -> tuple[bytes, int, bytes]:
    exact = os.fsencode(prefix)
    below = os.fsencode(prefix.rstrip(os.sep) + os.sep)
    return exact, len(below), below
