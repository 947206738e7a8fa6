"""One class of a large gallery: its cells made, kept, and made again when they no longer fit."""

import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..database import writing
from ..gallery_records import GalleryInfo
from ..sqlite import Database
from .approximate import ApproximateIndex, TrainedPart
from .exact_rows import ExactRows, write_rows
from .faiss_files import FaissFiles
from .inverted_lists import PROPOSED, QUERIES, InvertedLists, Trained, cells_for, kind_for, sample
from .tuning import tune
from .vectors import VectorIndex, unit

_LOG = logging.getLogger(__name__)

EXACT = 250_000
"""Most references of a class that are all compared with a query."""

FRESH = 0.05
"""Share of a class that may come or go before the cells are filled again."""

DRIFT = 1.25
"""How many times farther from the centroids what was added may lie before they are learnt again."""

_PART = 16384


def is_large(info: GalleryInfo, label: str) -> bool:
    """Whether a class is searched in cells."""
    return (info.reals if label == "real" else info.fakes) > EXACT


def file_names(name: str) -> tuple[str, str]:
    """Names of the files of a class's vectors and cells, from that of its exact index."""
    return f"{name}-rows", f"{name}-cells"


def kept_search(database: Database, key: int, label: str) -> Trained | None:
    """How a class of a gallery is searched, where it was ever in cells."""
    row = database.conn.execute(
        "SELECT document FROM trained_searches WHERE gallery_id = ? AND label = ?", (key, label)
    ).fetchone()
    try:
        return None if row is None else Trained.from_json(row[0])
    except ValueError:
        return None


