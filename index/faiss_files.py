"""FAISS files: derived from SQLite, never trusted, replaced atomically."""

import hashlib
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

from .database import writing
from .vectors import VectorIndex

_LOG = logging.getLogger(__name__)


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
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where the file of a name lies."""
        return self._folder / f"{name}.faiss"

    def load(self, name: str, dimension: int) -> Loaded | None:
        """Read a file; None where there is none that can be trusted."""
        row = self._database.conn.execute(
            "SELECT watermark, sha256 FROM faiss_files WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        watermark, expected = row
        try:
            data = self.path(name).read_bytes()
        except OSError as error:
            _LOG.warning("the FAISS file %s is gone (%s): rebuilding it", name, error.strerror)
            return None
        if hashlib.sha256(data).hexdigest() != expected:
            _LOG.warning("the FAISS file %s is damaged or not its own: rebuilding it", name)
            return None
        return Loaded(VectorIndex(dimension, data), watermark)

    def save(self, name: str, index: VectorIndex, watermark: str) -> None:
        """Write a file, durably, under a temporary name first.

        A workspace that cannot be written to is no error: the index lives on in memory.
        """
        data = index.serialise()
        target = self.path(name)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            self._folder.mkdir(exist_ok=True)
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            with writing(self._database) as connection:
                temporary.replace(target)
                sync_folder(self._folder)
                connection.execute(
                    "INSERT OR REPLACE INTO faiss_files (name, watermark, sha256) VALUES (?, ?, ?)",
                    (name, watermark, hashlib.sha256(data).hexdigest()),
                )
        except (OSError, sqlite3.OperationalError) as error:
            _LOG.warning("cannot keep the FAISS file %s (%s): it stays in memory", name, error)
        finally:
            temporary.unlink(missing_ok=True)

    def drop(self, name: str) -> None:
        """Forget and delete a file."""
        self._database.conn.execute("DELETE FROM faiss_files WHERE name = ?", (name,))
        self.path(name).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable, where the platform can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
