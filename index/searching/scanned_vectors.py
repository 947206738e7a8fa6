"""Search over the embeddings of scanned images, in FAISS files that grow by the last one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..content_keys import split_key
from ..database import reading
from ..paths import load_path
from ..sqlite import Database
from .faiss_files import FaissFiles
from .vectors import VectorIndex, finite, nonzero

SEGMENT = 1 << 18
"""Embedding ids a file: one is in memory at a time, and only the last is ever written again."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Embeddings that can be compared with each other.

    Attributes:
        encoder_key: The database's key of the encoder.
        encoder_sha256: Its identity.
        dimension: Length D of a vector.
        preprocessing: Identity of the steps before the encoder.
        count: How many there are.
    """

    encoder_key: int
    encoder_sha256: str
    dimension: int
    preprocessing: str
    count: int


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """An image that a scan has seen, near a query.

    Attributes:
        sha256: Of the file.
        similarity: Cosine to the query, in [-1, 1].
        path: Where the newest of the scans found it first.
        scans: Numbers of the scans that found it, rising.
        copies: Rows of those scans with these bytes.
    """

    sha256: str
    similarity: float
    path: str
    scans: tuple[int, ...]
    copies: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a collection.

    Attributes:
        number: From 0.
        name: Of its FAISS file.
        first: The least id that it may hold.
        last: The greatest id that it holds.
    """

    number: int
    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _State:
    """Which embeddings a segment holds.

    Ids are never reused and a vector never changes under its id, so that count and last id say
    it all: with the same last id nothing can have come, and with the same count nothing has gone.
    """

    count: int
    last: int

    def __str__(self) -> str:
        return f"{self.count}:{self.last}"


