"""Removes scans, paths and galleries for good, and everything that was known only through them."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..database import writing
from ..errors import WorkspaceError
from ..gallery_keys import keep_last_key
from ..leases import Leases
from ..scans import ScanInfo, Scans
from ..searching.faiss_files import FaissFiles
from ..sqlite import Database
from .purge_paths import by_scan, files_within, ids_under, lies_in, rows_pointing, rows_under
from .purge_pending import Pending
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

    What was named is on record until all of that is done, so that a purge that was cut off goes on
    where nothing that it was for can be seen any more.
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

        Names of a purge that was interrupted mean what they meant then, gone or not. Without any
        name that purge is meant.

        Raises:
            WorkspaceError: Something is not on record, or is in use.
        """
        pending = Pending.read(self._connection)
        if not (request.scans or request.paths or request.galleries):
            if not pending:
                raise WorkspaceError(
                    "nothing is named that should go", "name it with --scan, --path or --gallery"
                )
            request = PurgeRequest(tuple(pending.scans), pending.paths, tuple(pending.galleries))
        self._refuse_while_building()
        alive = {info.key for info in self._scans.alive()}
        scans = {text: self._scan(text, pending) for text in request.scans}
        left = {info.key: info for _, info in scans.values() if info is not None}
        for key in left.keys() & alive:
            raise WorkspaceError(
                f"scan {key} is running", "interrupt it with Ctrl-C, then purge it"
            )
        places = {path: self._spellings(path, pending) for path in request.paths}
        prefixes = [spelling for found in places.values() for spelling in found]
        rows = self._rows_under(prefixes)
        notes = [
            f"scan {key} is running: its rows stay until a later purge"
            for key in sorted(rows.keys() & alive)
        ]
        notes += [
            f"{len(cited)} references of galleries come from {prefix}: they go only with their"
            " gallery"
            for prefix in prefixes
            if (cited := ids_under(self._connection, '"references"', prefix))
        ]
        others = sorted(rows.keys() - alive - left.keys())
        emptied = [key for key in others if self._is_all_of(key, rows[key])]
        naming = self._naming(prefixes) - alive - left.keys() - set(emptied)
        galleries = {name: self._galleries(name, pending) for name in request.galleries}
        keys = [key for every in galleries.values() for key in every if self._has_gallery(key)]
        return PurgePlan(
            scans=tuple(left.values()),
            prefixes=tuple(prefixes),
            rows=sum(len(rows[key]) for key in others),
            naming=len(naming),
            emptied=tuple(self._scans.info(str(key)) for key in emptied),
            galleries=tuple(keys),
            references=self._count_in('"references"', "gallery_id", keys),
            notes=tuple(notes),
            named=Pending(
                {text: key for text, (key, _) in scans.items()}, request.paths, galleries
            ),
            gone=(
                *(f"scan {key}" for key, info in scans.values() if info is None),
                *(f"what was at {path!r}" for path, found in places.items() if not found),
                *(f"gallery {n}" for n, every in galleries.items() if not {*every} & {*keys}),
            ),
        )

    def carry_out(self, plan: PurgePlan) -> Purged:
        """Remove what was planned. Interrupted, the same request goes on where it stopped."""
        done = Purged(notes=plan.notes)
        with writing(self._database) as connection:
            self._refuse_while_building()
            Pending.read(connection).with_(plan.named).write(connection)
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
        self._empty_log()
        with writing(self._database) as connection:
            Pending.read(connection).without(plan.named).write(connection)
        if not self._empty_log():
            done.notes += (
                "another process is reading: the write-ahead log still holds what went; run any"
                " purge again when it has finished",
            )
        return done

    def _refuse_while_building(self) -> None:
        if self._leases.all_held(BUILD_LEASE):
            raise WorkspaceError(
                "a gallery is being built or added to in this workspace",
                "purge when that has finished",
            )

    def _scan(self, text: str, pending: Pending) -> tuple[int, ScanInfo | None]:
        """The scan that a text names, by its key too; None where an interrupted purge took it."""
        key = pending.scans.get(text)
        if key is None:
            info = self._scans.info(text)
            return info.key, info
        with suppress(WorkspaceError):
            return key, self._scans.info(str(key))
        return key, None

    def _spellings(self, path: str, pending: Pending) -> list[str]:
        """A path as it stands on record; none where an interrupted purge took it."""
        found = [spelling for spelling in _spellings(path) if self._is_on_record(spelling)]
        if not found and path not in pending.paths:
            raise WorkspaceError(
                f"nothing at {path!r} is on record",
                "name it as it stands in the reports: relative, if it was scanned so",
            )
        return found

    def _is_on_record(self, spelling: str) -> bool:
        return bool(
            rows_under(self._connection, spelling)
            or files_within(self._connection, spelling)
            or rows_pointing(self._connection, spelling)
            or self._naming([spelling])
        )

    def _naming(self, prefixes: Sequence[str]) -> set[int]:
        """The scans that were asked for something there, whether or not it has a row."""
        return {
            info.key
            for info in self._scans.all()
            if any(lies_in(path, prefixes) for path in info.run["arguments"]["paths"])
        }

    def _galleries(self, name: str, pending: Pending) -> list[int]:
        keys = pending.galleries.get(name) or [
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

    def _has_gallery(self, key: int) -> bool:
        return self._count_in("galleries", "id", [key]) > 0

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
        """Remove a scan, which is there up to its last rows: they go with it."""
        while (rows := self._count_in("verdicts", "scan_id", [key])) > _CHUNK:
            with writing(self._database) as connection:
                done.rows += connection.execute(
                    "DELETE FROM verdicts WHERE scan_id = ? AND position IN"
                    " (SELECT position FROM verdicts WHERE scan_id = ? LIMIT ?)",
                    (key, key, _CHUNK),
                ).rowcount
        with writing(self._database) as connection:
            done.scans += connection.execute("DELETE FROM scans WHERE id = ?", (key,)).rowcount
            done.rows += rows

    def _remove_paths(self, prefixes: Sequence[str], done: Purged) -> None:
        rows = self._rows_under(prefixes)
        pointing = by_scan(
            row for prefix in prefixes for row in rows_pointing(self._connection, prefix)
        )
        alive = {info.key for info in self._scans.alive()}
        for key in sorted((rows.keys() | pointing.keys() | self._naming(prefixes)) - alive):
            if self._is_all_of(key, rows.get(key, set())):
                # Nothing is left that it could be asked about.
                self._remove_scan(key, done)
            else:
                cut = Cut(rows.get(key, set()), pointing.get(key, set()), paths=prefixes)
                self._cut(key, cut, done)
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
        done.mentions += restated.paths

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
            keep_last_key(connection)
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
        """Give the space back."""
        if self._scans.alive():
            done.notes += (
                "a scan is running: what went is overwritten, but the database keeps its size"
                " until a later purge",
            )
        else:
            self._connection.execute("VACUUM")

    def _empty_log(self) -> bool:
        """Empty the write-ahead log, which holds old pages; whether nobody was in the way."""
        (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _delete_files(self, keys: Sequence[int], done: Purged) -> None:
        for first in range(0, len(keys), _CHUNK):
            part = [(key,) for key in keys[first : first + _CHUNK]]
            with writing(self._database) as connection:
                done.files += _delete(connection, "files", "id", part)

    def _rows_under(self, prefixes: Sequence[str]) -> dict[int, set[int]]:
        return by_scan(row for prefix in prefixes for row in rows_under(self._connection, prefix))

    def _is_all_of(self, key: int, positions: set[int]) -> bool:
        return bool(positions) and len(positions) == self._count_in("verdicts", "scan_id", [key])

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


def _spellings(path: str) -> list[str]:
    """How a path may stand on record: a scan of ``.`` writes ``./photos`` for ``photos``.

    As it was named it may stand there too: of an address nothing can be left out.
    """
    if not path:  # as of a variable that is not set: it does not mean this directory
        return []
    plain = os.path.normpath(path)
    every = [path, plain]
    if not Path(plain).is_absolute():
        every.append(f"{os.curdir}{os.sep}{plain}")
    return list(dict.fromkeys(every))


def _delete(
    connection: sqlite3.Connection, table: str, column: str, keys: Sequence[tuple[int]]
) -> int:
    if not keys:
        return 0
    statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608
    return connection.executemany(statement, keys).rowcount
