"""Writes a scan's rows, as they are reported, with what it learns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from .clock import now
from .content_keys import content_key
from .content_records import ContentLike, FileIdentity, Recall
from .contents import ContentStore
from .database import insert_rows, writing
from .gallery_records import GalleryInfo
from .leases import Leases
from .paths import load_path, store_path
from .sqlite import Database

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class NeighbourLike(Protocol):
    """A neighbour as far as it is stored."""

    @property
    def key(self) -> int:
        """The reference's key."""

    @property
    def similarity(self) -> float:
        """Cosine."""


class RowLike(Protocol):
    """A report's row, as far as it is stored; the engine's ``FileResult``."""

    @property
    def path(self) -> str:
        """As found."""

    @property
    def sha256(self) -> str | None:
        """Of the file."""

    @property
    def container(self) -> str | None:
        """The file on disk that it lies in, where it is not one itself."""

    @property
    def frame(self) -> int | None:
        """Which picture of a file with several, from 1."""

    @property
    def duplicate_of(self) -> str | None:
        """Path of the first file with the same bytes."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the file says of its origin."""

    @property
    def neighbours(self) -> Sequence[NeighbourLike]:
        """Evidence, nearest first."""

    @property
    def crops(self) -> "Sequence[DataclassInstance]":
        """Each crop's part."""

    @property
    def probe(self) -> "Sequence[DataclassInstance]":
        """Answers under harmless changes."""


PLAIN = (
    "bytes",
    "format",
    "width",
    "height",
    "status",
    "reason",
    "detail",
    "knn",
    "verdict",
    "p_fake",
    "margin",
    "real_similarity",
    "fake_similarity",
    "generator",
    "neighbour",
    "precision",
    "score",
    "log10_lr",
    "attribution",
    "attribution_certainty",
    "frames",
    "classifier",
    "classifier_score",
)
"""Columns stored as they are."""

_VERDICTS = (
    "INSERT OR REPLACE INTO verdicts (scan_id, position, path, sha256, container,"
    f" duplicate_of, provenance, crops, probe, {', '.join(PLAIN)})"
)
_NEIGHBOURS = "INSERT OR REPLACE INTO neighbours"


class ScanRecorder(ContentStore):
    """Writes one scan; the engine's ``Recorder``. Use it from one thread."""

    def __init__(
        self,
        database: Database,
        encoder_key: int,
        gallery: GalleryInfo,
        run: Mapping[str, Any],
        recall: Recall,
        plan: str,
        leases: Leases,
    ) -> None:
        super().__init__(database, encoder_key, gallery.preprocessing, recall, plan)
        self._position = 0
        self._leases = leases
        self.uuid = str(uuid4())
        leases.take(scan_lease(self.uuid))  # before anyone can see the scan
        with writing(database) as connection:
            self.key: int = connection.execute(
                "INSERT INTO scans (uuid, started, state, gallery_id, generation, run)"
                " VALUES (?, ?, 'running', ?, ?, ?) RETURNING id",
                (self.uuid, now(), gallery.key, gallery.generation, json.dumps(run)),
            ).fetchone()[0]

    def first_path(self, sha256: str, frame: int = 1) -> str | None:
        """The first recorded path of this scan with these bytes, or with this frame of them."""
        row = self._connection.execute(
            # Left to itself SQLite walks the whole scan, because that is in order already.
            "SELECT path FROM verdicts INDEXED BY verdicts_by_content"
            " WHERE scan_id = ? AND sha256 = ? ORDER BY position LIMIT 1",
            (self.key, content_key(sha256, frame)),
        ).fetchone()
        return None if row is None else load_path(row[0])

    def record(
        self, rows: Sequence[tuple[FileIdentity | None, ContentLike | None, RowLike]]
    ) -> None:
        """Store rows, and what was learnt of files that have one, in one transaction."""
        verdicts, neighbours = [], []
        with self._learning() as connection:
            for position, (file, content, row) in enumerate(rows, self._position):
                if file is not None and content is not None:
                    self.learn(file, content)
                verdicts.append(
                    (
                        self.key,
                        position,
                        store_path(row.path),
                        row.sha256 and content_key(row.sha256, row.frame or 1),
                        None if row.container is None else store_path(row.container),
                        None if row.duplicate_of is None else store_path(row.duplicate_of),
                        json.dumps(row.provenance, sort_keys=True),
                        _json_list(row.crops),
                        _json_list(row.probe),
                        *(getattr(row, column) for column in PLAIN),
                    )
                )
                neighbours += [
                    (self.key, position, rank, n.key, n.similarity)
                    for rank, n in enumerate(row.neighbours)
                ]
            insert_rows(connection, _VERDICTS, verdicts)
            insert_rows(connection, _NEIGHBOURS, neighbours)
        self._position += len(rows)

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        """Close the scan: ``finished``, ``interrupted`` or ``failed``."""
        with writing(self._database) as connection:
            connection.execute(
                "UPDATE scans SET state = ?, finished = ?, summary = ? WHERE id = ?",
                (state, now(), json.dumps(summary), self.key),
            )
        self._leases.give_back(scan_lease(self.uuid))


def scan_lease(uuid: str) -> str:
    """Name of the lease that the process of a scan holds."""
    return f"scan-{uuid}"


def _json_list(items: "Sequence[DataclassInstance]") -> str:
    """Flat records of one kind, of which :func:`dataclasses.asdict` would copy every number."""
    if not items:
        return "[]"
    names = [field.name for field in fields(items[0])]
    return json.dumps([{name: getattr(item, name) for name in names} for item in items])
