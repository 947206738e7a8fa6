"""What is known of files and bytes, so that nothing is read or embedded twice."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .content_keys import content_key, split_key
from .content_records import ContentLike, FileIdentity, KnownContent, Recall
from .database import insert_rows, writing
from .paths import store_path
from .sqlite import Database

_COLUMNS = (
    "c.sha256, c.bytes, c.format, c.width, c.height, c.decoder, c.provenance,"
    " c.frames, f.reason, f.detail, e.vector, e.precision, v.vectors"
)
_JOINS = (
    " LEFT JOIN failures f ON f.content_id = c.id AND f.preprocessing = :preprocessing"
    " LEFT JOIN embeddings e ON e.content_id = c.id AND e.encoder_id = :encoder"
    " AND e.preprocessing = :preprocessing"
    " LEFT JOIN views v ON v.content_id = c.id AND v.encoder_id = :encoder"
    " AND v.preprocessing = :preprocessing AND v.plan = :plan"
)
_BY_FILE = (
    f"SELECT {_COLUMNS} FROM files p JOIN contents c ON c.id = p.content_id {_JOINS}"  # noqa: S608
    " WHERE p.path = :path AND p.bytes = :bytes AND p.mtime_ns = :mtime_ns"
    " AND p.inode = :inode AND p.device = :device"
)
_BY_CONTENT = f"SELECT {_COLUMNS} FROM contents c {_JOINS} WHERE c.sha256 = :sha256"  # noqa: S608

_FILES = "INSERT INTO files (path, bytes, mtime_ns, inode, device, container, content_id)"
_FILES_KNOWN = (
    " ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes, mtime_ns = excluded.mtime_ns,"
    " inode = excluded.inode, device = excluded.device, container = excluded.container,"
    " content_id = excluded.content_id"
)


class ContentStore:
    """Memory of contents under one encoder and one preprocessing."""

    def __init__(
        self,
        database: Database,
        encoder_key: int,
        preprocessing: str,
        recall: Recall,
        plan: str = "",
    ) -> None:
        self._database = database
        self._connection: sqlite3.Connection = database.conn
        self._scope = {"encoder": encoder_key, "preprocessing": preprocessing, "plan": plan}
        self._recall = recall
        self._newest: int | None = None  # content in a transaction; None outside
        self._placed: list[tuple[object, ...]] = []  # rows of files, of a transaction

    @contextmanager
    def _learning(self) -> Iterator[sqlite3.Connection]:
        """A transaction that can tell contents that it brings from those that were there."""
        with writing(self._database) as connection:
            newest = connection.execute("SELECT COALESCE(MAX(id), 0) FROM contents").fetchone()
            self._newest = int(newest[0])
            try:
                yield connection
                insert_rows(connection, _FILES, self._placed, _FILES_KNOWN)
            finally:
                self._newest = None
                self._placed.clear()

    def known_file(self, file: FileIdentity) -> KnownContent | None:
        """What is known of a file that has not changed."""
        if self._recall.rehash:
            return None
        values = {
            "path": store_path(file.path),
            "bytes": file.bytes,
            "mtime_ns": _storable(file.mtime_ns),
            "inode": str(file.inode),
            "device": str(file.device),
        }
        return self._one(_BY_FILE, values)

    def known_content(self, sha256: str, frame: int = 1) -> KnownContent | None:
        """What is known of some bytes, or of a further frame in them."""
        return self._one(_BY_CONTENT, {"sha256": content_key(sha256, frame)})

    def _one(self, query: str, values: Mapping[str, Any]) -> KnownContent | None:
        row = self._connection.execute(query, {**self._scope, **values}).fetchone()
        if row is None:
            return None
        key, size, name, width, height, decoder, provenance, frames, *outcome = row
        reason, detail, blob, precision, further = outcome
        if blob is not None and self._recall.accepts(precision):
            reason = detail = None
        elif reason is not None and not self._recall.retry_failed:
            blob = precision = None
        else:
            return None
        sha256, frame = split_key(key)
        return KnownContent(
            sha256,
            size,
            name,
            width,
            height,
            decoder,
            json.loads(provenance),
            reason,
            detail,
            None if blob is None else np.frombuffer(blob, "<f4"),
            precision,
            None if blob is None or further is None else _matrix(further, len(blob)),
            frame,
            frames,
        )

    def remember(self, learnt: Sequence[tuple[FileIdentity, ContentLike]]) -> None:
        """Store files and contents in one transaction."""
        with self._learning():
            for file, content in learnt:
                self.learn(file, content)

    def learn(self, file: FileIdentity, content: ContentLike) -> None:
        """Remember a file and its content; within :meth:`_learning`."""
        name = content_key(content.sha256, content.frame)
        known = self._key(name) if isinstance(content, KnownContent) else None
        # What was known may have been purged since it was looked up: then it is stored again.
        key = self._upsert(content) if known is None else known
        if content.frame == 1:  # others are found by way of it
            self._place(file, key)

    def bring(self, contents: Sequence[KnownContent]) -> None:
        """Store in one transaction what another workspace knows and is not known here.

        A vector takes the place of a failure, one in float32 that of one in less, and one with the
        plan's views that of one without.
        """
        with self._learning():
            for content in contents:
                ours = self.known_content(content.sha256, content.frame)
                if ours is None or _adds(content, ours):
                    self._upsert(content)

    def bring_files(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        """Store in one transaction which files hold contents, by SHA-256, that are known here."""
        with self._learning():
            for file, sha256 in files:
                key = self._key(sha256)
                if key is not None:
                    self._place(file, key)

    def _place(self, file: FileIdentity, key: int) -> None:
        """Say at the end of the transaction that a file holds a content."""
        self._placed.append(
            (
                store_path(file.path),
                file.bytes,
                _storable(file.mtime_ns),
                str(file.inode),
                str(file.device),
                None if file.container is None else store_path(file.container),
                key,
            ),
        )

    def _key(self, name: str) -> int | None:
        row = self._connection.execute(
            "SELECT id FROM contents WHERE sha256 = ?", (name,)
        ).fetchone()
        return None if row is None else int(row[0])

    def _upsert(self, content: ContentLike) -> int:
        """Store what was learnt; what it leaves open, as a failure does, stays as it is known."""
        provenance = json.dumps(content.provenance, sort_keys=True)
        (key,) = self._connection.execute(
            "INSERT INTO contents"
            " (sha256, bytes, format, width, height, decoder, provenance, frames)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET"
            " format = COALESCE(excluded.format, format),"
            " width = COALESCE(excluded.width, width), height = COALESCE(excluded.height, height),"
            " decoder = COALESCE(excluded.decoder, decoder),"
            " provenance = CASE WHEN excluded.provenance = '{}' THEN provenance"
            " ELSE excluded.provenance END,"
            " frames = COALESCE(excluded.frames, frames) RETURNING id",
            (
                content_key(content.sha256, content.frame),
                content.bytes,
                content.format,
                content.width,
                content.height,
                content.decoder,
                provenance,
                content.frames,
            ),
        ).fetchone()
        preprocessing = self._scope["preprocessing"]
        fresh = self._newest is not None and key > self._newest  # nothing hangs on it yet
        if fresh:
            self._newest = int(key)
        if content.vector is not None:
            # A copy of the file brings the same vector again: it keeps its id, for FAISS's sake.
            stored = self._connection.execute(
                "INSERT OR REPLACE INTO embeddings"
                " (content_id, encoder_id, preprocessing, precision, vector)"
                " SELECT :content, :encoder, :preprocessing, :precision, :vector"
                " WHERE NOT EXISTS (SELECT 1 FROM embeddings WHERE content_id = :content"
                " AND encoder_id = :encoder AND preprocessing = :preprocessing"
                " AND precision = :precision AND vector = :vector)",
                {
                    **self._scope,
                    "content": key,
                    "precision": content.precision,
                    "vector": content.vector.astype("<f4").tobytes(),
                },
            )
            stale = stored.rowcount > 0 and not fresh
            if stale:  # further views go with the centre that they were made beside
                self._connection.execute(
                    "DELETE FROM views WHERE content_id = :content AND encoder_id = :encoder"
                    " AND preprocessing = :preprocessing",
                    {**self._scope, "content": key},
                )
            if content.views is not None:
                vectors = content.views.astype("<f4").tobytes()
                self._connection.execute(
                    "INSERT OR REPLACE INTO views"
                    " (content_id, encoder_id, preprocessing, plan, vectors)"
                    " VALUES (:content, :encoder, :preprocessing, :plan, :vectors)",
                    {
                        **self._scope,
                        "content": key,
                        "vectors": vectors,
                    },
                )
            if not fresh:
                self._connection.execute(
                    "DELETE FROM failures WHERE content_id = ? AND preprocessing = ?",
                    (key, preprocessing),
                )
        elif content.reason is not None:
            self._connection.execute(
                "INSERT OR REPLACE INTO failures (content_id, preprocessing, reason, detail)"
                " VALUES (?, ?, ?, ?)",
                (key, preprocessing, content.reason, content.detail),
            )
        return int(key)


def _adds(theirs: KnownContent, ours: KnownContent) -> bool:
    if theirs.vector is None or ours.vector is None:
        return theirs.vector is not None
    if theirs.precision != ours.precision:
        return theirs.precision == "float32"  # the exact one stays, whatever views there are
    return theirs.views is not None and ours.views is None


def _storable(time_ns: int) -> int:
    """A time as SQLite's 64 bits hold it: they end in 2262, while files may say any year."""
    return max(-(1 << 63), min(time_ns, (1 << 63) - 1))


def _matrix(blob: bytes, row: int) -> NDArray[np.float32]:
    """Vectors that were stored one after the other; `row` is the length of one in bytes."""
    return np.frombuffer(blob, "<f4").reshape(-1, row // 4)
