"""Walks archives in a process of its own, member by member, as they are asked for.

Whatever an archive does to the code that unpacks it costs that archive's remaining members: the
process is replaced after it crashed, ran out of memory, or gave no sign of life for the time limit.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Any

from ..isolation.framing import BrokenMessageError
from ..isolation.process import Process
from .kinds import Kind
from .limits import ArchiveLimits

_log = logging.getLogger(__name__)

_BASE = 1 << 29  # address space of Python and its libraries
_WORD = 300  # characters of a detail
_PATH = 1 << 13  # characters of a member's path; the worker cuts them to some 4,100


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive on disk, as it was when it was known for one.

    Attributes:
        path: The file.
        kind: What it is.
        size: In bytes.
        mtime_ns: Modification time, nanoseconds since the epoch.
        inode: Inode number.
        device: Device number.
    """

    path: str
    kind: Kind
    size: int
    mtime_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class FoundMember:
    """A member; see :class:`code_forensics.engine.archives.walk.Member`.

    Attributes:
        path: Below the archive.
        size: In bytes; None where it is not known.
        reason: Why it cannot be read; None where it can.
        detail: Words behind the reason.
        sha256: Of an archive in the archive that was walked; else empty.
        format: Of an archive in the archive; else empty.
    """

    path: str
    size: int | None
    reason: str | None
    detail: str
    sha256: str
    format: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is nothing more, or nothing at all.

    Attributes:
        reason: A stable code; None at the ordinary end of an archive.
        detail: Words behind it.
    """

    reason: str | None
    detail: str = ""


class Walker:
    """Walks archives one after the other; one process serves them all. Use it from one thread.

    A thread may hand it to another one between two calls.
    """

    def __init__(
        self,
        limits: ArchiveLimits,
        max_bytes: int,
        timeout: float,
        worker: str = f"{__package__}.worker",
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            limits: Bounds on each archive.
            max_bytes: Largest member that is given.
            timeout: Seconds without a sign of life after which the process is stopped.
            worker: Module that it runs.
        """
        self._limits = limits
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._worker = worker
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._closed = False

    def open(self, file: ArchiveFile) -> FoundMember | Refused:
        """Begin with an archive; gives its first member, or why there is none."""
        request = {
            "open": file.path,
            "kind": str(file.kind),
            "stat": [file.size, file.mtime_ns, file.inode, file.device],
            "limits": self._limits.record(),
            "max_bytes": self._max_bytes,
            "timeout": self._timeout,
        }
        if (fault := self._start()) is not None:
            return fault
        return self._found(self._ask(request))

    def next(self) -> FoundMember | Refused:
        """The next member, or why there is none."""
        return self._found(self._ask({"next": True}))

    def read(self) -> bytes | Refused:
        """The bytes of the last member."""
        answer = self._ask({"read": True})
        if isinstance(answer, Refused):
            return answer
        header, data = answer
        if "data" in header:
            return data
        return Refused(_word(header, "reason") or "corrupt", _word(header, "detail"))

    def close(self) -> None:
        """End the process, also from another thread than the one that waits for it."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.end()

    def _start(self) -> Refused | None:
        with self._lock:
            if self._closed:
                return Refused("unreadable", "the scan is over")
            if self._process is not None:
                return None
            memory = _BASE + 2 * self._max_bytes + 2 * self._limits.depth * self._limits.nested
            try:
                self._process = Process(self._worker, str(memory))
            except (OSError, BrokenMessageError, TimeoutError) as error:
                said = f"no process can be started for it ({type(error).__name__})"
                return Refused("unreadable", said)
        return None

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes] | Refused:
        process = self._process
        if process is None:
            return Refused("decoder_crashed", "the process that walked it is gone")
        try:
            answer = process.exchange(request, b"", self._timeout, self._max_bytes)
            while "alive" in answer[0]:
                answer = process.exchange({}, b"", self._timeout, self._max_bytes)
        except TimeoutError:
            self._process = None
            return Refused("decode_timeout", f"no sign of life for {self._timeout:g} s")
        except BrokenMessageError:
            self._process = None
            reason = "no_memory" if process.lacked_memory else "decoder_crashed"
            return Refused(reason, process.died_of)
        return answer

    def _found(self, answer: tuple[dict[str, Any], bytes] | Refused) -> FoundMember | Refused:
        if isinstance(answer, Refused):
            return answer
        header, _ = answer
        if "end" in header:
            return Refused(_word(header, "end") or None, _word(header, "detail"))
        size, path = header.get("size"), header.get("path")
        if not isinstance(path, str) or not path or len(path) > _PATH:
            return Refused("corrupt", "a member without a name")
        if type(size) is not int or not 0 <= size < 1 << 63:
            size = None
        return FoundMember(
            path,
            size,
            _word(header, "reason") or None,
            _word(header, "detail"),
            _word(header, "sha256"),
            _word(header, "format"),
        )


def _word(header: dict[str, Any], key: str) -> str:
    value = header.get(key)
    return value[:_WORD] if isinstance(value, str) else ""
