"""Removes scans, paths and galleries for good, and everything that was known only through them."""

import sqlite3
from collections.abc import Sequence
from uuid import uuid4

from ..database import writing
from ..errors import WorkspaceError
from ..gallery_keys import keep_last_key
from ..leases import Leases
from ..scans import Scans
from ..searching.faiss_files import FaissFiles
from ..sqlite import Database
from .purge_lookup import OnRecord
from .purge_paths import files_within, ids_under
from .purge_pending import GO_ON, PURGE_LEASE, Pending, stored
from .purge_plan import Purged, PurgePlan, PurgeRequest
from .purge_scan import Cut, Summarise, restate, write_restated

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

    What was named is on record until all of that is gone, so that a purge that was cut off goes on
    where nothing that it was for can be seen any more; and that one is under way, until it is out
    of the log too.
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
        self._on_record = OnRecord(database.conn, scans, leases)

    def plan(self, request: PurgeRequest) -> PurgePlan:
        """Look up what a request comes to; nothing is changed.

        Raises:
            WorkspaceError: Something is not on record, or is in use; or another purge was
                interrupted, and is first to be gone on with or dropped.
        """
        self._on_record.refuse_while_purging()
        pending = Pending.read(self._connection)
        if pending is not None:
            raise WorkspaceError(f"a purge was interrupted: {pending.in_words()}", GO_ON)
        if not (request.scans or request.paths or request.galleries):
            raise WorkspaceError(
                "nothing is named that should go", "name it with --scan, --path or --gallery"
            )
        named = Pending(
            {text: self._scans.info(text).key for text in request.scans},
            request.paths,
            {name: self._on_record.galleries(name) for name in request.galleries},
            max((info.key for info in self._scans.all()), default=0),
        )
        for path in request.paths:
            if not self._on_record.spellings(path):
                raise WorkspaceError(
                    f"nothing at {path!r} is on record",
                    "name it as it stands in the reports: relative, if it was scanned so",
                )
        return self._plan(named, None)

    def resume(self, forget: bool = False) -> PurgePlan:
        """Look up what is left of a purge that was interrupted; nothing is changed.

        Names mean what they meant then, and scans that began later are left as they are.

        Args:
            forget: Take nothing more of what was named: only what nothing refers to any more is
                removed.

        Raises:
            WorkspaceError: None was interrupted, or something is in use.
        """
        self._on_record.refuse_while_purging()
        text = stored(self._connection)
        named = Pending() if forget else Pending.read(self._connection)
        if text is None or named is None:
            raise WorkspaceError(
                "no purge was interrupted",
                "name what should go with --scan, --path or --gallery",
            )
        return self._plan(named, text)

    def _plan(self, named: Pending, instead_of: str | None) -> PurgePlan:
        self._on_record.refuse_while_building()
        every = self._scans.all()
        alive = {info.key for info in self._scans.alive()}
        scans = {info.key: info for info in every if info.key in named.scans.values()}
        for key in scans.keys() & alive:
            raise WorkspaceError(
                f"scan {key} is running", "interrupt it with Ctrl-C, then purge it"
            )
        look = self._on_record
        prefixes = [spelling for path in named.paths for spelling in look.spellings(path)]
        rows = look.rows_under(prefixes, named.last_scan)
        naming = look.naming(prefixes, named.last_scan)
        notes = [
            f"scan {key} is running: its rows stay until a later purge, and what it was asked for"
            for key in sorted((rows.keys() | naming) & alive)
        ]
        notes += [
            f"{len(cited)} references of galleries come from {prefix}: they go only with their"
            " gallery"
            for prefix in prefixes
            if (cited := ids_under(self._connection, '"references"', prefix))
        ]
        others = sorted(rows.keys() - alive - scans.keys())
        emptied = [key for key in others if look.is_all_of(key, rows[key])]
        keys = [key for found in named.galleries.values() for key in found if look.is_there(key)]
        look.refuse_used(keys)
        return PurgePlan(
            scans=tuple(scans.values()),
            prefixes=tuple(prefixes),
            rows=sum(len(rows[key]) for key in others),
            naming=len(naming - alive - scans.keys() - set(emptied)),
            emptied=tuple(self._scans.info(str(key)) for key in emptied),
            galleries=tuple(keys),
            references=look.count_in('"references"', "gallery_id", keys),
            notes=tuple(notes),
            named=named,
            instead_of=instead_of,
        )

    def carry_out(self, plan: PurgePlan) -> Purged:
        """Remove what was planned. Interrupted, it goes on with a plan of :meth:`resume`."""
        done = Purged(notes=plan.notes)
        lease = f"{PURGE_LEASE}{uuid4()}"
        try:
            with writing(self._database) as connection:
                self._on_record.refuse_while_building()
                self._on_record.refuse_while_purging()
                if stored(connection) != plan.instead_of:
                    raise WorkspaceError(
                        "another purge has begun or ended meanwhile", "run the same command again"
                    )
                self._leases.take(lease)
                plan.named.write(connection)
            self._remove(plan, done)
        finally:
            self._leases.give_back(lease)
        return done

    def _remove(self, plan: PurgePlan, done: Purged) -> None:
        for info in plan.scans:
            self._remove_scan(info.key, done)
        self._remove_paths(plan.prefixes, plan.named.last_scan, done)
        for key in plan.galleries:
            self._remove_gallery(key, done)
        self._remove_unused(done)
        with writing(self._database):
            self._files.forget_all()
        self._files.sweep()
        with writing(self._database) as connection:
            Pending().write(connection)  # the names go too, before the last pages that held them
        self._compact(done)
        if not self._empty_log():
            done.notes += (
                "another process is reading: the write-ahead log still holds what went; when it"
                " has finished: code-index purge --resume",
            )
            return
        with writing(self._database) as connection:
            Pending.clear(connection)

    def _remove_scan(self, key: int, done: Purged) -> None:
        """Remove a scan, which is there up to its last rows: they go with it."""
        while self._has_many(key):
            with writing(self._database) as connection:
                done.rows += connection.execute(
                    "DELETE FROM verdicts WHERE scan_id = ? AND position IN"
                    " (SELECT position FROM verdicts WHERE scan_id = ? LIMIT ?)",
                    (key, key, _CHUNK),
                ).rowcount
        with writing(self._database) as connection:
            done.rows += self._on_record.count_in("verdicts", "scan_id", [key])
            done.scans += connection.execute("DELETE FROM scans WHERE id = ?", (key,)).rowcount

    def _has_many(self, scan: int) -> bool:
        """Whether a scan has more rows than a chunk; counting them all takes longer each time."""
        row = self._connection.execute(
            "SELECT 1 FROM verdicts WHERE scan_id = ? LIMIT 1 OFFSET ?", (scan, _CHUNK)
        ).fetchone()
        return row is not None

    def _remove_paths(self, prefixes: Sequence[str], last_scan: int, done: Purged) -> None:
        rows = self._on_record.rows_under(prefixes, last_scan)
        pointing = self._on_record.pointing(prefixes, last_scan)
        alive = {info.key for info in self._scans.alive()}
        naming = self._on_record.naming(prefixes, last_scan)
        for key in sorted((rows.keys() | pointing.keys() | naming) - alive):
            if self._on_record.is_all_of(key, rows.get(key, set())):
                # Nothing is left that it could be asked about.
                self._remove_scan(key, done)
            else:
                cut = Cut(rows.get(key, set()), pointing.get(key, set()), paths=prefixes)
                self._cut(key, cut, done)
        for prefix in prefixes:
            self._delete_files(files_within(self._connection, prefix, last_scan), done)

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
        compared = self._on_record.compared_with(key)
        restated = [
            restate(self._scans, info, Cut(gallery=True), self._summarise) for info in compared
        ]
        with writing(self._database) as connection:
            self._on_record.refuse_used([key])
            if self._on_record.compared_with(key) != compared:
                raise WorkspaceError(
                    "a scan has compared with this gallery meanwhile",
                    GO_ON,
                )
            for new in restated:
                write_restated(connection, self._scans, new)
            done.references += self._on_record.count_in('"references"', "gallery_id", [key])
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
                self._on_record.refuse_while_building()
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


def _delete(
    connection: sqlite3.Connection, table: str, column: str, keys: Sequence[tuple[int]]
) -> int:
    if not keys:
        return 0
    statement = f"DELETE FROM {table} WHERE {column} = ?"  # noqa: S608
    return connection.executemany(statement, keys).rowcount
