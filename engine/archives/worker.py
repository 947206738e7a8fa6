"""A process that walks archives: it may be lost, and has no right to write files.

Started by :mod:`.walker` as ``python -P -m``; imports what unpacking needs and no more. Asked with
``open``, ``next`` and ``read``, it answers with a member, its bytes, or the end; while it unpacks
for long it says that it is alive.
"""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..files.read import open_quietly
from ..isolation.framing import BrokenMessageError, receive, send
from ..isolation.rights import alarm, give_up_rights, standard_pipes
from .kinds import Kind
from .limits import ArchiveError, ArchiveLimits, Spent
from .streams import explained
from .walk import Member, walk_archive

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ALIVE_SECONDS = 2.0
"""Between two signs of life."""

_GRACE = 5.0  # seconds after the limit at which an orphan ends itself


def main() -> None:
    """Serve requests on standard input and output."""
    source, sink = standard_pipes()
    give_up_rights(int(sys.argv[1]))
    _Worker(source, sink).serve()


class _Worker:
    """Answers requests until its input ends."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink
        self._file: IO[bytes] | None = None
        self._members: Iterator[Member] = iter(())
        self._member: Member | None = None
        self._timeout = 60.0
        self._alive = 0.0

    def serve(self) -> None:
        """Answer until there is nothing more to answer."""
        send(self._sink, {"ready": True})
        while True:
            try:
                request, _ = receive(self._source, 0)
            except BrokenMessageError:
                return
            alarm(self._timeout + _GRACE)
            self._alive = time.monotonic()
            if "open" in request:
                self._open(request)
            elif "read" in request:
                self._read()
            else:
                self._next()
            alarm(0.0)

    def _open(self, request: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.close()
        self._timeout = request["timeout"]
        spent = Spent(ArchiveLimits(**request["limits"]), request["stat"][0], self._progress)
        try:
            file = self._file = io.BufferedReader(_Watched(request["open"], lambda: spent.take(0)))
            status = os.fstat(file.fileno())
            now = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev]
            if now != request["stat"]:
                raise ArchiveError("changed", "the archive changed since it was read")
            kind, name = Kind(request["kind"]), Path(request["open"]).name
            self._members = walk_archive(file, kind, name, spent, request["max_bytes"])
        except Exception as error:
            self._members = _failing(explained(error))
        self._next()

    def _next(self) -> None:
        self._member = None
        try:
            member = self._member = next(self._members, None)
        except ArchiveError as error:
            self._members = iter(())
            send(self._sink, {"end": error.reason, "detail": error.detail})
            return
        if member is None:
            send(self._sink, {"end": None, "detail": ""})
            return
        answer = {
            "path": member.path,
            "size": member.size,
            "reason": member.reason and str(member.reason),
            "detail": member.detail,
            "sha256": member.sha256,
            "format": str(member.format),
        }
        send(self._sink, answer)

    def _read(self) -> None:
        try:
            if self._member is None or self._member.read is None:
                raise ArchiveError("unreadable", "there is no member to read")
            data = self._member.read()
        except Exception as error:
            fault = explained(error)
            send(self._sink, {"reason": fault.reason, "detail": fault.detail})
            return
        send(self._sink, {"data": True}, data)

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._alive > ALIVE_SECONDS:
            self._alive = now
            alarm(self._timeout + _GRACE)
            send(self._sink, {"alive": True})


class _Watched(io.FileIO):
    """A file that tells of every read, also of those that come to no member's bytes."""

    def __init__(self, path: str, progress: Callable[[], None]) -> None:
        super().__init__(path, opener=lambda path, _: open_quietly(path))
        self._progress = progress

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read into a buffer."""
        self._progress()
        return super().readinto(buffer)


def _failing(error: ArchiveError) -> Iterator[Member]:
    raise error
    yield


if __name__ == "__main__":
    main()
