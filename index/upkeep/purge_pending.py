"""A purge that is under way, on record until it is through: where it was cut off, it goes on."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

_SETTING = "purge"


@dataclass(frozen=True, slots=True)
class Pending:
    """What was named, and what that was when the purge began.

    Without it, ``latest`` would mean another scan, and a name a gallery that was built since.

    Attributes:
        scans: Keys of scans by what named them.
        paths: As they were named.
        galleries: Keys of galleries by their name.
    """

    scans: Mapping[str, int] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    galleries: Mapping[str, list[int]] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Self:
        """What is on record; nothing where every purge is through."""
        row = connection.execute("SELECT value FROM settings WHERE key = ?", (_SETTING,)).fetchone()
        if row is None:
            return cls()
        known = json.loads(row[0])
        return cls(known["scans"], tuple(known["paths"]), known["galleries"])

    def write(self, connection: sqlite3.Connection) -> None:
        """Put it on record, in place of what was there, within a transaction."""
        if not self:
            connection.execute("DELETE FROM settings WHERE key = ?", (_SETTING,))
            return
        text = json.dumps({"scans": self.scans, "paths": self.paths, "galleries": self.galleries})
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (_SETTING, text))

    def __bool__(self) -> bool:
        return bool(self.scans or self.paths or self.galleries)

    def with_(self, more: "Pending") -> "Pending":
        """This and more."""
        return Pending(
            {**self.scans, **more.scans},
            tuple(dict.fromkeys((*self.paths, *more.paths))),
            {**self.galleries, **more.galleries},
        )

    def without(self, done: "Pending") -> "Pending":
        """What is left when some is through."""
        return Pending(
            {name: key for name, key in self.scans.items() if name not in done.scans},
            tuple(path for path in self.paths if path not in done.paths),
            {name: keys for name, keys in self.galleries.items() if name not in done.galleries},
        )
