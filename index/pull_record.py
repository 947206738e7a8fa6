"""What was pulled from a hub, on record: the commit, and every file's hash, for the next time."""

from collections.abc import Sequence
from dataclasses import dataclass

from .clock import now
from .database import writing
from .origins import BegunGallery, begun_by
from .sqlite import Database

ACTION = "pull"
"""Begins the first action of a gallery that was pulled; no other command's action does."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file as it was when it was pulled.

    Attributes:
        name: Path within the repository.
        bytes: Size.
        sha256: Of its content.
        stated: The hash that the hub stated: a SHA-256, or git's SHA-1 of a blob.
    """

    name: str
    bytes: int
    sha256: str
    stated: str


@dataclass(frozen=True, slots=True)
class Pull:
    """What was pulled from a repository, last.

    Attributes:
        repo: ``owner/name``.
        revision: As it was asked for: branch, tag or commit.
        commit: What the hub resolved it to.
        encoder_sha256: Identity of the encoder in it.
        pulled: ISO 8601, UTC.
        files: The files, in the order of their names.
    """

    repo: str
    revision: str
    commit: str
    encoder_sha256: str
    pulled: str
    files: tuple[PinnedFile, ...]


def gallery_action(repo: str, commit: str, sha256: str) -> str:
    """What a gallery's first generation says of its origin: repository, commit, file's hash."""
    return f"{ACTION} {repo}@{commit} {sha256}"


class Pulls:
    """The pulls of a workspace, one a repository."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, repo: str) -> Pull | None:
        """What was pulled from a repository, if anything was."""
        row = self._database.conn.execute(
            "SELECT repo, revision, commit_hash, encoder_sha256, pulled FROM pulls WHERE repo = ?",
            (repo,),
        ).fetchone()
        if row is None:
            return None
        files = self._database.conn.execute(
            "SELECT name, bytes, sha256, stated FROM pulled_files WHERE repo = ? ORDER BY name",
            (repo,),
        )
        pinned = tuple(PinnedFile(*file) for file in files)
        return Pull(row[0], row[1], row[2], row[3], row[4], pinned)

    def latest(self) -> Pull | None:
        """The latest pull of all repositories, if there is one."""
        row = self._database.conn.execute(
            "SELECT repo FROM pulls ORDER BY pulled DESC, repo LIMIT 1"
        ).fetchone()
        return None if row is None else self.find(row[0])

    def pin(
        self,
        repo: str,
        revision: str,
        commit: str,
        encoder_sha256: str,
        files: Sequence[PinnedFile],
    ) -> None:
        """Put a pull on record, in the place of the one before."""
        with writing(self._database) as connection:
            connection.execute("DELETE FROM pulls WHERE repo = ?", (repo,))
            connection.execute(
                "INSERT INTO pulls VALUES (?, ?, ?, ?, ?)",
                (repo, revision, commit, encoder_sha256, now()),
            )
            connection.executemany(
                "INSERT INTO pulled_files VALUES (?, ?, ?, ?, ?)",
                [(repo, file.name, file.bytes, file.sha256, file.stated) for file in files],
            )

    def gallery(self, repo: str | None = None) -> BegunGallery | None:
        """The gallery in force that was pulled last, from one repository or from any."""
        begin = f"{ACTION} " if repo is None else f"{ACTION} {repo}@"
        return next(reversed(begun_by(self._database, begin)), None)
