"""A purge that is under way, on record until it is through: where it was cut off, it goes on."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ..errors import UnusableWorkspaceError

PURGE_LEASE = "purge-"
"""Begins the names of the leases that a purge holds."""

GO_ON = "go on with it: code-index purge --resume; or drop it: code-index purge --forget"

LARGEST_KEY = (1 << 63) - 1
"""Of SQLite; as the last scan it means every scan."""

_SETTING = "purge"


@dataclass(frozen=True, slots=True)
class Pending:
    """What was named, and what that was when the purge began.

    Without it, ``latest`` would mean another scan, a name a gallery that was built since, and a
    path what was scanned there since. Where it names nothing, only the clean-up is left.

    Attributes:
        scans: Keys of scans by what named them.
        paths: As they were named.
        galleries: Keys of galleries by their name.
        last_scan: The newest scan that there was; what is in later ones is not meant.
    """

    scans: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    galleries: Mapping[str, list[int]] = field(default_factory=dict)
    last_scan: int = LARGEST_KEY

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Self | None:
        """What is on record; None where every purge is through.

        Raises:
            UnusableWorkspaceError: It is not what a purge has written.
        """
        text = stored(connection)
        if text is None:
            return None
        try:
            return cls._of(json.loads(text))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise UnusableWorkspaceError(
                "the record of a purge that was interrupted is damaged",
                "drop it: code-index purge --forget; then name what should go again",
            ) from error

    @classmethod
    def _of(cls, known: Any) -> Self:
        scans, paths, galleries = known["scans"], known["paths"], known["galleries"]
        last = known.get("last_scan", LARGEST_KEY)
        keys = [*scans.values(), *(key for every in galleries.values() for key in every), last]
        if not (
            isinstance(paths, list)
            and all(isinstance(path, str) for path in paths)
            and all(type(key) is int and 0 <= key <= LARGEST_KEY for key in keys)
        ):
            raise ValueError("neither paths nor keys")
        return cls(scans, tuple(paths), galleries, last)

    def write(self, connection: sqlite3.Connection) -> None:
        """Put it on record, in place of what was there, within a transaction."""
        text = json.dumps(
            {
                "scans": self.scans,
                "paths": self.paths,
                "galleries": self.galleries,
                "last_scan": self.last_scan,
            }
        )
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (_SETTING, text))

    @staticmethod
    def clear(connection: sqlite3.Connection) -> None:
        """Take it from the record: the purge is through."""
        connection.execute("DELETE FROM settings WHERE key = ?", (_SETTING,))

    def in_words(self) -> str:
        """What was named."""
        names = (
            *(f"scan {key}" for key in self.scans.values()),
            *self.paths,
            *(f"gallery {name}" for name in self.galleries),
        )
        return ", ".join(names) or "the clean-up after what went"


def stored(connection: sqlite3.Connection) -> str | None:
    """The record as it is stored, whether or not it can be read."""
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (_SETTING,)).fetchone()
    return None if row is None else row[0]
