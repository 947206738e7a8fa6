"""What a workspace has on record at or below a path; text and undecodable bytes alike."""

import os
import sqlite3
from collections.abc import Iterable

_UNDER = "(CAST({0} AS BLOB) = ? OR substr(CAST({0} AS BLOB), 1, ?) = ?)"
"""Whether a path is a given one, or lies below it."""

_WITHIN = f"({_UNDER} OR CAST(container AS BLOB) = ?)"
"""The same, and what lies within a file: members of an archive, further frames."""


def rows_under(connection: sqlite3.Connection, prefix: str) -> list[tuple[int, int]]:
    """Scan and position of the rows of what lies there."""
    return connection.execute(
        f"SELECT scan_id, position FROM verdicts WHERE {_WITHIN.format('path')}",  # noqa: S608
        (*_under(prefix), os.fsencode(prefix)),
    ).fetchall()


def rows_pointing(connection: sqlite3.Connection, prefix: str) -> list[tuple[int, int]]:
    """Rows that call something there their first copy; its members count as below a file."""
    members = "substr(CAST(duplicate_of AS BLOB), 1, ?) = ?"
    inside = [os.fsencode(prefix) + mark for mark in (b"!/", b"#frame=")]
    return connection.execute(
        "SELECT scan_id, position FROM verdicts"  # noqa: S608
        f" WHERE {_UNDER.format('duplicate_of')} OR {members} OR {members}",
        (*_under(prefix), *(value for part in inside for value in (len(part), part))),
    ).fetchall()


def ids_under(connection: sqlite3.Connection, table: str, prefix: str) -> list[int]:
    """Keys of what a table holds there."""
    rows = connection.execute(
        f"SELECT id FROM {table} WHERE {_UNDER.format('path')}",  # noqa: S608
        _under(prefix),
    )
    return [key for (key,) in rows]


def files_within(connection: sqlite3.Connection, prefix: str, last_scan: int) -> list[int]:
    """Keys of the files there and of what lies within them, but for those of later scans."""
    rows = connection.execute(
        f"SELECT id FROM files WHERE {_WITHIN.format('path')}"  # noqa: S608
        " AND path NOT IN (SELECT path FROM verdicts WHERE scan_id > ?)",
        (*_under(prefix), os.fsencode(prefix), last_scan),
    )
    return [key for (key,) in rows]


def lies_in(path: str, prefixes: Iterable[str]) -> bool:
    """Whether a path that a scan was asked for is at or below one of some others."""
    plain = os.path.normpath(path)
    places = map(os.path.normpath, prefixes)
    return any(
        plain == place or plain.startswith(place.rstrip(os.sep) + os.sep) for place in places
    )


def by_scan(rows: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """Positions of rows by their scan."""
    positions: dict[int, set[int]] = {}
    for scan, position in rows:
        positions.setdefault(scan, set()).add(position)
    return positions


def _under(prefix: str) -> tuple[bytes, int, bytes]:
    exact = os.fsencode(prefix)
    below = os.fsencode(prefix.rstrip(os.sep) + os.sep)
    return exact, len(below), below
