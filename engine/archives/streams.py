"""Streams over packed bytes that never hold more than a block, and count what they unpack."""

import bz2
import gzip
import io
import lzma
import zlib
from typing import IO, Protocol

from .kinds import Kind
from .limits import ArchiveError, Spent

BLOCK = 1 << 18
"""Bytes that are read at a time."""

_PIECE = 1 << 10  # bytes of Zstandard: a block of 128 KiB takes four

MEMORY = 1 << 28
"""Bytes that a decompressor may ask for; ``xz -9`` needs 65 MiB."""


class Source(Protocol):
    """Gives bytes in order."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, at least 0; fewer than asked for, but some, before the end."""


class Counted:
    """A source whose bytes are counted as unpacked, and whose errors are reasons."""

    def __init__(self, source: Source, spent: Spent) -> None:
        self._source = source
        self._spent = spent

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        with_errors = min(size, BLOCK)
        try:
            data = self._source.read(with_errors)
        except ArchiveError:
            raise
        except Exception as error:  # each library raises its own, and a few raise nearly any
            raise explained(error) from error
        self._spent.take(len(data))
        return data


class Part:
    """The next bytes of a source, so many and no more."""

    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self.left = size

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        data = self._source.read(min(size, self.left))
        self.left -= len(data)
        return data


class Inflated:
    """A raw deflate stream, unpacked."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._packed = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        while size and not self._packed.eof:
            more = self._packed.unconsumed_tail or self._source.read(BLOCK)
            data = self._packed.decompress(more, size) if more else self._packed.flush()
            if data or not more:
                return data
        return b""


class Expanded:
    """A stream of `bz2` or `lzma`, unpacked by a decompressor object of theirs."""

    def __init__(
        self, source: Source, decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor
    ) -> None:
        self._source = source
        self._packed = decompressor

    @property
    def rest(self) -> bytes:
        """What was read behind the end."""
        return self._packed.unused_data

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        while size and not self._packed.eof:
            more = self._source.read(BLOCK) if self._packed.needs_input else b""
            if self._packed.needs_input and not more:
                raise EOFError("compressed data ends early")
            if data := self._packed.decompress(more, size):
                return data
        return b""


class Xz:
    """The streams of an .xz file one after the other; what needs too much memory is refused."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stream: Expanded | None = Expanded(source, xz_decompressor())

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        while size and self._stream is not None:
            if data := self._stream.read(size):
                return data
            rest = self._stream.rest.lstrip(b"\0")  # padding between streams
            while not rest and (more := self._source.read(BLOCK)):
                rest = more.lstrip(b"\0")
            source = _Behind(rest, self._source)
            self._stream = Expanded(source, xz_decompressor()) if rest else None
        return b""


class _Behind:
    """Some bytes, and then those of a source."""

    def __init__(self, first: bytes, source: Source) -> None:
        self._first = first
        self._source = source

    def read(self, size: int, /) -> bytes:
        data, self._first = self._first[:size], self._first[size:]
        return data or self._source.read(size)


def xz_decompressor() -> lzma.LZMADecompressor:
    """Of one .xz stream; refuses what needs more than `MEMORY` bytes."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)


class Zstd:
    """The Zstandard frames of a file one after the other.

    They are unpacked from few bytes at a time: as many as make 32 MiB at most.
    """

    def __init__(self, source: Source) -> None:
        """Prepare.

        Raises:
            ArchiveError: The optional package ``zstandard`` is not installed.
        """
        try:
            import zstandard
        except ImportError as error:
            needs = "Zstandard needs: pip install 'code-forensics[zst]'"
            raise ArchiveError("unsupported", needs) from error
        self._source = source
        self._frames = zstandard.ZstdDecompressor(max_window_size=MEMORY)
        self._frame = self._frames.decompressobj()
        self._begun = False
        self._packed = b""
        self._ready = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        while size and not self._ready:
            self._packed = self._packed or self._source.read(_PIECE)
            if not self._packed:
                if self._begun and not self._frame.eof:
                    raise EOFError("compressed data ends early")
                return b""
            if self._frame.eof:
                self._frame = self._frames.decompressobj()
            self._begun = True
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data
        data, self._ready = bytes(self._ready[:size]), self._ready[size:]
        return data


def unpacked(source: IO[bytes], kind: Kind, spent: Spent) -> Counted:
    """Open a compressed file that holds one stream.

    Raises:
        ArchiveError: What unpacks it is not installed.
    """
    if kind is Kind.GZIP:
        return Counted(gzip.GzipFile(fileobj=source, mode="rb"), spent)
    if kind is Kind.BZIP2:
        return Counted(bz2.BZ2File(source), spent)
    if kind is Kind.XZ:
        return Counted(Xz(source), spent)
    return Counted(Zstd(source), spent)


def exactly(source: Source, size: int) -> bytes:
    """Read so many bytes, fewer only where the source ends."""
    parts, left = [], size
    while left and (data := source.read(min(left, BLOCK))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def skip(source: Source, size: int) -> int:
    """Leave out so many bytes, in a file without reading them; returns how many there were."""
    if size > BLOCK and isinstance(source, io.BufferedIOBase):
        here = source.tell()
        there = min(here + size, source.seek(0, io.SEEK_END))
        return source.seek(there) - here
    left = size
    while left and (data := source.read(min(left, BLOCK))):
        left -= len(data)
    return size - left


def explained(error: Exception) -> ArchiveError:
    """What a library raises on damaged bytes, as a reason."""
    if isinstance(error, ArchiveError):
        return error
    words = " ".join(f"{type(error).__name__}: {error}".split())
    detail = words.encode("ascii", "backslashreplace").decode()[:200]
    if isinstance(error, MemoryError):
        return ArchiveError("no_memory", detail)
    if isinstance(error, lzma.LZMAError) and "limit" in str(error):
        return ArchiveError("too_large", f"needs more than {MEMORY} bytes of memory to unpack")
    if isinstance(error, EOFError):
        return ArchiveError("truncated", detail)
    if isinstance(error, NotImplementedError):
        return ArchiveError("unsupported", detail)
    if isinstance(error, OSError) and error.errno is not None:
        return ArchiveError("unreadable", error.strerror or detail)
    return ArchiveError("corrupt", detail)
