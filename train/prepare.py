"""Making WebDataset shards from folders, a CSV, or Parquet of the published D3 layout.

Shard k holds the k-th block of the input's records and appears only when it is complete, so a
second call makes what is missing. Images keep their bytes: nothing is encoded anew.
"""

import hashlib
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from .catalogue import Catalogue
from .dataset import open_catalogue
from .download import DownloadOptions, download
from .errors import DataError
from .files import write_atomically
from .shards import Member, ShardWriter

_GENERATORS = 4
_COLUMNS = ("id", "url", *(f"{c}_gen{i}" for i in range(_GENERATORS)
                           for c in ("image", "filepath", "model")))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made.

    Attributes:
        shards: Shards that are there now.
        made: Shards that this call made.
        records: Records in those.
        dead: Records left out by this call because their real image could not be fetched.
    """

    shards: int
    made: int
    records: int
    dead: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A record of the input: images at hand, and the address of the real where it is not."""

    key: str
    url: str | None
    images: tuple[Member, ...]


class _Records(Protocol):
    """The input's records, in a fixed order."""

    def __len__(self) -> int: ...

    def rows(self, first: int, last: int) -> Iterator[_Row]:
        """Read the records from ``first`` up to, not including, ``last``."""


def prepare(
    source: str,
    out: Path,
    per_shard: int = 1000,
    options: DownloadOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Make shards.

    Args:
        source: A folder tree, CSV or shards; or a folder or address with ``.parquet`` files of
            the layout of ``elsaEU/ELSA_D3`` (id, url, image_gen0..3, filepath_gen0..3), whose
            reals are downloaded.
        out: Where ``shard-000000.tar`` and its successors go; beside a shard with dead addresses
            lies ``shard-000000.dead.jsonl`` with id, address and reason.
        per_shard: Records a shard.
        options: Limits of the downloads.
        say: Takes a line of progress.

    Raises:
        DataError: The source cannot be read, or ``out`` was made from another source.
    """
    files = _parquet_files(source)
    records: _Records = _Parquet(files) if files else _Collected(open_catalogue(source))
    _claim(out, source, per_shard)
    made = written = dead = 0
    shards = math.ceil(len(records) / per_shard)
    for number in range(shards):
        target = out / f"shard-{number:06d}.tar"
        if target.is_file():
            continue
        first = number * per_shard
        rows = records.rows(first, min(first + per_shard, len(records)))
        whole, lost = _write(target, rows, options or DownloadOptions())
        made, written, dead = made + 1, written + whole, dead + lost
        say(f"{target.name}: {whole} records, {lost} dead")
    return Prepared(shards, made, written, dead)


def _claim(out: Path, source: str, per_shard: int) -> None:
    """Remember what the shards are made from: blocks of other input must not mix with them."""
    path = out / "prepare.json"
    claim = {"source": source, "per_shard": per_shard}
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known != claim:
            raise DataError(
                f"{out} was begun from {known['source']} with {known['per_shard']} records a shard",
                "go on with the same, or choose another --out",
            )
        return
    write_atomically(path, lambda file: file.write(json.dumps(claim).encode()))


def _write(target: Path, rows: Iterator[_Row], options: DownloadOptions) -> tuple[int, int]:
    """Write one shard; returns how many records it holds and how many were dead."""
    dead: list[str] = []
    written = 0
    waiting: deque[_Row] = deque()  # rows whose real is being fetched, a window at a time

    def wanted() -> Iterator[tuple[str, str]]:
        for row in rows:
            if row.url is None:
                shard.write(row.key, list(row.images))
                nonlocal written
                written += 1
            else:
                waiting.append(row)
                yield row.key, row.url

    with ShardWriter(target) as shard:
        for found in download(wanted(), options):
            row = waiting.popleft()
            if found.reason:
                line = {"id": found.key, "url": found.url, "reason": found.reason}
                dead.append(json.dumps(line) + "\n")
                continue
            real = Member(found.data, _suffix(found.data), "", "web")
            shard.write(row.key, [real, *row.images])
            written += 1
        lost = target.with_suffix(".dead.jsonl")
        if dead:
            write_atomically(lost, lambda file: file.write("".join(dead).encode()))
        else:
            lost.unlink(missing_ok=True)  # of a call that was killed before the shard was whole
    return written, len(dead)


class _Collected:
    """The records of a folder tree, CSV or shards; a real and its fakes together."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        order = np.argsort(catalogue.record, kind="stable")
        starts = np.flatnonzero(np.diff(catalogue.record[order], prepend=-1) != 0)
        self._records = np.split(order, starts[1:])

    def __len__(self) -> int:
        return len(self._records)

    def rows(self, first: int, last: int) -> Iterator[_Row]:
        catalogue = self._catalogue
        for place in range(first, last):
            members = []
            for number in map(int, self._records[place]):
                data = catalogue.read(number)
                generator = catalogue.generators[catalogue.generator[number]]
                source = catalogue.sources[catalogue.source[number]]
                members.append(Member(data, _suffix(data), generator, source))
            yield _Row(f"{place:09d}", None, tuple(members))


def _parquet_files(source: str) -> list[tuple[Any, str]]:
    """Parquet files at a folder or an address, as (file system, path)."""
    if "://" not in source and not any(Path(source).rglob("*.parquet")):
        return []
    try:
        import fsspec
    except ImportError as error:
        raise DataError(
            "Parquet needs fsspec and pyarrow", "pip install 'code-forensics[train]'"
        ) from error
    system, path = fsspec.core.url_to_fs(source)
    return [(system, name) for name in sorted(system.glob(f"{path}/**/*.parquet"))]


class _Parquet:
    """The rows of D3's Parquet files, read a row group at a time."""

    def __init__(self, files: list[tuple[Any, str]]) -> None:
        try:
            import pyarrow.parquet as pq
        except ImportError as error:
            raise DataError(
                "Parquet needs pyarrow", "pip install 'code-forensics[train]'"
            ) from error
        self._open = pq.ParquetFile
        self._groups: list[tuple[Any, str, int, int]] = []  # file system, path, group, first row
        self._count = 0
        for system, name in files:
            with self._reading(name), system.open(name, "rb") as handle:
                table = self._open(handle)
                if not {"id", "url", "image_gen0"} <= set(table.schema_arrow.names):
                    raise DataError(
                        f"{name} lacks id, url or image_gen0", "expected the layout of ELSA_D3"
                    )
                for group in range(table.num_row_groups):
                    self._groups.append((system, name, group, self._count))
                    self._count += table.metadata.row_group(group).num_rows

    def __len__(self) -> int:
        return self._count

    def rows(self, first: int, last: int) -> Iterator[_Row]:
        ends = [start for *_, start in self._groups[1:]] + [self._count]
        for (system, name, group, start), end in zip(self._groups, ends, strict=True):
            if end <= first or start >= last:
                continue
            place = start
            with self._reading(name), system.open(name, "rb") as handle:
                table = self._open(handle)
                columns = [column for column in _COLUMNS if column in table.schema_arrow.names]
                for batch in table.iter_batches(16, row_groups=[group], columns=columns):
                    for line in batch.to_pylist():
                        if first <= place < last:
                            yield _row(line)
                        place += 1

    @staticmethod
    @contextmanager
    def _reading(name: str) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (ArrowException, OSError) as error:
            raise DataError(f"cannot read {name}: {error}", "fetch the file again") from error


def _row(line: dict[str, Any]) -> _Row:
    fakes = []
    for slot in range(_GENERATORS):
        image = line.get(f"image_gen{slot}")
        data = image.get("bytes") if isinstance(image, dict) else image
        if data:
            generator = line.get(f"model_gen{slot}") or f"gen_{slot}"
            fakes.append(Member(data, _suffix(data), str(generator), str(generator)))
    return _Row(_key(str(line["id"])), str(line.get("url") or ""), tuple(fakes))


def _key(identity: str) -> str:
    """A record's key in a shard: its id, where that holds nothing that would end a key.

    Other ids keep what they can and get a digest, so that no two share a key.
    """
    key = re.sub(r"[^\w-]", "_", identity)
    if key == identity:
        return key
    return f"{key}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _suffix(data: bytes) -> str:
    """The suffix of an image's format; 'bin' for what is no image, which the loader passes over."""
    try:
        with Image.open(BytesIO(data)) as image:
            kind = (image.format or "bin").lower()
    except (OSError, ValueError, Image.DecompressionBombError):
        kind = "bin"
    return {"jpeg": "jpg", "tiff": "tif", "mpo": "jpg"}.get(kind, kind)
