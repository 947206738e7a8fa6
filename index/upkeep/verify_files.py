"""Reads scanned files again and compares them with the hashes on record."""

import hashlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..paths import load_path
from ..scans import Scans
from .findings import CheckResult, Finding, Outcome

_ROWS = 1000
_GONE = "is gone"
_ADDRESS = re.compile(r"(?:s3|gs|https?)://", re.IGNORECASE)  # what scans read from elsewhere
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def check_files(connection: sqlite3.Connection, scans: Scans) -> CheckResult:
    """Compare every file on record with its SHA-256; nothing is written.

    A relative path starts from the directory of the latest scan that read it. One that no scan
    tells the directory of, as a gallery's, is taken from here, and left out where nothing is.
    """
    starts = {info.key: info.run.get("arguments", {}).get("directory") for info in scans.all()}
    findings, count, addresses, lost = [], 0, 0, 0
    for path, sha256, scan in _files(connection):
        if _ADDRESS.match(path):
            addresses += 1
            continue
        start = None if scan is None else starts.get(scan)
        problem = _examine(path if start is None else os.path.join(start, path), sha256)  # noqa: PTH118
        if problem == _GONE and start is None and not Path(path).is_absolute():
            lost += 1
            continue
        count += 1
        if problem:
            findings.append(
                Finding(f"{path} {problem}", Outcome.REMAINS, "scan it again, or bring it back")
            )
    for left_out, why in (
        (addresses, "at addresses, which only a scan reads"),
        (lost, "by relative paths, and no scan tells from where"),
    ):
        if left_out:
            findings.append(Finding(f"{left_out} files are left out: {why}", Outcome.NOTED))
    return CheckResult("scanned files", count, tuple(findings))


def _files(connection: sqlite3.Connection) -> Iterator[tuple[str, str, int | None]]:
    """Paths, hashes and the latest scan of each, a thousand at a time.

    Reading takes hours and must hold nothing open. A member of an archive is as good as its
    archive, which is on record itself.
    """
    connection.execute("CREATE TEMP TABLE met (path PRIMARY KEY, scan INTEGER) WITHOUT ROWID")
    try:
        connection.execute(
            "INSERT INTO met SELECT path, MAX(scan_id) FROM verdicts WHERE sha256 IS NOT NULL"
            " GROUP BY path"
        )
        last = 0
        while rows := connection.execute(
            "SELECT f.id, f.path, c.sha256, m.scan FROM files f"
            " JOIN contents c ON c.id = f.content_id LEFT JOIN temp.met m ON m.path = f.path"
            " WHERE f.id > ? AND f.container IS NULL ORDER BY f.id LIMIT ?",
            (last, _ROWS),
        ).fetchall():
            last = rows[-1][0]
            for _, path, sha256, scan in rows:
                yield load_path(path), sha256, scan
    finally:
        connection.execute("DROP TABLE temp.met")


def _open(path: str) -> int:
    """Open a file so that its access time stays, where that is allowed: only its owner may."""
    with suppress(PermissionError):
        return os.open(path, _FLAGS | getattr(os, "O_NOATIME", 0))
    return os.open(path, _FLAGS)


def _examine(path: str, sha256: str) -> str:
    """What is wrong with a file, in words, or nothing."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return _GONE
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "is not a file any more"
        try:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read: {error.strerror}"
    return "" if digest == sha256 else "has changed since it was scanned"
