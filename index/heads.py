"""Classifiers beside the galleries: one of each kind an encoder, kept with their hashes."""

import hashlib
from dataclasses import dataclass

from .clock import now
from .database import writing
from .errors import WorkspaceError
from .sqlite import Database


@dataclass(frozen=True, slots=True)
class HeadInfo:
    """A classifier on record.

    Attributes:
        key: The database's key.
        name: As the user calls it.
        kind: ``linear`` or ``svm``.
        encoder_sha256: Identity of the encoder whose embeddings it takes.
        sha256: Of the document.
        origin: Where it came from.
        added: ISO 8601, UTC.
    """

    key: int
    name: str
    kind: str
    encoder_sha256: str
    sha256: str
    origin: str
    added: str


_SELECT = (
    "SELECT h.id, h.name, h.kind, e.sha256, h.sha256, h.origin, h.added FROM heads h"
    " JOIN encoders e ON e.id = h.encoder_id"
)


class Heads:
    """The classifiers of a workspace; a document is opaque here, the engine reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[HeadInfo]:
        """Every classifier in force, in the order of their keys."""
        rows = self._database.conn.execute(f"{_SELECT} WHERE h.removed IS NULL ORDER BY h.id")
        return [HeadInfo(*row) for row in rows]

    def find(self, encoder_sha256: str, kind: str) -> HeadInfo:
        """The classifier of a kind for an encoder.

        Raises:
            WorkspaceError: There is none.
        """
        found = self._current(encoder_sha256, kind)
        if found is None:
            raise WorkspaceError(
                f"the workspace holds no {kind} classifier for the encoder {encoder_sha256[:12]}",
                "fetch the published ones with: code-index pull;"
                " or bring one with: code-index import NAME FILE.sav --weights CHECKPOINT",
            )
        return found

    def with_hash(self, sha256: str) -> HeadInfo:
        """The classifier of a hash, also one that was replaced.

        Raises:
            WorkspaceError: There is none.
        """
        row = self._database.conn.execute(
            f"{_SELECT} WHERE h.sha256 = ? ORDER BY h.id LIMIT 1", (sha256,)
        ).fetchone()
        if row is None:
            raise WorkspaceError(
                f"the workspace does not hold the classifier {sha256[:12]} any more",
                "import it again, or restore the workspace from a backup",
            )
        return HeadInfo(*row)

    def named(self, name: str) -> HeadInfo | None:
        """The classifier in force of a name; the latest, where several encoders have one."""
        row = self._database.conn.execute(
            f"{_SELECT} WHERE h.name = ? AND h.removed IS NULL ORDER BY h.id DESC LIMIT 1", (name,)
        ).fetchone()
        return None if row is None else HeadInfo(*row)

    def document(self, info: HeadInfo) -> bytes:
        """The bytes of a classifier, also of one that was replaced.

        Raises:
            WorkspaceError: They are not those that were kept.
        """
        (data,) = self._database.conn.execute(
            "SELECT document FROM heads WHERE id = ?", (info.key,)
        ).fetchone()
        if hashlib.sha256(data).hexdigest() != info.sha256:
            raise WorkspaceError(
                f"the workspace's copy of the classifier {info.name} is damaged",
                "import it again with --replace, or restore the workspace from a backup",
            )
        return bytes(data)

    def check_new(self, encoder_sha256: str, kind: str, document: bytes) -> None:
        """Refuse a classifier where another one is in force.

        Raises:
            WorkspaceError: An encoder has one of this kind already, with other bytes.
        """
        found = self._current(encoder_sha256, kind)
        if found is not None and found.sha256 != hashlib.sha256(document).hexdigest():
            raise WorkspaceError(
                f"there is another {kind} classifier for this encoder, {found.name}"
                f" from {found.origin}",
                "add --replace to use the new one from now on",
            )

    def keep(
        self,
        name: str,
        kind: str,
        encoder_sha256: str,
        document: bytes,
        origin: str,
        replace: bool = False,
    ) -> HeadInfo:
        """Keep a classifier; the same bytes again change nothing.

        Args:
            name: As the user calls it.
            kind: ``linear`` or ``svm``.
            encoder_sha256: Identity of an encoder that the workspace keeps.
            document: What the engine wrote.
            origin: Where it came from, for people.
            replace: Put it in the place of another one of its kind, which stays on record.

        Raises:
            WorkspaceError: There is another one, and it is not to be replaced.
        """
        with writing(self._database) as connection:
            if not replace:
                self.check_new(encoder_sha256, kind, document)
            found = self._current(encoder_sha256, kind)
            digest = hashlib.sha256(document).hexdigest()
            if found is None or found.sha256 != digest:
                if found is not None:
                    connection.execute(
                        "UPDATE heads SET removed = ? WHERE id = ?", (now(), found.key)
                    )
                connection.execute(
                    "INSERT INTO heads (name, kind, encoder_id, sha256, origin, document, added)"
                    " SELECT ?, ?, id, ?, ?, ?, ? FROM encoders WHERE sha256 = ?",
                    (name, kind, digest, origin, document, now(), encoder_sha256),
                )
        return self.find(encoder_sha256, kind)

    def remove(self, info: HeadInfo) -> None:
        """Take a classifier out of use; it stays on record for the scans that it judged."""
        with writing(self._database) as connection:
            connection.execute("UPDATE heads SET removed = ? WHERE id = ?", (now(), info.key))

    def _current(self, encoder_sha256: str, kind: str) -> HeadInfo | None:
        row = self._database.conn.execute(
            f"{_SELECT} WHERE e.sha256 = ? AND h.kind = ? AND h.removed IS NULL",
            (encoder_sha256, kind),
        ).fetchone()
        return None if row is None else HeadInfo(*row)
