"""Galleries: labelled references under a name, changed in atomic generations."""

import hashlib
import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from sqlite_utils import Database

from .database import writing
from .errors import GalleryError
from .faiss_files import FaissFiles
from .paths import load_path, store_path
from .vectors import VectorIndex

_LOG = logging.getLogger(__name__)
LABELS = ("real", "fake")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class NewReference:
    """A reference to be added.

    Attributes:
        label: ``real`` or ``fake``.
        generator: What made a fake; empty where unknown.
        source: The collection that it comes from; empty where unknown.
        vector: Embedding, shape (D,), float32, finite and not zero.
        path: The file, where there is one.
        sha256: Of the file.
    """

    label: str
    generator: str
    source: str
    vector: NDArray[np.float32]
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference as it stands in a gallery."""

    id: str
    label: str
    generator: str
    source: str
    path: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """A gallery's identity and contents.

    Attributes:
        key: The database's key.
        name: As the user calls it.
        generation: Number of changes so far.
        sha256: Over encoder, preprocessing and every reference in force.
        encoder_sha256: Identity of the encoder.
        encoder_origin: Where the encoder came from.
        dimension: Length of a vector.
        preprocessing: Identity of the steps before the encoder.
        reals: References labelled real.
        fakes: References labelled fake.
        created: ISO 8601, UTC.
    """

    key: int
    name: str
    generation: int
    sha256: str
    encoder_sha256: str
    encoder_origin: str
    dimension: int
    preprocessing: str
    reals: int
    fakes: int
    created: str


@dataclass(frozen=True, slots=True)
class ScannedReference:
    """A file of a scan on record that the gallery holds.

    Attributes:
        path: As it was scanned.
        sha256: Of its content.
        similarity: Largest cosine to a reference of this gallery; None where only other
            galleries met it.
    """

    path: str
    sha256: str
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """References that share label, generator and source, and how many they are."""

    label: str
    generator: str
    source: str
    count: int


class OpenGallery:
    """A gallery at one generation, loaded for searching; the engine's ``Gallery``."""

    def __init__(
        self, database: Database, info: GalleryInfo, indexes: Mapping[str, VectorIndex]
    ) -> None:
        self._database = database
        self._indexes = indexes
        self.info = info

    @property
    def encoder_sha256(self) -> str:
        """Identity of the encoder that made the embeddings."""
        return self.info.encoder_sha256

    @property
    def preprocessing(self) -> str:
        """Identity of the steps before the encoder."""
        return self.info.preprocessing

    def search(
        self, label: str, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest references of one class; see :meth:`VectorIndex.search`."""
        return self._indexes[label].search(vectors, k)

    def describe(self, keys: Sequence[int]) -> dict[int, StoredReference]:
        """Look up references by their keys."""
        described = {}
        for first in range(0, len(keys), 500):  # SQLite bounds the number of parameters
            part = [int(key) for key in keys[first : first + 500]]
            marks = ",".join("?" * len(part))
            for row in self._database.conn.execute(
                "SELECT id, ordinal, label, generator, source, path, sha256"  # noqa: S608
                f' FROM "references" WHERE id IN ({marks})',
                part,
            ):
                described[row[0]] = StoredReference(
                    reference_id(self.info.name, row[1]),
                    row[2],
                    row[3],
                    row[4],
                    None if row[5] is None else load_path(row[5]),
                    row[6],
                )
        return described


def reference_id(gallery: str, ordinal: int) -> str:
    """The id that people see."""
    return f"{gallery}:{ordinal}"


class Galleries:
    """The galleries of a workspace."""

    def __init__(self, database: Database, files: FaissFiles) -> None:
        self._database = database
        self._files = files

    def names(self) -> list[str]:
        """Names in alphabetical order."""
        rows = self._database.conn.execute(
            "SELECT name FROM galleries WHERE removed IS NULL ORDER BY name"
        )
        return [name for (name,) in rows]

    def info(self, name: str) -> GalleryInfo:
        """Describe a gallery.

        Raises:
            GalleryError: There is none of that name.
        """
        row = self._database.conn.execute(
            "SELECT g.id, g.name, g.generation, h.sha256, e.sha256, e.origin, e.dimension,"
            " g.preprocessing, h.reals, h.fakes, g.created FROM galleries g"
            " JOIN encoders e ON e.id = g.encoder_id"
            " JOIN gallery_generations h ON h.gallery_id = g.id AND h.generation = g.generation"
            " WHERE g.name = ? AND g.removed IS NULL",
            (name,),
        ).fetchone()
        if row is None:
            known = ", ".join(self.names()) or "none"
            raise GalleryError(
                f"there is no gallery {name!r} (there are: {known})",
                "make it with: code-index build NAME --real DIR --fake DIR",
            )
        return GalleryInfo(*row)

    def groups(self, info: GalleryInfo) -> list[Group]:
        """Count references by label, generator and source."""
        rows = self._database.conn.execute(
            'SELECT label, generator, source, COUNT(*) FROM "references"'
            " WHERE gallery_id = ? AND removed IS NULL"
            " GROUP BY label, generator, source ORDER BY label DESC, generator, source",
            (info.key,),
        )
        return [Group(*row) for row in rows]

    def create(
        self,
        name: str,
        encoder_sha256: str,
        preprocessing: str,
        references: Iterable[NewReference],
        action: str,
    ) -> GalleryInfo:
        """Make a gallery with its first references, in one transaction.

        Raises:
            GalleryError: The name is taken or unusable, or a class has no reference.
        """
        self.check_new(name)
        with writing(self._database) as connection:
            self.check_new(name)
            (encoder,) = connection.execute(
                "SELECT id FROM encoders WHERE sha256 = ?", (encoder_sha256,)
            ).fetchone()
            key = connection.execute(
                "INSERT INTO galleries (name, encoder_id, preprocessing, generation, created)"
                " VALUES (?, ?, ?, 0, ?) RETURNING id",
                (name, encoder, preprocessing, now()),
            ).fetchone()[0]
            self._insert(key, 1, references)
            self._seal(key, 1, action)
        return self.info(name)

    def add(self, name: str, references: Iterable[NewReference], action: str) -> GalleryInfo:
        """Add references as a new generation, in one transaction."""
        with writing(self._database):
            info = self.info(name)
            self._insert(info.key, info.generation + 1, references)
            self._seal(info.key, info.generation + 1, action)
        return self.info(name)

    def withdraw(
        self,
        name: str,
        action: str,
        sources: Sequence[str] = (),
        generators: Sequence[str] = (),
        sha256s: Sequence[str] = (),
    ) -> int:
        """Take references out of force, in one transaction; they stay as evidence of old scans.

        Args:
            name: The gallery.
            action: What the user did, for the record.
            sources: References from any of these sources,
            generators: or by any of these generators,
            sha256s: or of any of these files (a prefix of the digest will do) are withdrawn.

        Returns:
            How many were withdrawn.

        Raises:
            GalleryError: None match, or a class would be left empty.
        """
        clauses = ["source = ?"] * len(sources) + ["generator = ?"] * len(generators)
        clauses += ["substr(sha256, 1, ?) = ?"] * len(sha256s)
        values: list[str | int] = [*sources, *generators]
        for digest in sha256s:
            values += [len(digest), digest.lower()]
        with writing(self._database) as connection:
            info = self.info(name)
            count = connection.execute(
                'UPDATE "references" SET removed = ?'  # noqa: S608
                f" WHERE gallery_id = ? AND removed IS NULL AND ({' OR '.join(clauses)})",
                (info.generation + 1, info.key, *values),
            ).rowcount
            if not count:
                raise GalleryError(
                    f"no reference of gallery {name!r} matches",
                    f"see its sources and generators with: code-index info {name}",
                )
            self._seal(info.key, info.generation + 1, action)
        return count

    def remove(self, name: str) -> None:
        """Take a gallery out of use; its references stay as evidence of old scans."""
        with writing(self._database) as connection:
            info = self.info(name)
            connection.execute("UPDATE galleries SET removed = ? WHERE id = ?", (now(), info.key))
            for label in LABELS:
                self._files.drop(faiss_name(info.key, label))
            connection.execute("DELETE FROM settings WHERE key = 'gallery' AND value = ?", (name,))

    def open(self, name: str) -> OpenGallery:
        """Load a gallery for searching, bringing its FAISS files up to date first."""
        info = self.info(name)
        return OpenGallery(
            self._database, info, {label: self._index(info, label) for label in LABELS}
        )

    def references(
        self, info: GalleryInfo
    ) -> Iterator[tuple[StoredReference, NDArray[np.float32]]]:
        """All references in force with their vectors, in order."""
        for row in self._database.conn.execute(
            'SELECT ordinal, label, generator, source, path, sha256, vector FROM "references"'
            " WHERE gallery_id = ? AND removed IS NULL ORDER BY ordinal",
            (info.key,),
        ):
            path = None if row[4] is None else load_path(row[4])
            stored = StoredReference(
                reference_id(info.name, row[0]), row[1], row[2], row[3], path, row[5]
            )
            yield stored, np.frombuffer(row[6], "<f4")

    def scanned(self, info: GalleryInfo, similarity: float) -> tuple[int, list[ScannedReference]]:
        """Look for files of scans on record that a gallery holds.

        Args:
            info: The gallery.
            similarity: Cosine from which a scan against this gallery counts as having met itself.

        Returns:
            How many files all scans have judged, and those with the bytes of a reference in
            force, or with such a cosine; each once.
        """
        connection = self._database.conn
        (total,) = connection.execute(
            "SELECT COUNT(DISTINCT path) FROM verdicts WHERE knn IS NOT NULL"
        ).fetchone()
        rows = connection.execute(
            "SELECT v.path, v.sha256, MAX(CASE WHEN s.gallery_id = :gallery"
            " THEN MAX(v.real_similarity, v.fake_similarity) END) FROM verdicts v"
            " JOIN scans s ON s.id = v.scan_id WHERE v.knn IS NOT NULL AND (v.sha256 IN"
            ' (SELECT sha256 FROM "references" WHERE gallery_id = :gallery AND removed IS NULL)'
            " OR (s.gallery_id = :gallery"
            " AND MAX(v.real_similarity, v.fake_similarity) >= :similarity))"
            " GROUP BY v.path, v.sha256 ORDER BY v.path",
            {"gallery": info.key, "similarity": similarity},
        )
        return total, [ScannedReference(load_path(row[0]), row[1], row[2]) for row in rows]

    def assessment(self, info: GalleryInfo, k: int) -> bytes | None:
        """What was kept with :meth:`keep_assessment` for this generation and k, if anything."""
        row = self._database.conn.execute(
            "SELECT document FROM assessments WHERE gallery_id = ? AND generation = ? AND k = ?",
            (info.key, info.generation, k),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def keep_assessment(self, info: GalleryInfo, k: int, document: bytes) -> None:
        """Keep what was fitted on a gallery; what was fitted on earlier generations goes.

        A workspace that cannot be written to is no error: it is fitted again next time.
        """
        try:
            with writing(self._database) as connection:
                connection.execute(
                    "DELETE FROM assessments WHERE gallery_id = ? AND generation < ?",
                    (info.key, info.generation),
                )
                connection.execute(
                    "INSERT OR REPLACE INTO assessments VALUES (?, ?, ?, ?)",
                    (info.key, info.generation, k, document),
                )
        except sqlite3.OperationalError as error:
            _LOG.warning("cannot keep the calibration of %s (%s)", info.name, error)

    def check_new(self, name: str) -> None:
        """Refuse a name that cannot be given to a new gallery.

        Raises:
            GalleryError: It is taken, or unusable.
        """
        if not _NAME.fullmatch(name):
            raise GalleryError(
                f"{name!r} cannot be a gallery's name",
                "use letters, digits, dots, dashes and underscores, at most 100",
            )
        if name in self.names():
            raise GalleryError(
                f"there is a gallery {name!r} already",
                f"choose another name, or first: code-index remove {name}",
            )

    def _insert(self, key: int, generation: int, references: Iterable[NewReference]) -> None:
        connection = self._database.conn
        (ordinal,) = connection.execute(
            'SELECT COALESCE(MAX(ordinal), 0) FROM "references" WHERE gallery_id = ?', (key,)
        ).fetchone()
        connection.executemany(
            'INSERT INTO "references" (gallery_id, ordinal, label, generator, source, path,'
            " sha256, vector, added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    key,
                    number,
                    r.label,
                    r.generator,
                    r.source,
                    None if r.path is None else store_path(r.path),
                    r.sha256,
                    r.vector.astype("<f4").tobytes(),
                    generation,
                )
                for number, r in enumerate(references, ordinal + 1)
            ),
        )

    def _seal(self, key: int, generation: int, action: str) -> None:
        """Close a change: hash what is in force and count it."""
        connection = self._database.conn
        sealed = seal(connection, key, generation)
        for label, count in (("real", sealed.reals), ("fake", sealed.fakes)):
            if not count:
                raise GalleryError(
                    f"the gallery would hold no {label} reference",
                    "a gallery needs images of both classes",
                )
        connection.execute(
            "INSERT INTO gallery_generations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, generation, sealed.sha256, sealed.reals, sealed.fakes, action, now()),
        )
        connection.execute("UPDATE galleries SET generation = ? WHERE id = ?", (generation, key))

    def _index(self, info: GalleryInfo, label: str) -> VectorIndex:
        """The FAISS index of one class: what the file holds, and what has changed since."""
        name = faiss_name(info.key, label)
        loaded = self._files.load(name, info.dimension)
        watermark = str(info.generation)
        if loaded is not None and loaded.watermark == watermark:
            return loaded.index
        index, since = VectorIndex(info.dimension), 0
        if loaded is not None and int(loaded.watermark) < info.generation:
            index, since = loaded.index, int(loaded.watermark)
            index.remove(
                [
                    key
                    for (key,) in self._database.conn.execute(
                        'SELECT id FROM "references" WHERE gallery_id = ? AND label = ?'
                        " AND removed > ? AND removed <= ? AND added <= ?",
                        (info.key, label, since, info.generation, since),
                    )
                ]
            )
        rows = self._database.conn.execute(
            'SELECT id, vector FROM "references" WHERE gallery_id = ? AND label = ? AND added > ?'
            " AND added <= ? AND (removed IS NULL OR removed > ?) ORDER BY id",
            (info.key, label, since, info.generation, info.generation),
        )
        while part := rows.fetchmany(16384):
            keys = np.array([key for key, _ in part], np.int64)
            vectors = np.frombuffer(b"".join(blob for _, blob in part), "<f4")
            index.add(keys, vectors.reshape(len(keys), info.dimension))
        self._files.save(name, index, watermark)
        return index


@dataclass(frozen=True, slots=True)
class Seal:
    """What a gallery is at one generation.

    Attributes:
        sha256: Over encoder, preprocessing and every reference in force.
        reals: References labelled real.
        fakes: References labelled fake.
    """

    sha256: str
    reals: int
    fakes: int


def seal(connection: sqlite3.Connection, key: int, generation: int) -> Seal:
    """Compute the seal of a gallery from the references in force at a generation."""
    digest = hashlib.sha256()
    encoder, preprocessing = connection.execute(
        "SELECT e.sha256, g.preprocessing FROM galleries g"
        " JOIN encoders e ON e.id = g.encoder_id WHERE g.id = ?",
        (key,),
    ).fetchone()
    digest.update(f"{encoder}\n{preprocessing}\n".encode())
    counts = dict.fromkeys(LABELS, 0)
    for row in connection.execute(
        'SELECT ordinal, label, generator, source, vector FROM "references"'
        " WHERE gallery_id = ? AND added <= ? AND (removed IS NULL OR removed > ?)"
        " ORDER BY ordinal",
        (key, generation, generation),
    ):
        digest.update("\x1f".join(map(str, row[:4])).encode() + b"\n" + row[4])
        counts[row[1]] += 1
    return Seal(digest.hexdigest(), counts["real"], counts["fake"])


def faiss_name(key: int, label: str) -> str:
    """Name of the FAISS file of one class of a gallery."""
    return f"gallery-{key}-{label}"


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
