"""FAISS files: derived from SQLite, never trusted, replaced atomically."""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from sqlite_utils import Database

from .database import writing
from .errors import UnusableWorkspaceError
from .leases import Leases
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
        """What the file of a name is worth."""
        return self._read(name)[0]

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
        """Write a file, durably, under a temporary name first.

        A workspace that cannot be written to is no error: the index lives on in memory. So it
        does where something was purged since :meth:`load`, for it may hold what was purged.
        """
        data = index.serialise()
        target = self.path(name)
        token = str(uuid4())
        temporary = target.with_name(f"{target.name}.{token}.tmp")
        try:
            self.folder.mkdir(exist_ok=True)
            self._leases.take(file_lease(token))
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            with writing(self._database) as connection:
                if self._purges.get(name) != self._purged():
                    return
                temporary.replace(target)
                sync_folder(self.folder)
                connection.execute(
                    "INSERT OR REPLACE INTO faiss_files (name, watermark, sha256) VALUES (?, ?, ?)",
                    (name, watermark, hashlib.sha256(data).hexdigest()),
                )
        except (OSError, sqlite3.OperationalError, UnusableWorkspaceError) as error:
            _LOG.warning("cannot keep the FAISS file %s (%s): it stays in memory", name, error)
        finally:
            temporary.unlink(missing_ok=True)
            self._leases.give_back(file_lease(token))

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
            for path in strangers:
                path.unlink(missing_ok=True)
        return strangers

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


def file_lease(token: str) -> str:
    """Name of the lease that is held while the temporary file with this token is written."""
    return f"file-{token}"


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable, where the platform can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
