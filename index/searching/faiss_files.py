"""FAISS files: derived from SQLite, never trusted, replaced atomically."""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from ..database import writing
from ..errors import UnusableWorkspaceError
from ..leases import Leases, file_lease
from ..sqlite import Database
from ..whole_files import sync_folder
from .vectors import VectorIndex

_LOG = logging.getLogger(__name__)
_SUFFIX = ".faiss"


class FileState(StrEnum):
    """What a FAISS file is worth."""

    SOUND = "sound"
    ABSENT = "absent"  # none was ever saved
    MISSING = "missing"  # one was saved, and is gone
    DAMAGED = "damaged or not its own"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A FAISS file that is what it was when it was saved.

    Attributes:
        index: Its vectors.
        watermark: The state of the truth that they are of.
    """

    index: VectorIndex
    watermark: str


@dataclass(frozen=True, slots=True)
class Located:
    """A file that may be mapped.

    Attributes:
        path: Where it lies.
        watermark: The state of the truth that it holds.
    """

    path: Path
    watermark: str


class FaissFiles:
    """The derived files of a workspace, in a folder of their own.

    A file counts only if its SHA-256 is the one that the database states for its name: a
    missing, truncated, damaged or exchanged file is noticed and reported as None.

    Attributes:
        folder: Where they lie.
    """

    def __init__(self, database: Database, folder: Path, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        self._purges: dict[str, int] = {}  # how many there had been when a file was loaded
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the file of a name lies."""
        return self.folder / f"{name}{_SUFFIX}"

    def names(self) -> list[str]:
        """Names that the database knows."""
        rows = self._database.conn.execute("SELECT name FROM faiss_files ORDER BY name")
        return [name for (name,) in rows]

    def watermark(self, name: str) -> str | None:
        """The state of the truth that the file of a name is of, as the database says."""
        row = self._database.conn.execute(
            "SELECT watermark FROM faiss_files WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else str(row[0])

    def state(self, name: str) -> FileState:
        """What the file of a name is worth; memory stays flat."""
        row = self._database.conn.execute(
            "SELECT sha256 FROM faiss_files WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return FileState.ABSENT
        try:
            with self.path(name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return FileState.MISSING
        return FileState.SOUND if found == row[0] else FileState.DAMAGED

    def load(self, name: str, dimension: int) -> Loaded | None:
        """Read a file; None where there is none that can be trusted.

        It comes before the look at the truth that a later :meth:`save` is about.
        """
        self._purges[name] = self._purged()
        state, data, watermark = self._read(name)
        if state is FileState.SOUND:
            return Loaded(VectorIndex(dimension, data), watermark)
        if state is not FileState.ABSENT:
            _LOG.warning("the FAISS file %s is %s: rebuilding it", name, state)
        return None

    def save(self, name: str, index: VectorIndex, watermark: str) -> None:
        """Write a file, durably; see :meth:`keep`."""
        self.keep(name, watermark, lambda path: path.write_bytes(index.serialise()))

    def locate(self, name: str) -> Located | None:
        """Find a file that is to be mapped, not read; None where there is none to be trusted.

        Hashing a large file takes seconds, so a file that has the size, the modification time and
        the inode that it had when it was last hashed is taken for what it was then. Any other is
        hashed again. ``verify`` hashes them all. It comes before the look at the truth that a
        later :meth:`keep` is about.
        """
        self._purges[name] = self._purged()
        row = self._database.conn.execute(
            "SELECT watermark, seen FROM faiss_files WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        watermark, seen = row
        path = self.path(name)
        if seen and seen == _look(path):
            return Located(path, watermark)
        state = self.state(name)
        if state is not FileState.SOUND:
            _LOG.warning("the FAISS file %s is %s: rebuilding it", name, state)
            return None
        try:
            with writing(self._database) as connection:
                connection.execute(
                    "UPDATE faiss_files SET seen = ? WHERE name = ?", (_look(path), name)
                )
        except (sqlite3.OperationalError, UnusableWorkspaceError) as error:
            _LOG.debug("cannot note that %s is sound (%s)", name, error)
        return Located(path, watermark)

    def keep(self, name: str, watermark: str, write: Callable[[Path], object]) -> Located | None:
        """Write a file, durably, under a temporary name first.

        A workspace that cannot be written to is no error: the index lives on in memory. So it
        does where something was purged since :meth:`load` or :meth:`locate`, for it may hold what
        was purged.

        Args:
            name: Of the file.
            watermark: The state of the truth that it holds.
            write: Writes it to the path that it is given.

        Returns:
            None where it could not be kept.
        """
        target = self.path(name)
        token = str(uuid4())
        temporary = target.with_name(f"{target.name}.{token}.tmp")
        try:
            self.folder.mkdir(exist_ok=True)
            self._leases.take(file_lease(token))
            write(temporary)
            with temporary.open("r+b") as handle:
                os.fsync(handle.fileno())
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            with writing(self._database) as connection:
                if self._purges.get(name) != self._purged():
                    return None
                temporary.replace(target)
                sync_folder(self.folder)
                connection.execute(
                    "INSERT OR REPLACE INTO faiss_files (name, watermark, sha256, seen)"
                    " VALUES (?, ?, ?, ?)",
                    (name, watermark, digest, _look(target)),
                )
        except (OSError, RuntimeError, sqlite3.OperationalError, UnusableWorkspaceError) as error:
            # FAISS reports a full disk as RuntimeError.
            _LOG.warning("cannot keep the FAISS file %s (%s): it stays in memory", name, error)
            return None
        finally:
            with suppress(OSError):  # as on read-only media
                temporary.unlink(missing_ok=True)
            self._leases.give_back(file_lease(token))
        return Located(target, watermark)

    def drop(self, name: str) -> None:
        """Forget and delete a file."""
        self._database.conn.execute("DELETE FROM faiss_files WHERE name = ?", (name,))
        self.path(name).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Forget every file, because of a purge; the caller holds a transaction.

        What other processes are about to save is not kept either. :meth:`sweep` deletes.
        """
        connection = self._database.conn
        connection.execute("DELETE FROM faiss_files")
        connection.execute(
            "INSERT INTO settings VALUES ('purges', '1') ON CONFLICT (key)"
            " DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )

    def sweep(self) -> list[Path]:
        """Delete the files that the database does not know.

        Returns:
            What was deleted.
        """
        with writing(self._database):  # a file gets its name within a transaction
            known = {self.path(name) for name in self.names()}
            strangers = [path for path in self._all() if path not in known]
            return [path for path in strangers if _deleted(path)]

    def _all(self) -> Iterator[Path]:
        return self.folder.glob(f"*{_SUFFIX}")

    def _purged(self) -> int:
        row = self._database.conn.execute(
            "SELECT CAST(value AS INTEGER) FROM settings WHERE key = 'purges'"
        ).fetchone()
        return 0 if row is None else int(row[0])

    def _read(self, name: str) -> tuple[FileState, bytes, str]:
        row = self._database.conn.execute(
            "SELECT watermark, sha256 FROM faiss_files WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return FileState.ABSENT, b"", ""
        watermark, expected = row
        try:
            data = self.path(name).read_bytes()
        except OSError:
            return FileState.MISSING, b"", ""
        if hashlib.sha256(data).hexdigest() != expected:
            return FileState.DAMAGED, b"", ""
        return FileState.SOUND, data, watermark


def _deleted(path: Path) -> bool:
    """Delete a file; False for a folder, and for what cannot be deleted."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _look(path: Path) -> str:
    """What tells, without reading it, that a file is still the same; empty where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
