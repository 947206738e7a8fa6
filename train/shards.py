"""WebDataset shards with D3's keys: reading them in place, writing them, fetching remote ones.

A record is a run of tar members ``KEY.real.jpg``, ``KEY.gen_0.jpg`` ... ``KEY.gen_3.jpg``, and
here also ``KEY.record.json`` with the names of sources and generators. Members are read by offset
straight from the tar, so that any record can be drawn at any time, exactly again after a resume;
a tar reader that only streams (the webdataset package) cannot do that.
"""

import hashlib
import io
import json
import logging
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .catalogue import Catalogue, CatalogueBuilder, Label
from .errors import DataError

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"(?:.*/)?[^./]*", re.S)  # WebDataset's: up to the file name's first dot
_IMAGE = re.compile(r"\.(real|gen_\d+)\.(?!txt$|json$)[a-z0-9]+")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_REMOTE = ("http://", "https://", "s3://")


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a record.

    Attributes:
        data: The file's bytes, as they were found.
        suffix: Its format's suffix without the dot: jpg, png, ...
        generator: Name of the generator; '' for the real.
        source: Where it was collected.
    """

    data: bytes
    suffix: str
    generator: str
    source: str


def list_shards(data: str) -> list[str]:
    """The shards that a path or address names, in order; none where it names something else."""
    if data.startswith(_REMOTE):
        return _expand_braces(data)
    path = Path(data)
    if path.is_dir():
        return sorted(str(p) for p in path.glob("*.tar"))
    if path.suffix == ".tar":
        found = [name for name in _expand_braces(data) if Path(name).is_file()]
        if not found:
            raise DataError(f"there is no shard at {data}")
        return found
    return []


def _expand_braces(text: str) -> list[str]:
    match = _BRACES.search(text)
    if not match:
        return [text]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [f"{text[: match.start()]}{n:0{len(first)}d}{text[match.end() :]}" for n in numbers]


def index_shards(shards: list[str], cache: str = "") -> Catalogue:
    """List the images inside shards, without reading them.

    Args:
        shards: Paths or addresses; remote shards are copied to the cache first, once.
        cache: The cache folder; empty for the user's.

    Raises:
        DataError: A shard is damaged or cannot be fetched.
    """
    builder = CatalogueBuilder()
    number = -1
    for shard in shards:
        local = _fetch(shard, cache) if shard.startswith(_REMOTE) else Path(shard)
        try:
            for record in _records(local):
                number += 1
                for entry in record:
                    builder.add(
                        str(local), entry.label, generator=entry.generator, source=entry.source,
                        record=number, size=entry.size, offset=entry.offset,
                        name=f"{local.name}/{entry.name}",
                    )  # fmt: skip
        except (OSError, tarfile.TarError) as error:
            raise DataError(
                f"the shard {shard} is damaged: {error}", "make or fetch it again, or leave it out"
            ) from error
    return builder.build()


@dataclass(slots=True)
class _Entry:
    name: str
    label: Label
    generator: str
    source: str
    offset: int
    size: int


def _records(shard: Path) -> Iterator[list[_Entry]]:
    """The image members of each record, the real first."""
    current, entries = "", list[_Entry]()
    with tarfile.open(shard, "r:") as tar:  # a plain tar: members can be found by offset
        for member in tar:
            if not member.isfile():
                continue
            found = _KEY.match(member.name)
            key = found[0] if found else ""
            image = _IMAGE.fullmatch(member.name, len(key))
            if key != current and entries:
                yield sorted(entries, key=lambda e: (e.label, e.offset))
                entries = []
            current = key
            if image:
                role = image[1]
                fake = role != "real"
                label = Label.FAKE if fake else Label.REAL
                generator = role if fake else ""
                entries.append(
                    _Entry(member.name, label, generator, role, member.offset_data, member.size)
                )
            elif member.name.endswith(".record.json") and member.size < 1 << 20:
                handle = tar.extractfile(member)
                _apply_names(entries, handle.read() if handle else b"")
    if entries:
        yield sorted(entries, key=lambda e: (e.label, e.offset))


def _apply_names(entries: list[_Entry], data: bytes) -> None:
    try:
        names = json.loads(data)
        for entry in entries:
            role = entry.name.split(".")[-2]
            entry.generator, entry.source = map(str, names.get(role, ("", "")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        _LOG.warning("a record.json of %s cannot be read", entries[0].name if entries else "?")


class ShardWriter:
    """Writes records into one shard, which appears under its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_suffix(".tar.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")
        self._tar = tarfile.open(  # noqa: SIM115 - closed by __exit__
            fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT
        )

    def write(self, key: str, members: list[Member]) -> None:
        """Add a record; the images' names in the shard are D3's."""
        names: dict[str, tuple[str, str]] = {}
        fakes = 0
        for member in members:
            role = "real"
            if member.generator:
                role, fakes = f"gen_{fakes}", fakes + 1
            names[role] = (member.generator, member.source)
            self._add(f"{key}.{role}.{member.suffix}", member.data)
        self._add(f"{key}.record.json", json.dumps(names, sort_keys=True).encode())

    def _add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)  # no owner, no time: the same records give the same bytes
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if error is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _fetch(address: str, cache: str) -> Path:
    """Copy a remote shard into the cache, once."""
    try:
        import fsspec
    except ImportError as error:
        raise DataError(
            "remote shards need fsspec", "pip install 'code-forensics[train]'"
        ) from error
    import platformdirs

    folder = Path(cache) if cache else platformdirs.user_cache_path("code-forensics") / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{address.rsplit('/', 1)[-1]}"
    local = folder / re.sub(r"[^\w.-]", "_", name)
    if local.is_file():
        return local
    partial = local.with_name(f"{local.name}.{os.getpid()}.partial")
    try:
        with fsspec.open(address, "rb") as remote, partial.open("wb") as file:
            while block := remote.read(1 << 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:  # each of fsspec's file systems raises its own
        partial.unlink(missing_ok=True)
        raise DataError(f"cannot fetch {address}: {error}", "check address and network") from error
    partial.replace(local)
    return local
