"""Reads tar files header by header, from a stream (POSIX.1-2017 ustar and pax, GNU long names).

Own code around :meth:`tarfile.TarInfo.frombuf`, because :mod:`tarfile` ends silently at a damaged
header, so that what lies behind it would be missing without a word, and reads extended headers
of any size into memory.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from .limits import ArchiveError
from .streams import Part, Source, exactly, skip

_BLOCK = 512
_LONG_NAME = 1 << 16
_PAX = 1 << 20
_RECORDS = 10_000  # of an extended header; an old sparse file's map has two for each hole
_DIGITS = 8  # of a record's length
_ZEROS = bytes(_BLOCK)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One header, and the bytes behind it.

    Attributes:
        name: Bytes that are no UTF-8 are surrogate-escaped.
        size: Bytes, as stated.
        kind: Type flag of the header.
        sparse: Whether its bytes are a map of holes and what lies between them.
        data: Gives the bytes; what is left of them is skipped before the next entry.
    """

    name: str
    size: int
    kind: bytes
    sparse: bool
    data: Part

    @property
    def is_file(self) -> bool:
        """Whether it is a file whose bytes follow as they are."""
        return self.kind in _FILES and not self.sparse


def tar_entries(stream: Source) -> Iterator[TarEntry]:
    """The entries of a tar file in order; also those of a second tar file behind the first.

    Raises:
        ArchiveError: A header is damaged, or the file ends within an entry.
    """
    extended: dict[str, str] = {}
    while (block := exactly(stream, _BLOCK)) != b"":
        if block == _ZEROS:
            continue
        info = _header(block)
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            text = _extension(stream, info.size, _LONG_NAME).rstrip(b"\0")
            if info.type == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = text.decode("utf-8", "surrogateescape")
            continue
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            records = _extension(stream, info.size, _PAX)
            if info.type != tarfile.XGLTYPE:
                extended |= _pax(records)
            continue
        sparse = info.type == tarfile.GNUTYPE_SPARSE
        if sparse:
            _skip_sparse_map(stream, block)
        size = _number(extended.get("size"), info.size)
        holes = sparse or any(key.startswith("GNU.sparse.") for key in extended)
        data = Part(stream, size if info.type in (*_FILES, tarfile.GNUTYPE_SPARSE) else 0)
        padding = -data.left % _BLOCK
        name = extended.get("GNU.sparse.name") or extended.get("path") or info.name
        extended = {}
        yield TarEntry(name, size, info.type, holes, data)
        rest, data.left = data.left + padding, 0
        if skip(stream, rest) < rest:
            raise ArchiveError("truncated", "it ends within a member")


def _header(block: bytes) -> tarfile.TarInfo:
    if len(block) < _BLOCK:
        raise ArchiveError("truncated", "it ends within a header")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise ArchiveError("corrupt", "a header is damaged; what follows is not found") from error
    if info.size < 0:
        raise ArchiveError("corrupt", "a member of less than no bytes")
    return info


def _extension(stream: Source, size: int, limit: int) -> bytes:
    if size > limit:
        raise ArchiveError("corrupt", f"an extended header of {size} bytes")
    data = exactly(stream, size)
    padding = -size % _BLOCK
    if len(data) < size or skip(stream, padding) < padding:
        raise ArchiveError("truncated", "it ends within an extended header")
    return data


def _pax(records: bytes) -> dict[str, str]:
    """Records of "LENGTH KEY=VALUE" and a line feed; what is not of that form ends them.

    Raises:
        ArchiveError: They are too many.
    """
    found: dict[str, str] = {}
    at = 0
    for _ in range(_RECORDS):
        space = records.find(b" ", at, at + _DIGITS + 1)
        length = records[at : max(space, at)]
        if not length.isdigit():
            return found
        end = min(at + int(length), len(records))
        key, equals, value = records[space + 1 : max(end - 1, 0)].partition(b"=")
        if not equals:
            return found
        text = value.decode("utf-8", "surrogateescape")
        found[key.decode("utf-8", "surrogateescape")] = text
        at = end
    if at < len(records):
        raise ArchiveError("corrupt", f"an extended header of more than {_RECORDS} records")
    return found


def _number(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ArchiveError("corrupt", "a size that is not a number")
    return int(text)


def _skip_sparse_map(stream: Source, header: bytes) -> None:
    """Skip the blocks that continue the map of an old GNU sparse header."""
    more = header[482] != 0
    while more:
        block = exactly(stream, _BLOCK)
        if len(block) < _BLOCK:
            raise ArchiveError("truncated", "it ends within a header")
        more = block[504] != 0
