"""Walks an archive and those that lie in it, member by member, within bounds."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from .kinds import HEAD, Kind, kind_of
from .limits import ArchiveError, LimitError, Reason, Spent
from .mail import MESSAGE, attachments, messages
from .streams import BLOCK, Counted, Source, exactly, explained, unpacked
from .tar_files import TarEntry, tar_entries
from .zip_files import open_entry, zip_entries

INSIDE = "!/"
"""Stands between the path of an archive and that of its member."""

_LONGEST = 4096  # characters of a path; longer than any that a file system takes
_PART = 2000  # characters of a longer one's beginning and of its end that are kept

_KINDS = {tarfile.LNKTYPE: Reason.HARD_LINK, tarfile.SYMTYPE: "symlink"}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive, or of one that lies in it.

    Attributes:
        path: Below the archive on disk, such as ``dir/a.jpg`` or ``inner.zip!/a.jpg``; no two
            members have the same, and nobody may take it for a path in a file system.
        size: In bytes; None where only reading tells.
        reason: Why there is nothing to read; None where `read` gives it.
        detail: Words behind the reason.
        sha256: Of an archive that was walked; else empty.
        format: Of an archive; else empty.
        read: Gives the bytes, until the next member is asked for.
    """

    path: str
    size: int | None = None
    reason: str | None = None
    detail: str = ""
    sha256: str = ""
    format: str = ""
    read: Callable[[], bytes] | None = None


def walk_archive(
    file: IO[bytes], kind: Kind, name: str, spent: Spent, max_bytes: int
) -> Iterator[Member]:
    """Walk an archive.

    The archive itself is no member; what lies in another one comes after its own members.

    Args:
        file: The archive, at its beginning; seekable.
        kind: What it is.
        name: Of the file, without folders.
        spent: Bounds, and what has been used of them.
        max_bytes: Largest member that is given.

    Raises:
        ArchiveError: It, or the rest of it, cannot be walked.
        LimitError: A bound on the whole archive is reached.
    """
    return _Walk(spent, max_bytes).archive(file, kind, name, "", 1)