class ScannedVectors:
    """The embeddings that a workspace keeps, as something to search in."""

    def __init__(self, database: Database, files: FaissFiles) -> None:
        self._database = database
        self._files = files

    def collections(self) -> list[Collection]:
        """What there is to search in, the largest first."""
        rows = self._database.conn.execute(
            "SELECT e.id, e.sha256, e.dimension, m.preprocessing, COUNT(*) FROM embeddings m"
            " JOIN encoders e ON e.id = m.encoder_id"
            " GROUP BY e.id, m.preprocessing ORDER BY COUNT(*) DESC, e.id, m.preprocessing"
        )
        return [Collection(*row) for row in rows]

    def search(
        self, collection: Collection, vectors: NDArray[np.float32], k: int
    ) -> list[list[ScannedImage]]:
        """Find the k nearest scanned images.

        Embeddings that only a gallery has are passed over.

        Args:
            collection: Where to search.
            vectors: Array of shape (Q, D), float32, any length but zero.
            k: Images wanted.

        Returns:
            For each query at most k images, nearest first.
        """
        wanted = k
        while True:
            keys, cosines = self._nearest(collection, vectors, wanted)
            images = [
                self._scanned(row, similarities)[:k]
                for row, similarities in zip(keys.tolist(), cosines.tolist(), strict=True)
            ]
            if wanted >= collection.count or all(len(found) == k for found in images):
                return images
            wanted *= 4

    def segments(self, collection: Collection) -> list[Segment]:
        """The parts of a collection that have a FAISS file each."""
        return [
            Segment(number, _file_name(collection, number), number * SEGMENT + 1, state.last)
            for number, state in self._states(collection).items()
        ]

    def refresh(self, collection: Collection, segment: Segment) -> None:
        """Bring a segment's file up to date."""
        state = self._states(collection).get(segment.number)
        if state is not None:
            self._segment(collection, segment.number, state)

    def _nearest(
        self, collection: Collection, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ids and cosines, each (Q, k), merged over the segments; -1 where there are fewer."""
        keys = np.full((len(vectors), k), -1, np.int64)
        cosines = np.full((len(vectors), k), -np.inf)
        for segment, state in self._states(collection).items():
            index = self._segment(collection, segment, state)
            more_keys, more_cosines = index.search(vectors, k)
            keys = np.concatenate((keys, more_keys), axis=1)  # (Q, 2k)
            cosines = np.concatenate((cosines, more_cosines), axis=1)
            order = np.lexsort((keys, -cosines), axis=1)[:, :k]
            keys = np.take_along_axis(keys, order, axis=1)
            cosines = np.take_along_axis(cosines, order, axis=1)
        return keys, cosines

    def _scanned(self, keys: Sequence[int], similarities: Sequence[float]) -> list[ScannedImage]:
        found = []
        for key, similarity in zip(keys, similarities, strict=True):
            rows = self._database.conn.execute(
                "SELECT c.sha256, v.path, s.id FROM embeddings m"
                " JOIN contents c ON c.id = m.content_id"
                " CROSS JOIN scans s CROSS JOIN verdicts v INDEXED BY verdicts_by_content"
                " ON v.scan_id = s.id AND v.sha256 = c.sha256"
                " WHERE m.id = ? ORDER BY s.id DESC, v.position",
                (key,),
            ).fetchall()
            if rows:
                scans = tuple(sorted({scan for _, _, scan in rows}))
                path = load_path(rows[0][1])
                sha256, _ = split_key(rows[0][0])
                found.append(ScannedImage(sha256, similarity, path, scans, len(rows)))
        return found

    def _states(self, collection: Collection) -> dict[int, _State]:
        rows = self._database.conn.execute(
            "SELECT (id - 1) / ? AS segment, COUNT(*), MAX(id) FROM embeddings"
            " WHERE encoder_id = ? AND preprocessing = ? GROUP BY segment ORDER BY segment",
            (SEGMENT, collection.encoder_key, collection.preprocessing),
        )
        return {segment: _State(count, last) for segment, count, last in rows}

    def _segment(self, collection: Collection, segment: int, state: _State) -> VectorIndex:
        """The index of one segment: what its file holds, and what has changed since."""
        name = _file_name(collection, segment)
        loaded = self._files.load(name, collection.dimension)
        if loaded is not None and loaded.watermark == str(state):
            return loaded.index
        first, last = segment * SEGMENT + 1, state.last
        with reading(self._database):
            # What was embedded again since `state` was read has gone from here: so be it.
            present = self._present(collection, first, last)
            if loaded is None:
                index, since = VectorIndex(collection.dimension), first - 1
            else:
                index = loaded.index
                since = int(loaded.watermark.partition(":")[2])
                index.remove(np.setdiff1d(index.keys, present).tolist())
            self._append(index, collection, since, last)
        self._files.save(name, index, str(_State(len(present), last)))
        return index

    def _present(self, collection: Collection, first: int, last: int) -> NDArray[np.int64]:
        rows = self._database.conn.execute(
            "SELECT id FROM embeddings INDEXED BY sqlite_autoindex_embeddings_1"
            " WHERE encoder_id = ? AND preprocessing = ? AND id BETWEEN ? AND ?",
            (collection.encoder_key, collection.preprocessing, first, last),
        )
        return np.array([key for (key,) in rows], np.int64)

    def _append(self, index: VectorIndex, collection: Collection, since: int, last: int) -> None:
        rows = self._database.conn.execute(
            "SELECT id, vector FROM embeddings WHERE id > ? AND id <= ? AND encoder_id = ?"
            " AND preprocessing = ? AND LENGTH(vector) = ? ORDER BY id",
            (
                since,
                last,
                collection.encoder_key,
                collection.preprocessing,
                4 * collection.dimension,
            ),
        )
        while part := rows.fetchmany(16384):
            keys = np.array([key for key, _ in part], np.int64)
            vectors = np.frombuffer(b"".join(blob for _, blob in part), "<f4")
            vectors = vectors.reshape(len(keys), collection.dimension)
            usable = finite(vectors) & nonzero(vectors)  # verify names others
            index.add(keys[usable], vectors[usable])


def _file_name(collection: Collection, segment: int) -> str:
    steps = hashlib.sha256(collection.preprocessing.encode()).hexdigest()[:8]
    return f"scanned-{collection.encoder_key}-{steps}-{segment}"
