"""Read and hash a file without trusting it and without touching it."""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import replace

from ..archives.kinds import HEAD, Kind, kind_of
from ..archives.limits import ArchiveLimits
from .addresses import is_address
from .found import FoundFile, ReadFile, Reason

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO put in the file's place must not block
)
_NOATIME = getattr(os, "O_NOATIME", 0)
_BLOCK = 512  # bytes of a block as `st_blocks` counts them
_PIECE = 1 << 20  # bytes that are hashed between two looks at whether to go on


def read_file(
    file: FoundFile,
    max_bytes: int,
    archives: ArchiveLimits | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> ReadFile:
    """Read a whole file and hash it; an archive is hashed, and not kept.

    Never raises for the file's sake: what goes wrong is the reason of the returned file.

    Args:
        file: A regular file, or one at an address, as discovered.
        max_bytes: Larger files are not read: reason ``too_large``.
        archives: Tell archives apart; on a disk of this machine these bound them alone.
        stopped: Whether nobody waits for it any more: an archive is then not hashed to its end.
    """
    if is_address(file.path):
        from .remote import read

        there = read(file, max_bytes)
        kind = kind_of(there.data[:HEAD], file.path) if archives and there.data else None
        return replace(there, archive=kind)
    try:
        descriptor = open_quietly(file.path)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return _refuse(file, Reason.VANISHED if missing else Reason.UNREADABLE, error.strerror)
    try:
        status = os.fstat(descriptor)
        now = replace(
            file,
            bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            inode=status.st_ino,
            device=status.st_dev,
        )
        if not stat.S_ISREG(status.st_mode):
            return _refuse(now, Reason.SPECIAL_FILE)
        if archives is not None and (kind := _kind(descriptor, file.path)) is not None:
            stored = getattr(status, "st_blocks", 0) * _BLOCK
            if (fault := archives.fault_on_disk(status.st_size, stored)) is not None:
                return _refuse(now, *fault)
            digest = _digest(descriptor, stopped)
            if digest is None:
                return _refuse(now, Reason.UNREADABLE, "the scan is over")
            return ReadFile(now, None, digest, kind)
        if status.st_size > max_bytes:
            return _refuse(now, "too_large", f"{status.st_size} bytes, the limit is {max_bytes}")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as handle:
            data = handle.read(status.st_size + 1)  # one more tells a file that grows
            while 0 < len(data) <= status.st_size and (
                more := handle.read(status.st_size + 1 - len(data))
            ):
                data += more
    except OSError as error:
        return _refuse(file, Reason.UNREADABLE, error.strerror)
    except MemoryError:
        return _refuse(file, "no_memory", "the file does not fit into memory")
    finally:
        os.close(descriptor)
    if len(data) != status.st_size:
        return _refuse(now, Reason.CHANGED, "the file changed while it was read")
    if not data:
        return _refuse(now, "empty")
    return ReadFile(now, data, hashlib.sha256(data).hexdigest())


def archive_kind(file: FoundFile) -> Kind | None:
    """What kind of archive a file on disk is, by its first bytes; None for all others."""
    try:
        descriptor = open_quietly(file.path)
    except OSError:
        return None
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return _kind(descriptor, file.path) if regular else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _kind(descriptor: int, path: str) -> Kind | None:
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as handle:
        head = handle.read(HEAD)
        handle.seek(0)
    return kind_of(head, path)


def _digest(descriptor: int, stopped: Callable[[], bool]) -> str | None:
    digest, piece = hashlib.sha256(), bytearray(_PIECE)
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as handle:
        while count := handle.readinto(piece):
            if stopped():
                return None
            digest.update(memoryview(piece)[:count])
    return digest.hexdigest()


def open_quietly(path: str) -> int:
    """Open a file for reading so that its access time stays, where that is allowed.

    Raises:
        OSError: It cannot be opened.
    """
    if _NOATIME:
        try:
            return os.open(path, _FLAGS | _NOATIME)  # evidence keeps its access time
        except PermissionError:
            pass  # only the owner may ask for that
    return os.open(path, _FLAGS)


def _refuse(file: FoundFile, reason: str, detail: str | None = None) -> ReadFile:
    return ReadFile(replace(file, reason=reason, detail=detail))
