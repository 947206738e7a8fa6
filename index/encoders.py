"""Copies of encoder weights by hash, so that a case can be reopened years later."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from .clock import now
from .database import writing
from .errors import UnusableWorkspaceError
from .leases import Leases, file_lease
from .sqlite import Database
from .whole_files import sync_folder

_FILES = ("model.safetensors", "config.json")


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder that the workspace keeps.

    Attributes:
        key: The database's key.
        sha256: Its identity, as the engine computes it.
        origin: Where it came from.
        revision: The hub's commit, if it came from a hub.
        folder: Holds ``model.safetensors`` and ``config.json``.
    """

    key: int
    sha256: str
    origin: str
    revision: str
    folder: Path


class Encoders:
    """The encoders of a workspace.

    Attributes:
        folder: Where the copies lie, each in a folder named by its hash.
    """

    def __init__(self, database: Database, folder: Path, leases: Leases) -> None:
        self._database = database
        self.folder = folder
        self._leases = leases

    def keep(
        self,
        sha256: str,
        weights: bytes,
        config: bytes,
        dimension: int,
        origin: str,
        revision: str = "",
    ) -> StoredEncoder:
        """Keep a copy of an encoder, durably; one that is kept already is left alone."""
        folder = self.folder / sha256
        try:
            for name, data in zip(_FILES, (weights, config), strict=True):
                self._write_once(folder / name, data)
        except OSError as error:
            raise UnusableWorkspaceError(
                f"cannot keep a copy of the encoder in {folder}: {error.strerror}",
                "free some space, or name another folder with --workspace",
            ) from error
        with writing(self._database) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO encoders (sha256, origin, revision, dimension, added)"
                " VALUES (?, ?, ?, ?, ?)",
                (sha256, origin, revision, dimension, now()),
            )
        return self.find(sha256)

    def all(self) -> list[StoredEncoder]:
        """Every encoder, the newest last."""
        rows = self._database.conn.execute("SELECT id, sha256, origin, revision FROM encoders")
        return [self._stored(row) for row in rows]

    def find(self, sha256: str) -> StoredEncoder:
        """Look an encoder up by its full hash.

        Raises:
            UnusableWorkspaceError: It is not there.
        """
        row = self._database.conn.execute(
            "SELECT id, sha256, origin, revision FROM encoders WHERE sha256 = ?", (sha256,)
        ).fetchone()
        if row is None:
            raise UnusableWorkspaceError(f"the workspace keeps no encoder {sha256[:12]}")
        return self._stored(row)

    def _stored(self, row: tuple[int, str, str, str]) -> StoredEncoder:
        key, sha256, origin, revision = row
        return StoredEncoder(key, sha256, origin, revision, self.folder / sha256)

    def _write_once(self, path: Path, data: bytes) -> None:
        if path.is_file() and path.stat().st_size == len(data):
            with path.open("rb") as handle:
                if hashlib.file_digest(handle, "sha256").digest() == hashlib.sha256(data).digest():
                    return
        path.parent.mkdir(parents=True, exist_ok=True)
        token = str(uuid4())
        temporary = path.with_name(f"{path.name}.{token}.tmp")
        self._leases.take(file_lease(token))
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            self._leases.give_back(file_lease(token))
