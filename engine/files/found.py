"""A file on its way: as it was discovered, as it was read, and what was learnt of its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..archives.kinds import Kind


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to scan, or a thing in the tree that cannot be one.

    Attributes:
        path: As found; undecodable bytes surrogate-escaped. An address, as given or listed.
        bytes: Size; None where it could not be examined.
        mtime_ns: Modification time in nanoseconds since the epoch.
        inode: Inode number; with `device` it identifies the file on this host. At an address it
            stands for the version that the server names.
        device: Device number.
        reason: Why it is skipped or has failed already; None for a regular file.
        detail: The system's words behind the reason.
        root: The given path under which it was found.
        container: The file on disk that it lies in: an archive, or a picture of several frames;
            None for a file on disk. Times and numbers are that file's.
    """

    path: str
    bytes: int | None = None
    mtime_ns: int = 0
    inode: int = 0
    device: int = 0
    reason: str | None = None
    detail: str | None = None
    root: str = ""
    container: str | None = None


class Reason:
    """Reasons that discovery gives, beside those of the decoder."""

    SYMLINK = "symlink"
    SYMLINK_LOOP = "symlink_loop"
    SPECIAL_FILE = "special_file"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"
    UNREADABLE_DIRECTORY = "unreadable_directory"


@dataclass(slots=True)
class FreshContent:
    """What this run learnt of some bytes; fulfils :class:`contracts.Content`."""

    sha256: str
    bytes: int
    format: str | None = None
    width: int | None = None
    height: int | None = None
    decoder: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None
    vector: NDArray[np.float32] | None = None
    precision: str | None = None
    views: NDArray[np.float32] | None = None
    frame: int = 1
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Outcome of reading a file.

    Attributes:
        file: The file as it was when it was read, with a reason where it could not be.
        data: Its bytes; None where it could not be read, and of an archive on disk.
        sha256: Their digest, hexadecimal.
        archive: What kind of archive it is, where those are looked for.
    """

    file: FoundFile
    data: bytes | None = None
    sha256: str = ""
    archive: Kind | None = None
