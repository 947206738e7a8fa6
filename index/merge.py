"""Merge the shards of a scan, each made in a workspace of its own, into one scan."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from .clock import now
from .content_keys import split_key
from .content_records import ANY_PRECISION, KnownContent, Recall
from .contents import ContentStore
from .database import writing
from .errors import GalleryError
from .galleries import Galleries
from .gallery_records import GalleryInfo
from .paths import load_path
from .scans import ScanInfo, Scans
from .shard_scans import ShardScan, asked_paths, other_workspace
from .sqlite import Database

_CHUNK = 1000
"""Contents or rows taken at a time."""

_OWN = ("purged", "rejudged")
"""Parts of a shard's run record that speak of its own workspace."""

_TEMPORARY = """
CREATE TEMP TABLE staged (
    key BLOB NOT NULL,              -- sorts as the walk of the whole
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL,      -- in the shard
    sha256 TEXT,                    -- of rows with a verdict
    path NOT NULL,
    PRIMARY KEY (key, shard, position)
) WITHOUT ROWID;
CREATE TEMP TABLE places (
    shard INTEGER NOT NULL,
    position INTEGER NOT NULL,
    place INTEGER NOT NULL,         -- in the whole
    sha256 TEXT,
    path NOT NULL,
    PRIMARY KEY (shard, position)
) WITHOUT ROWID;
CREATE TEMP TABLE firsts (
    sha256 TEXT PRIMARY KEY,
    place INTEGER NOT NULL,
    path NOT NULL
) WITHOUT ROWID
"""