class _Walk:
    """One walk over an archive on disk."""

    def __init__(self, spent: Spent, max_bytes: int) -> None:
        self._spent = spent
        self._max_bytes = max_bytes
        self._seen: dict[str, int] = {}

    def archive(
        self, file: IO[bytes], kind: Kind, name: str, prefix: str, depth: int
    ) -> Iterator[Member]:
        try:
            if kind is Kind.ZIP:
                yield from self._zip(file, prefix, depth)
            elif kind is Kind.TAR:
                yield from self._tar(file, prefix, depth)
            elif kind is Kind.EML:
                yield from self._message(_all(file, MESSAGE), prefix, depth)
            elif kind is Kind.MBOX:
                yield from self._mailbox(file, prefix, depth)
            elif kind in (Kind.GZIP, Kind.BZIP2, Kind.XZ, Kind.ZSTD):
                yield from self._compressed(file, kind, name, prefix, depth)
            else:
                raise ArchiveError("unsupported", f"{kind} archives are not opened")
            self._spent.check()  # the last member's bytes may have been too many
        except ArchiveError:
            raise
        except Exception as error:
            raise explained(error) from error

    def _zip(self, file: IO[bytes], prefix: str, depth: int) -> Iterator[Member]:
        for entry in zip_entries(file, self._spent):
            if entry.name.endswith("/") and not entry.size:
                continue
            path = self._path(prefix, entry.name)
            if entry.link:
                yield Member(path, entry.size, "symlink")
                continue
            try:
                source = open_entry(file, entry, self._spent)
            except LimitError:
                raise
            except Exception as error:  # it is this entry's fault, whatever a library makes of it
                fault = explained(error)
                yield Member(path, entry.size, fault.reason, fault.detail)
                continue
            yield from self._member(source, entry.size, path, depth)

    def _tar(self, stream: Source, prefix: str, depth: int) -> Iterator[Member]:
        for entry in tar_entries(stream):
            if entry.kind == tarfile.DIRTYPE:
                continue
            path = self._path(prefix, entry.name)
            if entry.is_file:
                yield from self._member(entry.data, entry.size, path, depth, exact=True)
            else:
                yield Member(path, None, *_not_a_file(entry))

    def _compressed(
        self, file: IO[bytes], kind: Kind, name: str, prefix: str, depth: int
    ) -> Iterator[Member]:
        """One compressed stream: a tar file, whose members are the archive's, or one file."""
        stream = _Ahead(unpacked(file, kind, self._spent))
        if kind_of(stream.peek(HEAD), "") is Kind.TAR:
            yield from self._tar(stream, prefix, depth)
            return
        inner = PurePosixPath(name).stem or name
        yield from self._member(stream, None, self._path(prefix, inner), depth)

    def _mailbox(self, stream: Source, prefix: str, depth: int) -> Iterator[Member]:
        for number, message in messages(stream):
            self._spent.member()  # most have no attachment, but each is taken apart
            folder = f"{prefix}{number}/"
            if message is None:
                detail = f"a message of more than {MESSAGE} bytes"
                yield Member(self._path(prefix, str(number)), None, "too_large", detail)
                continue
            self._spent.take(len(message))
            try:
                yield from self._message(message, folder, depth)
            except LimitError:
                raise
            except Exception as error:
                fault = explained(error)
                path = self._path(prefix, str(number))
                yield Member(path, len(message), fault.reason, fault.detail)

    def _message(self, message: bytes, prefix: str, depth: int) -> Iterator[Member]:
        for part in attachments(message):
            self._spent.take(len(part.data))
            path = self._path(prefix, part.name)
            yield from self._member(io.BytesIO(part.data), len(part.data), path, depth)

    def _member(
        self, source: Source, size: int | None, path: str, depth: int, exact: bool = False
    ) -> Iterator[Member]:
        """A file in an archive; where it is an archive itself, its members, then itself.

        Args:
            source: Its bytes.
            size: How many, as stated.
            path: Below the archive on disk.
            depth: Of the archive that it lies in, from 1.
            exact: Whether fewer bytes than stated mean that it was cut off.
        """
        try:
            head = exactly(source, HEAD if size is None else min(HEAD, size))
            if size is not None and len(head) < min(HEAD, size):
                raise ArchiveError("truncated", "it ends within a member")
        except LimitError:
            raise
        except ArchiveError as error:
            yield Member(path, size, error.reason, error.detail)
            return
        kind = kind_of(head, path)
        limit = self._max_bytes if kind is None else self._spent.limits.nested
        if size is not None and size > limit:
            reason = "too_large"
            yield Member(path, size, reason, f"{size} bytes, the limit is {limit}", "", kind or "")
        elif kind is None:
            wanted = size if exact else None
            yield Member(path, size, read=lambda: _rest(head, source, limit, wanted))
        elif depth >= self._spent.limits.depth:
            detail = f"the limit is {self._spent.limits.depth}"
            yield Member(path, size, Reason.TOO_DEEP, detail, "", kind)
        else:
            yield from self._nested(head, source, kind, path, depth, limit)

    def _nested(
        self, head: bytes, source: Source, kind: Kind, path: str, depth: int, limit: int
    ) -> Iterator[Member]:
        size = digest = None
        outcome = ArchiveError(Reason.ARCHIVE)
        try:
            data = _rest(head, source, limit, None)
            size, digest = len(data), hashlib.sha256(data).hexdigest()
            name = path.rpartition("/")[2]
            yield from self.archive(io.BytesIO(data), kind, name, f"{path}{INSIDE}", depth + 1)
        except LimitError:
            raise
        except ArchiveError as error:
            outcome = error
        yield Member(path, size, outcome.reason, outcome.detail, digest or "", kind)

    def _path(self, prefix: str, name: str) -> str:
        """A member's path; a name that was there before gets a number.

        Raises:
            LimitError: There are too many members, or their paths alone are too much.
        """
        self._spent.member()
        path = _shortened(f"{prefix}{name or '(no name)'}")
        self._spent.take(len(path.encode("utf-8", "surrogatepass")))
        count = self._seen.get(path, 0) + 1
        self._seen[path] = count
        if count == 1:
            return path
        return self._path_again(path, count)

    def _path_again(self, path: str, count: int) -> str:
        while (numbered := f"{path}#{count}") in self._seen:
            count += 1
        self._seen[path] = count
        self._seen[numbered] = 1
        return numbered


class _Ahead:
    """A source whose first bytes can be looked at before they are read."""

    def __init__(self, source: Counted) -> None:
        self._source = source
        self._head = b""

    def peek(self, size: int) -> bytes:
        self._head = exactly(self._source, size)
        return self._head

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


def _shortened(path: str) -> str:
    """A path of a bearable length: a digest stands for the middle of a longer one."""
    if len(path) <= _LONGEST:
        return path
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{path[:_PART]}[...{digest}...]{path[-_PART:]}"


def _not_a_file(entry: TarEntry) -> tuple[str, str]:
    if entry.sparse:
        return "unsupported", "a sparse member"
    return _KINDS.get(entry.kind, "special_file"), ""


def _rest(head: bytes, source: Source, limit: int, wanted: int | None) -> bytes:
    """All bytes of a member, whose first ones have been read.

    Raises:
        ArchiveError: They are more than the limit, or cannot be read to their end.
    """
    parts, size = [head], len(head)
    while data := source.read(BLOCK):
        size += len(data)
        if size > limit:
            raise ArchiveError("too_large", f"more than {limit} bytes")
        parts.append(data)
    if wanted is not None and size < wanted:
        raise ArchiveError("truncated", "it ends within a member")
    return b"".join(parts)


def _all(file: IO[bytes], limit: int) -> bytes:
    data = exactly(file, limit + 1)
    if len(data) > limit:
        raise ArchiveError("too_large", f"a message of more than {limit} bytes")
    return data
