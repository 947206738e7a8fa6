"""Reads scanned files again and compares them with the hashes on record."""

import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterator

from ..paths import load_path
from .findings import CheckResult, Finding, Outcome

_ROWS = 1000
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def check_files(connection: sqlite3.Connection) -> CheckResult:
    """Compare every file on record with its SHA-256; nothing is written."""
    findings, count = [], 0
    for path, sha256 in _files(connection):
        count += 1
        problem = _examine(path, sha256)
        if problem:
            findings.append(
                Finding(f"{path} {problem}", Outcome.REMAINS, "scan it again, or bring it back")
            )
    return CheckResult("scanned files", count, tuple(findings))


def _files(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """Paths and hashes, a thousand at a time: reading takes hours and must hold nothing open.

    A member of an archive is as good as its archive, which is on record itself.
    """
    last = 0
    while rows := connection.execute(
        "SELECT f.id, f.path, c.sha256 FROM files f JOIN contents c ON c.id = f.content_id"
        " WHERE f.id > ? AND f.container IS NULL ORDER BY f.id LIMIT ?",
        (last, _ROWS),
    ).fetchall():
        last = rows[-1][0]
        for _, path, sha256 in rows:
            yield load_path(path), sha256


def _examine(path: str, sha256: str) -> str:
    """What is wrong with a file, in words, or nothing."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "is no file any more"
        try:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
    return "" if digest == sha256 else "has changed since it was scanned"