class Stopped(Exception):  # noqa: N818
    """The user has asked to stop; nothing of the scan was written."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """What belongs together.

    Attributes:
        shards: The parts, checked by :func:`shard_scans.check_shards`.
        key: Of a path as found: bytes that sort as the walk of the whole.
        summarise: Makes the summary of all rows, mappings of the report's names in their order.
        stop: Asked often; once true, the merge ends with :class:`Stopped`.
    """

    shards: Sequence[ShardScan]
    key: Callable[[str], bytes]
    summarise: Callable[[Iterator[dict[str, Any]]], Mapping[str, Any]]
    stop: Callable[[], bool] = lambda: False


class Merger:
    """Brings shards into one workspace.

    First come contents, vectors and files, in small transactions: an interrupted merge goes on
    with what is missing. Then the scan appears with all its rows in one transaction, or not at
    all. Shards that were merged before are not merged again.
    """

    def __init__(self, database: Database, galleries: Galleries, scans: Scans) -> None:
        self._database = database
        self._connection: sqlite3.Connection = database.conn
        self._galleries = galleries
        self._scans = scans

    def merged(self, shards: Sequence[ShardScan]) -> ScanInfo | None:
        """The scan that these shards were merged into before, if any."""
        wanted = {shard.info.uuid for shard in shards}
        for info in self._scans.all():
            if {part["id"] for part in info.run.get("merged", {}).get("shards", ())} == wanted:
                return info
        return None

    def merge(self, plan: MergePlan) -> ScanInfo:
        """Merge.

        Raises:
            GalleryError: This workspace does not hold the shards' gallery.
            Stopped: The user has asked to stop.
        """
        gallery = self._gallery(plan.shards[0])
        for shard in plan.shards:
            self._bring_contents(shard, gallery, plan)
        with self._staging(), writing(self._database):
            info = self._begin(plan, gallery)
            staged = sum(self._stage(shard, plan) for shard in plan.shards)
            self._place()
            written = sum(self._copy(shard, info, plan) for shard in plan.shards)
            if written != staged:
                raise GalleryError("a shard has changed while it was merged", "merge again")
            return self._finish(info, plan)

    def _gallery(self, shard: ShardScan) -> GalleryInfo:
        """The state of a gallery here that has the hash of the shards' gallery."""
        wanted = shard.info.run["gallery"]
        row = self._connection.execute(
            "SELECT h.gallery_id, h.generation FROM gallery_generations h"
            " JOIN galleries g ON g.id = h.gallery_id WHERE h.sha256 = ? AND g.name = ?"
            " ORDER BY g.removed IS NOT NULL, h.generation DESC",
            (wanted["sha256"], wanted["name"]),
        ).fetchone()
        if row is None:
            raise GalleryError(
                f"this workspace holds no gallery {wanted['name']} with the hash"
                f" {wanted['sha256'][:12]} that the shards were compared with",
                "merge into the workspace that they are copies of, or into one restored from the"
                " same backup (code-index backup and restore)",
            )
        return self._galleries.info_at(*row)

    def _bring_contents(self, shard: ShardScan, gallery: GalleryInfo, plan: MergePlan) -> None:
        views = shard.info.run.get("views") or {}
        with other_workspace(shard.folder) as source:
            theirs, ours = (
                ContentStore(
                    database,
                    database.conn.execute(
                        "SELECT id FROM encoders WHERE sha256 = ?", (gallery.encoder_sha256,)
                    ).fetchone()[0],
                    gallery.preprocessing,
                    Recall(precisions=ANY_PRECISION),
                    str(views.get("id") or ""),
                )
                for database in (source, self._database)
            )
            hashes = source.conn.execute(
                "SELECT DISTINCT sha256 FROM verdicts WHERE scan_id = ? AND sha256 IS NOT NULL"
                " ORDER BY sha256",
                (shard.info.key,),
            )
            while part := hashes.fetchmany(_CHUNK):
                _ask(plan)
                known = [theirs.known_content(*split_key(key)) for (key,) in part]
                ours.bring([content for content in known if isinstance(content, KnownContent)])
            files = source.conn.execute(
                "SELECT f.path, f.bytes, f.mtime_ns, f.inode, f.device, f.container, c.sha256"
                " FROM files f"
                " JOIN contents c ON c.id = f.content_id"
                " WHERE f.path IN (SELECT path FROM verdicts WHERE scan_id = ?) ORDER BY f.id",
                (shard.info.key,),
            )
            while part := files.fetchmany(_CHUNK):
                _ask(plan)
                ours.bring_files([(_file(*facts), sha256) for *facts, sha256 in part])

    @contextmanager
    def _staging(self) -> Iterator[None]:
        tables = [statement for statement in _TEMPORARY.split(";\n") if statement.strip()]
        for statement in tables:
            self._connection.execute(statement)
        try:
            yield
        finally:
            for name in ("staged", "places", "firsts"):
                self._connection.execute(f"DROP TABLE IF EXISTS temp.{name}")

    def _begin(self, plan: MergePlan, gallery: GalleryInfo) -> ScanInfo:
        infos = [shard.info for shard in plan.shards]
        run = {
            **{name: value for name, value in infos[0].run.items() if name not in _OWN},
            "arguments": {
                **infos[0].run["arguments"],
                "paths": asked_paths(plan.shards),
                "shard": None,
                "directory": _directory(infos),
            },
            "merged": {
                "at": now(),
                "shards": [
                    {
                        "id": shard.info.uuid,
                        "shard": f"{shard.number}/{shard.count}",
                        "started": shard.info.started,
                        "finished": shard.info.finished,
                        "device": shard.info.run["encoder"].get("device"),
                        "host": shard.info.run.get("host"),
                        "purged": shard.info.run.get("purged", []),
                        **_rejudged(shard.info.run),
                    }
                    for shard in plan.shards
                ],
            },
        }
        (key,) = self._connection.execute(
            "INSERT INTO scans (uuid, started, finished, state, gallery_id, generation, run)"
            " VALUES (?, ?, ?, 'finished', ?, ?, ?) RETURNING id",
            (
                str(uuid4()),
                min(info.started for info in infos),
                max(info.finished or info.started for info in infos),
                gallery.key,
                gallery.generation,
                json.dumps(run),
            ),
        ).fetchone()
        return self._scans.info(str(key))

    def _stage(self, shard: ShardScan, plan: MergePlan) -> int:
        """Note every row of a shard with its key; how many there are."""
        count, last = 0, b""
        with other_workspace(shard.folder) as source:
            rows = source.conn.execute(
                "SELECT position, path, COALESCE(container, path),"
                " CASE WHEN knn IS NOT NULL THEN sha256 END FROM verdicts"
                " WHERE scan_id = ? ORDER BY position",
                (shard.info.key,),
            )
            while part := rows.fetchmany(_CHUNK):
                _ask(plan)
                staged = []
                for position, path, file, sha256 in part:
                    # What one file holds stays with it in its own order, whatever its names.
                    last = max(last, plan.key(load_path(file)))
                    staged.append((last, shard.number, position, sha256, path))
                self._connection.executemany("INSERT INTO staged VALUES (?, ?, ?, ?, ?)", staged)
                count += len(part)
        return count

    def _place(self) -> None:
        """Number the rows of all shards, and find the first with each content."""
        self._connection.execute(
            "INSERT INTO places SELECT shard, position,"
            " ROW_NUMBER() OVER (ORDER BY key, shard, position) - 1, sha256, path FROM staged"
        )
        self._connection.execute(
            "INSERT INTO firsts SELECT sha256, MIN(place), path FROM places"
            " WHERE sha256 IS NOT NULL GROUP BY sha256"
        )

    def _copy(self, shard: ShardScan, info: ScanInfo, plan: MergePlan) -> int:
        """Write the rows of a shard, and their neighbours; how many rows."""
        count = 0
        with other_workspace(shard.folder) as source:
            names = [row[1] for row in self._connection.execute("PRAGMA table_info(verdicts)")]
            at = {name: number for number, name in enumerate(names)}
            statement = (
                f"INSERT INTO verdicts ({', '.join(names)})"  # noqa: S608
                f" VALUES ({', '.join('?' * len(names))})"
            )
            rows = source.conn.execute(
                f"SELECT {', '.join(names)} FROM verdicts WHERE scan_id = ? ORDER BY position",  # noqa: S608
                (shard.info.key,),
            )
            while part := rows.fetchmany(_CHUNK):
                _ask(plan)
                written = []
                for row in part:
                    values = list(row)
                    place, first = self._where(shard.number, row[at["position"]])
                    values[at["scan_id"]], values[at["position"]] = info.key, place
                    values[at["duplicate_of"]] = first
                    if first is not None and row[at["status"]] == "scanned":
                        values[at["status"]] = "duplicate"
                    written.append(values)
                self._connection.executemany(statement, written)
                count += len(part)
            neighbours = source.conn.execute(
                "SELECT n.position, n.rank, r.ordinal, n.similarity FROM neighbours n"
                ' JOIN "references" r ON r.id = n.reference_id WHERE n.scan_id = ?'
                " ORDER BY n.position, n.rank",
                (shard.info.key,),
            )
            while part := neighbours.fetchmany(_CHUNK):
                _ask(plan)
                self._connection.executemany(
                    "INSERT INTO neighbours SELECT ?, p.place, ?, r.id, ? FROM places p"
                    ' JOIN "references" r ON r.gallery_id = ? AND r.ordinal = ?'
                    " WHERE p.shard = ? AND p.position = ?",
                    [
                        (info.key, rank, similarity, info.gallery_key, ordinal, shard.number, at_)
                        for at_, rank, ordinal, similarity in part
                    ],
                )
        return count

    def _where(self, shard: int, position: int) -> tuple[int, str | bytes | None]:
        """Place of a row in the whole, and the path that it repeats the content of."""
        place, first, path = self._connection.execute(
            "SELECT p.place, f.place, f.path FROM places p"
            " LEFT JOIN firsts f ON f.sha256 = p.sha256 WHERE p.shard = ? AND p.position = ?",
            (shard, position),
        ).fetchone()
        return place, None if first is None or first == place else path

    def _finish(self, info: ScanInfo, plan: MergePlan) -> ScanInfo:
        summary = {
            **plan.summarise(self._scans.rows(info)),
            "left_out": sum((s.info.summary or {}).get("left_out", 0) for s in plan.shards),
        }
        self._connection.execute(
            "UPDATE scans SET summary = ? WHERE id = ?", (json.dumps(summary), info.key)
        )
        return self._scans.info(str(info.key))


def _rejudged(run: Mapping[str, Any]) -> dict[str, Any]:
    """Of a shard that was judged again, what its workspace says of that."""
    return {"rejudged": run["rejudged"]} if "rejudged" in run else {}


def _directory(infos: Sequence[ScanInfo]) -> str | None:
    """Where relative paths start from, where that is one place for all shards."""
    every = {info.run["arguments"].get("directory") for info in infos}
    return every.pop() if len(every) == 1 else None


@dataclass(frozen=True, slots=True)
class _File:
    """A file as another workspace knows it."""

    path: str
    bytes: int
    mtime_ns: int
    inode: int
    device: int
    container: str | None


def _file(
    path: str | bytes,
    size: int,
    mtime_ns: int,
    inode: int,
    device: int,
    container: str | bytes | None,
) -> _File:
    within = None if container is None else load_path(container)
    return _File(load_path(path), size, mtime_ns, inode, device, within)


def _ask(plan: MergePlan) -> None:
    if plan.stop():
        raise Stopped
