"""Reads ZIP files entry by entry (PKWARE APPNOTE 6.3.9).

Own code, because :mod:`zipfile` holds the whole directory in memory, and refuses an archive for one
name that is no UTF-8.
"""

import bz2
import lzma
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from .limits import ArchiveError, LimitError, Reason, Spent
from .streams import MEMORY, Counted, Expanded, Inflated, Part, Source, Xz, Zstd, exactly

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_COMMENT = 1 << 16
_FULL = 0xFFFFFFFF
_ENCRYPTED, _UTF8 = 1, 1 << 11
_UNIX = 3


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One entry of the directory.

    Attributes:
        name: UTF-8 where it is that, else code page 437, so that its bytes can be recovered.
        size: Bytes when unpacked, as stated.
        packed: Bytes in the file.
        method: Of compression.
        flags: As in the file.
        crc: CRC-32 of the bytes.
        at: Where its local header lies, from the beginning of the file.
        link: Whether it is a symbolic link.
    """

    name: str
    size: int
    packed: int
    method: int
    flags: int
    crc: int
    at: int
    link: bool

    @property
    def encrypted(self) -> bool:
        """Whether a password would be needed."""
        return bool(self.flags & _ENCRYPTED)


def zip_entries(file: IO[bytes], spent: Spent) -> Iterator[ZipEntry]:
    """The entries of a ZIP file in the order of its directory.

    Raises:
        ArchiveError: The directory is damaged, or missing as in a file that was cut off.
        LimitError: It holds more entries than the limit.
    """
    at, size, before = _directory(file)
    end = at + size
    if size // _ENTRY.size > 4 * spent.limits.members:
        raise LimitError(Reason.TOO_MANY_MEMBERS, f"the limit is {spent.limits.members}")
    while at < end:
        file.seek(at)
        head = file.read(_ENTRY.size)
        if len(head) < _ENTRY.size:
            raise ArchiveError("truncated", "the directory ends early")
        signature, made, _, flags, method, _, _, crc, packed, unpacked, *rest = _ENTRY.unpack(head)
        name_length, extra_length, comment_length, _, _, attributes, offset = rest
        if signature != b"PK\1\2":
            raise ArchiveError("corrupt", "an entry of the directory is damaged")
        name = file.read(name_length)
        extra = file.read(extra_length)
        at += _ENTRY.size + name_length + extra_length + comment_length
        unpacked, packed, offset = _wide(extra, unpacked, packed, offset)
        mode = attributes >> 16 if made >> 8 == _UNIX else 0
        yield ZipEntry(
            _text(name),
            unpacked,
            packed,
            method,
            flags,
            crc,
            before + offset,
            stat.S_ISLNK(mode),
        )


def open_entry(file: IO[bytes], entry: ZipEntry, spent: Spent) -> Source:
    """Open the bytes of an entry; nothing else of the file may be read until they have been.

    Raises:
        ArchiveError: They are encrypted, packed by an unknown method, or not where they should be.
    """
    if entry.encrypted:
        raise ArchiveError(Reason.ENCRYPTED, "the member is encrypted")
    file.seek(entry.at)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size:
        raise ArchiveError("truncated", "the member lies behind the end")
    signature, *_, name_length, extra_length = _LOCAL.unpack(head)
    if signature != b"PK\3\4":
        raise ArchiveError("corrupt", "there is no member where the directory says")
    file.seek(entry.at + _LOCAL.size + name_length + extra_length)
    make = _METHODS.get(entry.method)
    if make is None:
        raise ArchiveError("unsupported", f"compression method {entry.method}")
    return Checked(Counted(make(Part(file, entry.packed)), spent), entry)


class Checked:
    """The bytes of an entry, whose number and checksum are checked at their end."""

    def __init__(self, source: Source, entry: ZipEntry) -> None:
        self._source = source
        self._left = entry.size
        self._crc = 0
        self._stated = entry.crc

    def read(self, size: int, /) -> bytes:
        """At most so many bytes.

        Raises:
            ArchiveError: They are not those that were packed.
        """
        data = self._source.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        self._crc = zlib.crc32(data, self._crc)
        if size and not data and self._left:
            raise ArchiveError("truncated", f"{self._left} bytes are missing")
        if not self._left and self._crc != self._stated:
            raise ArchiveError("corrupt", "the checksum is another")
        return data


def _directory(file: IO[bytes]) -> tuple[int, int, int]:
    """Where the directory begins, its length, and how many bytes lie before the archive."""
    size = file.seek(0, os.SEEK_END)
    first = max(0, size - _COMMENT - _END.size)
    file.seek(first)
    tail = file.read(size - first)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise ArchiveError("truncated", "there is no directory: the end is missing")
    *_, length, offset, _ = _END.unpack_from(tail, at)
    end = first + at
    if at >= _LOCATOR_64.size:
        signature, _, wide, _ = _LOCATOR_64.unpack_from(tail, at - _LOCATOR_64.size)
        if signature == b"PK\6\7":
            end, length, offset = _directory_64(file, end - _LOCATOR_64.size, wide, length, offset)
    before = end - length - offset
    if before < 0:
        raise ArchiveError("corrupt", "the directory does not lie within the file")
    return end - length, length, before


def _directory_64(
    file: IO[bytes], locator: int, stated: int, length: int, offset: int
) -> tuple[int, int, int]:
    for at in (locator - _END_64.size, stated):  # with bytes before the archive, only the first
        if 0 <= at <= locator - _END_64.size:
            file.seek(at)
            signature, *_, wide_length, wide_offset = _END_64.unpack(file.read(_END_64.size))
            if signature == b"PK\6\6":
                return at, wide_length, wide_offset
    return locator, length, offset


def _wide(extra: bytes, *values: int) -> tuple[int, ...]:
    """Values of 64 bits in the place of those that do not fit into 32."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            found = [wide[i : i + 8] for i in range(0, len(wide) - 7, 8)]
            return tuple(
                int.from_bytes(found.pop(0), "little") if value == _FULL and found else value
                for value in values
            )
        at += 4 + length
    return values


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("cp437")


def _lzma(source: Source) -> Source:
    head = exactly(source, 9)
    if len(head) < 9 or head[2:4] != b"\5\0":
        raise ArchiveError("corrupt", "the properties of LZMA are damaged")
    packed, dictionary = head[4], int.from_bytes(head[5:], "little")
    if dictionary > MEMORY:
        detail = f"needs more than {MEMORY} bytes of memory to unpack"
        raise ArchiveError("too_large", detail)
    properties = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": packed % 9,
        "lp": packed // 9 % 5,
        "pb": packed // 45,
    }
    return Expanded(source, lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties]))


_METHODS: dict[int, Callable[[Source], Source]] = {
    0: lambda source: source,
    8: Inflated,
    12: lambda source: Expanded(source, bz2.BZ2Decompressor()),
    14: _lzma,
    93: Zstd,
    95: Xz,
}