class LargeClass:
    """The cells of one class of a gallery.

    Args:
        database: The truth.
        files: What is derived.
        info: The gallery, at one generation.
        label: The class.
        name: Of the file that holds what was added since the cells were made.
    """

    def __init__(
        self, database: Database, files: FaissFiles, info: GalleryInfo, label: str, name: str
    ) -> None:
        self._database = database
        self._files = files
        self._info = info
        self._label = label
        self._name = name
        self._names = file_names(name)

    def open(self) -> ApproximateIndex | None:
        """Bring the files up to date, and map them.

        Returns:
            None where they cannot be kept, or serve a later state of the gallery already.
        """
        if self._is_behind():
            return None
        part = self._mapped()
        if part is not None:
            index = self._since(part)
            if index.changed <= FRESH * len(part.rows):
                return index
        made = self._make(part)
        return None if made is None else self._since(made)

    def _is_behind(self) -> bool:
        """Whether somebody has opened the gallery in a later state than this one."""
        marks = [self._files.watermark(name) for name in (self._name, *self._names)]
        return any(m is not None and last_generation(m) > self._info.generation for m in marks)

    def _mapped(self) -> TrainedPart | None:
        trained = kept_search(self._database, self._info.key, self._label)
        located = [self._files.locate(name) for name in self._names]
        rows, lists = located
        if trained is None or rows is None or lists is None:
            return None
        state = str(trained.generation)
        if not rows.watermark == lists.watermark == state:
            return None
        return TrainedPart.map(rows.path, lists.path, trained, self._info.dimension)

    def _since(self, part: TrainedPart) -> ApproximateIndex:
        """What is in cells, and what has changed since."""
        base, now = part.trained.generation, self._info.generation
        added = VectorIndex(self._info.dimension)
        if base == now:
            return ApproximateIndex(part, added, ())
        removed = [
            key
            for (key,) in self._database.conn.execute(
                'SELECT id FROM "references" WHERE gallery_id = ? AND label = ? AND compared'
                " AND removed > ? AND removed <= ? AND added <= ? ORDER BY id",
                (self._info.key, self._label, base, now, base),
            )
        ]
        loaded = self._files.load(self._name, self._info.dimension)
        if loaded is not None and loaded.watermark == f"{base}+{now}":
            return ApproximateIndex(part, loaded.index, removed)
        for keys, vectors in references_since(self._database, self._info, self._label, base):
            added.add(keys, vectors)
        self._files.save(self._name, added, f"{base}+{now}")
        return ApproximateIndex(part, added, removed)

    def _make(self, earlier: TrainedPart | None) -> TrainedPart | None:
        info, state = self._info, str(self._info.generation)
        count = info.reals if self._label == "real" else info.fakes
        _LOG.info("putting %d %s references of %s into cells", count, self._label, info.name)
        every = references_since(self._database, info, self._label, 0)
        rows_file = self._files.keep(
            self._names[0],
            state,
            lambda path: write_rows(path, every, count, info.dimension),
        )
        if rows_file is None:
            return None
        rows = ExactRows.map(rows_file.path, info.dimension)
        lists, trained = self._fill(rows, earlier)
        lists_file = self._files.keep(self._names[1], state, lists.write)
        if lists_file is None:
            return None
        with writing(self._database) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO trained_searches VALUES (?, ?, ?)",
                (info.key, self._label, trained.to_json()),
            )
        self._files.drop(self._name)
        return TrainedPart.map(rows_file.path, lists_file.path, trained, info.dimension)

    def _fill(self, rows: ExactRows, earlier: TrainedPart | None) -> tuple[InvertedLists, Trained]:
        """Cells with all rows; the earlier centroids serve as long as they fit."""
        kind, cells = kind_for(self._info.dimension), cells_for(len(rows))
        if earlier is not None and self._fits(rows, earlier):
            trained = earlier.trained
            lists = earlier.lists.emptied(trained.kind)
            kind, cells = trained.kind, trained.cells
            trained_on, spread = trained.trained_on, trained.spread
        else:
            lists = InvertedLists.train(rows, kind, cells)
            trained_on = len(rows)
            spread = lists.spread(rows.units[sample(len(rows), _PART)])
        lists.fill(rows)
        recall = tune(lists, rows, self._others(), PROPOSED[kind])
        return lists, Trained(
            kind=kind,
            cells=cells,
            probes=recall.probes,
            vectors=len(rows),
            trained_on=trained_on,
            spread=spread,
            generation=self._info.generation,
            recall_1=recall.at_1,
            recall_10=recall.at_10,
            other_recall_1=recall.other_at_1,
            shortfall=recall.shortfall,
            queries=recall.queries,
            proposed=recall.proposed,
        )

    def _others(self) -> NDArray[np.float32]:
        """Unit vectors of a seeded sample of the other class."""
        info, connection = self._info, self._database.conn
        keys = [
            key
            for (key,) in connection.execute(
                'SELECT id FROM "references" WHERE gallery_id = ? AND label <> ? AND added <= ?'
                " AND compared AND (removed IS NULL OR removed > ?) ORDER BY id",
                (info.key, self._label, info.generation, info.generation),
            )
        ]
        chosen = [
            connection.execute(
                'SELECT vector FROM "references" WHERE id = ?', (keys[row],)
            ).fetchone()[0]
            for row in sample(len(keys), QUERIES)
        ]
        vectors = np.frombuffer(b"".join(chosen), "<f4").reshape(-1, info.dimension)
        return unit(vectors).astype(np.float32)

    def _fits(self, rows: ExactRows, earlier: TrainedPart) -> bool:
        """Whether what was added lies as near to the centroids as what they were learnt from."""
        trained = earlier.trained
        if kind_for(self._info.dimension) is not trained.kind or len(rows) > 2 * trained.trained_on:
            return False
        first = int(np.searchsorted(rows.keys, earlier.rows.keys[-1], side="right"))
        new = rows.units[first:]
        if not len(new):
            return True
        return earlier.lists.spread(new[sample(len(new), _PART)]) <= DRIFT * trained.spread


def last_generation(watermark: str) -> int:
    """The newest state of a gallery that a file with such a watermark is of; -1 of an odd one."""
    generation = watermark.rpartition("+")[2]
    return int(generation) if generation.isdecimal() else -1


def references_since(
    database: Database, info: GalleryInfo, label: str, since: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Keys and vectors that are compared with and were added since, in the order of keys."""
    rows = database.conn.execute(
        'SELECT id, vector FROM "references" WHERE gallery_id = ? AND label = ? AND added > ?'
        " AND compared AND added <= ? AND (removed IS NULL OR removed > ?) ORDER BY id",
        (info.key, label, since, info.generation, info.generation),
    )
    while part := rows.fetchmany(_PART):
        keys = np.array([key for key, _ in part], np.int64)
        vectors = np.frombuffer(b"".join(blob for _, blob in part), "<f4")
        yield keys, vectors.reshape(len(keys), info.dimension)
