"""A gallery loaded for searching: FAISS indexes brought up to date from SQLite."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .gallery_records import GalleryInfo, StoredReference, reference_id
from .paths import load_path
from .searching.approximate import ApproximateIndex
from .searching.faiss_files import FaissFiles
from .searching.inverted_lists import Trained
from .searching.large_class import LargeClass, is_large, last_generation, references_since
from .searching.searchable import Searchable
from .searching.vectors import VectorIndex
from .sqlite import Database


class OpenGallery:
    """A gallery at one generation, loaded for searching; the engine's ``Gallery``."""

    def __init__(
        self, database: Database, info: GalleryInfo, indexes: Mapping[str, Searchable]
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

    @property
    def searching(self) -> dict[str, Trained]:
        """How the large classes are searched; those that are not named are searched exactly."""
        return {
            label: index.part.trained
            for label, index in self._indexes.items()
            if isinstance(index, ApproximateIndex)
        }

    def search_record(self) -> dict[str, Any]:
        """How each class is searched, for the run record, JSON-able."""
        searching = self.searching
        return {
            label: {
                "kind": str(searching[label].kind),
                "cells": searching[label].cells,
                "probes": searching[label].probes,
                "compared": searching[label].proposed,
            }
            if label in searching
            else {"kind": "exact"}
            for label in self._indexes
        }

    def index(self, label: str) -> Searchable:
        """The index of one class."""
        return self._indexes[label]

    def describe(self, keys: Sequence[int]) -> dict[int, StoredReference]:
        """Look up references by their keys."""
        described = {}
        for first in range(0, len(keys), 500):  # SQLite bounds the number of parameters
            part = [int(key) for key in keys[first : first + 500]]
            marks = ",".join("?" * len(part))
            for row in self._database.conn.execute(
                "SELECT id, ordinal, label, generator, source, path, sha256, trained, compared"  # noqa: S608
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
                    bool(row[7]),
                    bool(row[8]),
                )
        return described


def load_class(database: Database, files: FaissFiles, info: GalleryInfo, label: str) -> Searchable:
    """The FAISS index of one class: what the files hold, and what has changed since."""
    name = faiss_name(info.key, label)
    if is_large(info, label):
        large = LargeClass(database, files, info, label, name).open()
        return class_at(database, info, label) if large is None else large
    loaded = files.load(name, info.dimension)
    watermark = str(info.generation)
    if loaded is not None and last_generation(loaded.watermark) > info.generation:
        return class_at(database, info, label)  # the file serves those that came later
    if loaded is not None and not loaded.watermark.isdecimal():
        loaded = None  # it holds what was added when the class was large
    if loaded is not None and loaded.watermark == watermark:
        return loaded.index
    index, since = VectorIndex(info.dimension), 0
    if loaded is not None:
        index, since = loaded.index, int(loaded.watermark)
        index.remove(
            [
                key
                for (key,) in database.conn.execute(
                    'SELECT id FROM "references" WHERE gallery_id = ? AND label = ? AND compared'
                    " AND removed > ? AND removed <= ? AND added <= ?",
                    (info.key, label, since, info.generation, since),
                )
            ]
        )
    for keys, vectors in references_since(database, info, label, since):
        index.add(keys, vectors)
    files.save(name, index, watermark)
    return index


def class_at(database: Database, info: GalleryInfo, label: str) -> VectorIndex:
    """The index of one class at the generation that `info` names, made for this once."""
    index = VectorIndex(info.dimension)
    for keys, vectors in references_since(database, info, label, 0):
        index.add(keys, vectors)
    return index


def faiss_name(key: int, label: str) -> str:
    """Name of the FAISS file of one class of a gallery."""
    return f"gallery-{key}-{label}"
