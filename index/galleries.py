"""Galleries: labelled references under a name, changed in atomic generations."""

import logging
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .clock import now
from .content_keys import split_key
from .database import writing
from .errors import GalleryError
from .gallery_changes import insert_references, seal_generation, withdraw_references
from .gallery_keys import new_key
from .gallery_records import (
    LABELS,
    GalleryInfo,
    Group,
    NewReference,
    ScannedReference,
    StoredReference,
    reference_id,
)
from .open_gallery import OpenGallery, class_at, faiss_name, load_class
from .paths import load_path
from .searching.faiss_files import FaissFiles
from .searching.inverted_lists import Trained
from .searching.large_class import file_names, is_large, kept_search
from .searching.searchable import Searchable
from .searching.vectors import VectorIndex
from .sqlite import Database

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


_INFO = (
    "SELECT g.id, g.name, h.generation, h.sha256, e.sha256, e.origin, e.dimension,"
    " g.preprocessing, h.reals, h.fakes, g.created FROM galleries g"
    " JOIN encoders e ON e.id = g.encoder_id"
    " JOIN gallery_generations h ON h.gallery_id = g.id"
    " AND h.generation = COALESCE(?, g.generation)"
)


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
            f"{_INFO} WHERE g.name = ? AND g.removed IS NULL", (None, name)
        ).fetchone()
        if row is None:
            known = ", ".join(self.names()) or "none"
            raise GalleryError(
                f"there is no gallery {name!r} (there are: {known})",
                "make it with: code-index build NAME --real DIR --fake DIR",
            )
        return GalleryInfo(*row)

    def info_at(self, key: int, generation: int) -> GalleryInfo:
        """Describe a gallery as it was, also one that was removed since.

        Args:
            key: The database's key.
            generation: Number of changes up to then.

        Raises:
            GalleryError: It was purged.
        """
        row = self._database.conn.execute(f"{_INFO} WHERE g.id = ?", (generation, key)).fetchone()
        if row is None:
            raise GalleryError("the gallery of that time was purged", "")
        return GalleryInfo(*row)

    def groups(self, info: GalleryInfo) -> list[Group]:
        """Count references that queries are compared with, by label, generator and source."""
        rows = self._database.conn.execute(
            'SELECT label, generator, source, COUNT(*) FROM "references"'
            " WHERE gallery_id = ? AND removed IS NULL AND compared"
            " GROUP BY label, generator, source ORDER BY label DESC, generator, source",
            (info.key,),
        )
        return [Group(*row) for row in rows]

    def calibrating(self, info: GalleryInfo) -> dict[str, int]:
        """How many references of each class are for calibration alone; empty where none is."""
        rows = self._database.conn.execute(
            'SELECT label, COUNT(*) FROM "references"'
            " WHERE gallery_id = ? AND removed IS NULL AND NOT compared GROUP BY label",
            (info.key,),
        )
        return dict(rows.fetchall())

    def held(self, info: GalleryInfo) -> set[tuple[str, str]]:
        """SHA-256 and label of every reference in force now whose file is known."""
        rows = self._database.conn.execute(
            'SELECT DISTINCT sha256, label FROM "references"'
            " WHERE gallery_id = ? AND removed IS NULL AND sha256 IS NOT NULL",
            (info.key,),
        )
        return {(sha256, label) for sha256, label in rows}

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
            GalleryError: The name is taken or unusable, a class has no reference, or a vector is
                not of the encoder's length.
        """
        self.check_new(name)
        with writing(self._database) as connection:
            self.check_new(name)
            encoder, dimension = connection.execute(
                "SELECT id, dimension FROM encoders WHERE sha256 = ?", (encoder_sha256,)
            ).fetchone()
            key = new_key(connection)
            connection.execute(
                "INSERT INTO galleries (id, name, encoder_id, preprocessing, generation, created)"
                " VALUES (?, ?, ?, ?, 0, ?)",
                (key, name, encoder, preprocessing, now()),
            )
            insert_references(connection, key, 1, dimension, references)
            seal_generation(connection, key, 1, action)
        return self.info(name)

    def add(
        self, info: GalleryInfo, references: Iterable[NewReference], action: str
    ) -> GalleryInfo:
        """Add references as a new generation, in one transaction.

        A file whose bytes are in force already with the same label is passed over: a copy would
        vote twice, and a command that was killed after its commit can be run again. Where
        nothing is new the generation stays. It may have grown since `info` was looked up.

        Raises:
            GalleryError: It was removed since, or a vector is not of its encoder's length.
        """
        with writing(self._database) as connection:
            now_there = self.info(info.name)
            if _kind(now_there) != _kind(info):
                raise GalleryError(
                    f"the gallery {info.name!r} was removed and made anew meanwhile",
                    "run the same command again: it embeds with the encoder of the new one",
                )
            known = self.held(now_there)
            new = (r for r in references if (r.sha256, r.label) not in known)
            generation = now_there.generation + 1
            if insert_references(connection, info.key, generation, info.dimension, new):
                seal_generation(connection, info.key, generation, action)
        return self.info(info.name)

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
            sources: Only references from one of these sources, where any is named.
            generators: Only fakes by one of these generators, where any is named.
            sha256s: Only references of one of these files, where any is named: digests, or
                beginnings of them that fit no other file of the gallery.

        Returns:
            How many were withdrawn.

        Raises:
            GalleryError: None match, a digest is unusable, or a class would be left empty.
        """
        with writing(self._database) as connection:
            info = self.info(name)
            count = withdraw_references(connection, info, sources, generators, sha256s)
            if not count:
                raise GalleryError(
                    f"no reference of gallery {name!r} matches",
                    f"see its sources and generators with: code-index info {name}",
                )
            seal_generation(connection, info.key, info.generation + 1, action)
        return count

    def remove(self, name: str) -> None:
        """Take a gallery out of use; its references stay as evidence of old scans."""
        with writing(self._database) as connection:
            info = self.info(name)
            connection.execute("UPDATE galleries SET removed = ? WHERE id = ?", (now(), info.key))
            for label in LABELS:
                file = faiss_name(info.key, label)
                for part in (file, *file_names(file)):
                    self._files.drop(part)
            connection.execute("DELETE FROM settings WHERE key = 'gallery' AND value = ?", (name,))

    def open(self, info: GalleryInfo, exact: bool = False, gpu: bool = False) -> OpenGallery:
        """Load a gallery for searching, in the state that `info` describes.

        Its FAISS files are brought up to date first. Where it is in another state by now, or was
        removed, it is loaded as it was, into memory, and nothing is kept of it.

        Args:
            info: The gallery at one generation.
            exact: Compare with every reference, which then lie in memory, of large classes too.
            gpu: Compare on the GPUs, where faiss-gpu is installed and their memory suffices; not
                in cells.
        """
        current = self._is_current(info)

        def load(label: str) -> Searchable:
            if not current or (exact and is_large(info, label)):
                return class_at(self._database, info, label)
            return load_class(self._database, self._files, info, label)

        indexes = {label: load(label) for label in LABELS}
        for index in indexes.values():
            if gpu and isinstance(index, VectorIndex):
                index.use_gpu()
        return OpenGallery(self._database, info, indexes)

    def searches(self, info: GalleryInfo) -> dict[str, Trained | None]:
        """How each class is searched; None is exactly, or in cells that are not made yet."""
        return {
            label: kept_search(self._database, info.key, label) if is_large(info, label) else None
            for label in LABELS
        }

    def references(
        self, info: GalleryInfo
    ) -> Iterator[tuple[StoredReference, NDArray[np.float32]]]:
        """All references in force at a generation with their vectors, in order."""
        for row in self._database.conn.execute(
            "SELECT ordinal, label, generator, source, path, sha256, vector, trained, compared"
            ' FROM "references"'
            " WHERE gallery_id = ? AND added <= ? AND (removed IS NULL OR removed > ?)"
            " ORDER BY ordinal",
            (info.key, info.generation, info.generation),
        ):
            path = None if row[4] is None else load_path(row[4])
            stored = StoredReference(
                reference_id(info.name, row[0]),
                row[1],
                row[2],
                row[3],
                path,
                row[5],
                bool(row[7]),
                bool(row[8]),
            )
            yield stored, np.frombuffer(row[6], "<f4")

    def file_of(self, key: int) -> tuple[str, str | None] | None:
        """Path and SHA-256 of a reference's file; None where it came as a ready vector.

        Args:
            key: Of the reference, also of one that is out of force.
        """
        row = self._database.conn.execute(
            'SELECT path, sha256 FROM "references" WHERE id = ?', (key,)
        ).fetchone()
        return None if row is None or row[0] is None else (load_path(row[0]), row[1])

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
        return total, [
            ScannedReference(load_path(path), *split_key(key)[:1], cosine)
            for path, key, cosine in rows
        ]

    def assessment(self, info: GalleryInfo, k: int) -> bytes | None:
        """What was kept with :meth:`keep_assessment` for this generation and k, if anything."""
        row = self._database.conn.execute(
            "SELECT document FROM assessments WHERE gallery_id = ? AND generation = ? AND k = ?",
            (info.key, info.generation, k),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def keep_assessment(self, info: GalleryInfo, k: int, document: bytes) -> None:
        """Keep what was fitted on a gallery; what was fitted on earlier generations goes.

        A workspace that cannot be written to is no error: it is fitted again next time. Nor is a
        gallery that was purged meanwhile.
        """
        try:
            with writing(self._database) as connection:
                connection.execute(
                    "DELETE FROM assessments WHERE gallery_id = ? AND generation < ?",
                    (info.key, info.generation),
                )
                connection.execute(
                    "INSERT OR REPLACE INTO assessments SELECT gallery_id, generation, ?, ?"
                    " FROM gallery_generations"
                    " WHERE gallery_id = ? AND generation = ? AND sha256 = ?",
                    (k, document, info.key, info.generation, info.sha256),
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

    def _is_current(self, info: GalleryInfo) -> bool:
        """Whether a gallery is in use, and in the state that `info` describes."""
        row = self._database.conn.execute(
            "SELECT 1 FROM galleries WHERE id = ? AND generation = ? AND removed IS NULL",
            (info.key, info.generation),
        ).fetchone()
        return row is not None


def _kind(info: GalleryInfo) -> tuple[int, str, str]:
    """What of a gallery does not change while it is in use."""
    return info.key, info.encoder_sha256, info.preprocessing
