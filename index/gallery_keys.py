"""Keys of galleries, none of which is ever given twice.

A process may hold a gallery's key while another purges the gallery and builds a new one: what it
then keeps under that key must not become the new one's.
"""

import sqlite3

_SETTING = "last_gallery"

_MOST = 1 << 62
"""No count comes near it: a setting above it was made up, and leaves no room for a next key."""


def new_key(connection: sqlite3.Connection) -> int:
    """A key that no gallery has or had, within the transaction that makes the gallery."""
    row = connection.execute(
        "SELECT 1 + MAX((SELECT COALESCE(MAX(id), 0) FROM galleries),"
        " COALESCE((SELECT MIN(CAST(value AS INTEGER), ?) FROM settings WHERE key = ?), 0))",
        (_MOST, _SETTING),
    ).fetchone()
    return int(row[0])


def keep_last_key(connection: sqlite3.Connection) -> None:
    """Remember the last key that was given, within the transaction that purges a gallery."""
    connection.execute(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)", (_SETTING, str(new_key(connection) - 1))
    )
