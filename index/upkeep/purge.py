"""Removes scans, paths and galleries for good, and everything that was known only through them."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ..database import writing
from ..errors import WorkspaceError
from ..leases import Leases
from ..scans import ScanInfo, Scans
from ..searching.faiss_files import FaissFiles
from ..sqlite import Database
from .purge_paths import by_scan, files_within, ids_under, rows_pointing, rows_under
from .purge_plan import Purged, PurgePlan, PurgeRequest
from .purge_scan import Cut, Summarise, restate, write_restated

BUILD_LEASE = "build-"
"""Begins the names of the leases that a build of a gallery holds."""

_CHUNK = 5000
"""Rows a transaction, so that a scan that runs meanwhile waits for no longer than these take. What
goes from a scan that stays goes in one, with its new counts: some seconds for 100,000 rows."""

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
    A scan that loses rows and stays is counted again, and its run record says so in ``purged``.
    """

    def __init__(
        self,
        database: Database,
        scans: Scans,
        files: FaissFiles,
        leases: Leases,
        summarise: Summarise,
    ) -> None:
        self._database = database
        self._connection: sqlite3.Connection = database.conn
        self._scans = scans
        self._files = files
        self._leases = leases
        self._summarise = summarise

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
        found = self._rows_under(prefixes)
        notes = [
            f"scan {key} is running: its rows stay until a later purge"
            for key in sorted(found.keys() & alive.keys())
        ]
        notes += [
            f"{len(cited)} references of galleries come from {prefix}: they go only with their"
            " gallery"
            for prefix in prefixes
            if (cited := ids_under(self._connection, '"references"', prefix))
        ]
        others = sorted(found.keys() - alive.keys() - scans.keys())
        emptied = [key for key in others if self._is_all_of(key, found[key])]
        galleries: list[int] = []
        for name in request.galleries:
            galleries += self._galleries(name)
        references = self._count_in('"references"', "gallery_id", galleries)
        return PurgePlan(
            scans=tuple(scans.values()),
            prefixes=tuple(prefixes),
            rows=sum(len(found[key]) for key in others),
            emptied=tuple(self._scans.info(str(key)) for key in emptied),
            galleries=tuple(galleries),
            references=references,
            notes=tuple(notes),
        )

    def carry_out(self, plan: PurgePlan) -> Purged:
        """Remove what was planned. Interrupted, the same request goes on where it stopped."""
        done = Purged(notes=plan.notes)
        for info in plan.scans:
            self._remove_scan(info.key, done)
        self._remove_paths(plan.prefixes, done)
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
        found = [
            spelling
            for spelling in spellings
            if rows_under(self._connection, spelling)
            or ids_under(self._connection, "files", spelling)
        ]
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

    def _remove_paths(self, prefixes: Sequence[str], done: Purged) -> None:
        rows = self._rows_under(prefixes)
        pointing = by_scan(
            row for prefix in prefixes for row in rows_pointing(self._connection, prefix)
        )
        alive = {info.key for info in self._scans.alive()}
        for key in sorted((rows.keys() | pointing.keys()) - alive):
            if self._is_all_of(key, rows.get(key, set())):
                # It would still name the path that it was asked for.
                self._remove_scan(key, done)
            else:
                self._cut(key, Cut(rows.get(key, set()), pointing.get(key, set())), done)
        for prefix in prefixes:
            self._delete_files(files_within(self._connection, prefix), done)

    def _cut(self, key: int, cut: Cut, done: Purged) -> None:
        """Take rows from a scan that stays: in one transaction, so that it never says otherwise."""
        restated = restate(self._scans, self._scans.info(str(key)), cut, self._summarise)
        with writing(self._database) as connection:
            write_restated(connection, self._scans, restated)
            connection.executemany(
                "DELETE FROM verdicts WHERE scan_id = ? AND position = ?",
                [(key, position) for position in sorted(cut.rows)],
            )
            connection.executemany(
                "UPDATE verdicts SET duplicate_of = NULL WHERE scan_id = ? AND position = ?",
                [(key, position) for position in sorted(cut.pointing)],
            )
        done.rows += len(cut.rows)

    def _remove_gallery(self, key: int, done: Purged) -> None:
        compared = self._compared_with(key)
        restated = [
            restate(self._scans, info, Cut(gallery=True), self._summarise) for info in compared
        ]
        with writing(self._database) as connection:
            self._refuse_used([key])
            if self._compared_with(key) != compared:
                raise WorkspaceError(
                    "a scan has compared with this gallery meanwhile",
                    "run the same command again: it goes on",
                )
            for new in restated:
                write_restated(connection, self._scans, new)
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

    def _rows_under(self, prefixes: Sequence[str]) -> dict[int, set[int]]:
        return by_scan(row for prefix in prefixes for row in rows_under(self._connection, prefix))

    def _is_all_of(self, key: int, positions: set[int]) -> bool:
        return len(positions) == self._count_in("verdicts", "scan_id", [key])

    def _compared_with(self, gallery: int) -> list[ScanInfo]:
        return [info for info in self._scans.all() if info.gallery_key == gallery]

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
