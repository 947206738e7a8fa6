"""Checks FAISS files against SQLite, and rebuilds those that differ."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..galleries import Galleries
from ..gallery_records import LABELS
from ..open_gallery import OpenGallery, faiss_name
from ..searching.faiss_files import FaissFiles, FileState
from ..searching.large_class import file_names
from ..searching.scanned_vectors import ScannedVectors
from ..searching.searchable import Searchable
from ..searching.vectors import finite, nonzero, unit
from ..sqlite import Database
from .findings import CheckResult, Finding, Outcome

_ROWS = 8192
_CLOSE = 1e-6
"""Most that a coordinate of a unit vector may differ: float32 rounding."""

_GALLERY = (
    'SELECT id, vector FROM "references" WHERE gallery_id = ? AND label = ? AND removed IS NULL'
    " AND compared ORDER BY id"
)
_SCANNED = (
    "SELECT id, vector FROM embeddings WHERE id BETWEEN ? AND ? AND encoder_id = ?"
    " AND preprocessing = ? ORDER BY id"
)


@dataclass(frozen=True, slots=True)
class _Case:
    """A FAISS file, how to bring it up to date, and the rows that it should hold."""

    name: str
    dimension: int
    refresh: Callable[[], object]
    index: Callable[[], Searchable | None]
    query: str
    values: tuple[int | str, ...]


class FaissCheck:
    """Compares the derived files with the truth."""

    def __init__(
        self, database: Database, files: FaissFiles, galleries: Galleries, scanned: ScannedVectors
    ) -> None:
        self._database = database
        self._files = files
        self._galleries = galleries
        self._scanned = scanned

    def run(self) -> CheckResult:
        """Check every file that was ever saved; the others will be built when they are needed."""
        cases = [*self._of_galleries(), *self._of_scans()]
        # All are looked at first: bringing one up to date does so with the others of its gallery.
        saved = [(c, self._files.state(c.name), self._files.watermark(c.name)) for c in cases]
        saved = [entry for entry in saved if entry[1] is not FileState.ABSENT]
        for case, state, _ in saved:
            if state is not FileState.SOUND:
                self._files.drop(case.name)
        findings = []
        for case, state, watermark in saved:
            problem = self._repair(case, state, watermark)
            if problem:
                findings.append(Finding(f"the FAISS file {case.name} {problem}", Outcome.REPAIRED))
        return CheckResult("FAISS files", len(saved), tuple(findings))

    def _repair(self, case: _Case, state: FileState, watermark: str | None) -> str:
        """Bring a file up to date; what was wrong with it, in words, or nothing."""
        case.refresh()
        if state is not FileState.SOUND:
            return f"was {state}: rebuilt"
        if not self._agrees(case):
            self._files.drop(case.name)
            case.refresh()
            return "held other vectors than the database: rebuilt"
        if self._files.watermark(case.name) != watermark:
            return "was stale: brought up to date"
        return ""

    def _of_galleries(self) -> Iterator[_Case]:
        for name in self._galleries.names():
            info = self._galleries.info(name)
            for label in LABELS:
                main = faiss_name(info.key, label)
                for file in (main, *file_names(main)):
                    yield _Case(
                        file,
                        info.dimension,
                        lambda name=name: self._opened(name),  # type: ignore[misc]
                        lambda name=name, label=label: self._opened(name).index(label),  # type: ignore[misc]
                        _GALLERY,
                        (info.key, label),
                    )

    def _opened(self, name: str) -> OpenGallery:
        return self._galleries.open(self._galleries.info(name))

    def _of_scans(self) -> Iterator[_Case]:
        for collection in self._scanned.collections():
            for segment in self._scanned.segments(collection):
                yield _Case(
                    segment.name,
                    collection.dimension,
                    lambda c=collection, s=segment: self._scanned.refresh(c, s),  # type: ignore[misc]
                    lambda c=collection, s=segment: self._loaded(s.name, c.dimension),  # type: ignore[misc]
                    _SCANNED,
                    (segment.first, segment.last, collection.encoder_key, collection.preprocessing),
                )

    def _loaded(self, name: str, dimension: int) -> Searchable | None:
        loaded = self._files.load(name, dimension)
        return None if loaded is None else loaded.index

    def _agrees(self, case: _Case) -> bool:
        index, position = case.index(), 0
        if index is None:  # it cannot be kept here, so that nobody can be misled by it
            return True
        held = index.keys
        order = np.argsort(held, kind="stable")
        rows = self._database.conn.execute(case.query, case.values)
        while part := rows.fetchmany(_ROWS):
            keys, vectors = _usable(part, case.dimension)
            mine = order[position : position + len(keys)]
            if not _same(held[mine], index.units_of(mine), keys, vectors):
                return False
            position += len(keys)
        return position == len(index)


def _usable(
    rows: list[tuple[int, bytes]], dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Those rows that an index can hold."""
    fitting = [(key, blob) for key, blob in rows if len(blob) == 4 * dimension]
    keys = np.array([key for key, _ in fitting], np.int64)
    vectors = np.frombuffer(b"".join(blob for _, blob in fitting), "<f4").reshape(-1, dimension)
    good = finite(vectors) & nonzero(vectors)
    return keys[good], vectors[good]


def _same(
    held_keys: NDArray[np.int64],
    held_units: NDArray[np.float32],
    keys: NDArray[np.int64],
    vectors: NDArray[np.float32],
) -> bool:
    return np.array_equal(held_keys, keys) and np.allclose(
        held_units, unit(vectors), rtol=0, atol=_CLOSE
    )
