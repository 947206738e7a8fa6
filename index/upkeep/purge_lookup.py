"""What is on record of paths, scans and galleries that are to be purged; nothing is changed."""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ..errors import WorkspaceError
from ..leases import Leases
from ..scans import ScanInfo, Scans
from .purge_paths import by_scan, files_within, lies_in, rows_pointing, rows_under
from .purge_pending import LARGEST_KEY, PURGE_LEASE

BUILD_LEASE = "build-"
"""Begins the names of the leases that a build of a gallery holds."""


class OnRecord:
    """Looks up what a purge is about; scans after a last one are left out where one is given."""

    def __init__(self, connection: sqlite3.Connection, scans: Scans, leases: Leases) -> None:
        self._connection = connection
        self._scans = scans
        self._leases = leases

    def refuse_while_purging(self) -> None:
        """Raise a WorkspaceError while another process purges."""
        if self._leases.all_held(PURGE_LEASE):
            raise WorkspaceError("another purge is running in this workspace", "wait for it to end")

    def refuse_while_building(self) -> None:
        """Raise a WorkspaceError while a gallery is built: what it has embedded is nobody's yet."""
        if self._leases.all_held(BUILD_LEASE):
            raise WorkspaceError(
                "a gallery is being built or added to in this workspace",
                "purge when that has finished",
            )

    def spellings(self, path: str) -> list[str]:
        """A path as it stands on record."""
        return [spelling for spelling in _spellings(path) if self.is_on_record(spelling)]

    def is_on_record(self, spelling: str) -> bool:
        """Whether a row, a file or what a scan was asked for lies there, or a row points there."""
        return bool(
            rows_under(self._connection, spelling)
            or files_within(self._connection, spelling, LARGEST_KEY)
            or rows_pointing(self._connection, spelling)
            or self.naming([spelling], LARGEST_KEY)
        )

    def naming(self, prefixes: Sequence[str], last_scan: int) -> set[int]:
        """The scans that were asked for something there, whether or not it has a row."""
        return {
            info.key
            for info in self._scans.all()
            if info.key <= last_scan
            and any(lies_in(path, prefixes) for path in info.run["arguments"]["paths"])
        }

    def galleries(self, name: str) -> list[int]:
        """Keys of the galleries that have or had a name.

        Raises:
            WorkspaceError: There are none.
        """
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
        return keys

    def is_there(self, gallery: int) -> bool:
        """Whether a gallery, in force or removed, is still on record."""
        return self.count_in("galleries", "id", [gallery]) > 0

    def refuse_used(self, galleries: Sequence[int]) -> None:
        """Raise a WorkspaceError while a scan compares with one of some galleries."""
        for info in self._scans.alive():
            (used,) = self._connection.execute(
                "SELECT gallery_id FROM scans WHERE id = ?", (info.key,)
            ).fetchone()
            if used in galleries:
                raise WorkspaceError(
                    f"scan {info.key} is running and compares with this gallery",
                    "interrupt it with Ctrl-C, or wait for it",
                )

    def rows_under(self, prefixes: Sequence[str], last_scan: int) -> dict[int, set[int]]:
        """Rows of files there, by scan."""
        return by_scan(
            row
            for prefix in prefixes
            for row in rows_under(self._connection, prefix)
            if row[0] <= last_scan
        )

    def is_all_of(self, key: int, positions: set[int]) -> bool:
        """Whether some rows are all that a scan has."""
        return bool(positions) and len(positions) == self.count_in("verdicts", "scan_id", [key])

    def compared_with(self, gallery: int) -> list[ScanInfo]:
        """The scans that a gallery judged."""
        return [info for info in self._scans.all() if info.gallery_key == gallery]

    def count_in(self, table: str, column: str, keys: Sequence[int]) -> int:
        """Count the rows of a table that have one of some values in a column."""
        return sum(
            self._connection.execute(
                f"SELECT COUNT(*) FROM {table} WHERE {column} = ?",  # noqa: S608
                (key,),
            ).fetchone()[0]
            for key in keys
        )

    def pointing(self, prefixes: Sequence[str], last_scan: int) -> dict[int, set[int]]:
        """Rows that name a file there as their first copy, by scan."""
        return by_scan(
            row
            for prefix in prefixes
            for row in rows_pointing(self._connection, prefix)
            if row[0] <= last_scan
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
