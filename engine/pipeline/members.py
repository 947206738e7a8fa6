"""The members of an archive: files under paths like ``album.zip!/beach/1.jpg``."""

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from ..archives.kinds import Kind
from ..archives.limits import Reason
from ..archives.walk import INSIDE
from ..archives.walker import ArchiveFile, FoundMember, Refused, Walker
from ..contracts import Content
from ..decoding.decode import Reason as DecodeReason
from ..files.found import FoundFile, FreshContent, ReadFile
from ..files.found import Reason as FileReason

KINDS = frozenset(map(str, Kind))
"""Formats of contents that are archives."""


def archive_of(file: FoundFile, kind: Kind) -> ArchiveFile:
    """An archive as the walker wants it."""
    return ArchiveFile(file.path, kind, file.bytes or 0, file.mtime_ns, file.inode, file.device)


def may_hold_files(known: Content | None) -> bool:
    """Whether a known content is an archive, or may be one of a kind that was not known then."""
    return known is not None and (
        known.format in KINDS or known.reason == DecodeReason.NOT_AN_IMAGE
    )


def spooled(data: bytes, kind: Kind) -> ArchiveFile:
    """An archive that came over the network, on disk for as long as it is walked.

    Raises:
        OSError: There is no room for it; nothing is left of it then.
    """
    descriptor, path = tempfile.mkstemp(prefix="code-forensics-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        status = Path(path).stat()
    except OSError:
        Path(path).unlink(missing_ok=True)
        raise
    return ArchiveFile(path, kind, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def not_spooled(read: ReadFile, error: OSError) -> ReadFile:
    """An archive that came over the network, and found no room."""
    said = f"it cannot be put among the temporary files: {error.strerror or error}"
    return ReadFile(replace(read.file, reason=FileReason.UNREADABLE, detail=said))


def as_file(archive: FoundFile, member: FoundMember) -> FoundFile:
    """A member as a file: known again as long as its archive does not change."""
    walked = bool(member.sha256)
    return FoundFile(
        f"{archive.path}{INSIDE}{member.path}",
        member.size,
        archive.mtime_ns,
        archive.inode,
        archive.device,
        None if walked else member.reason,
        None if walked else member.detail or None,
        archive.root,
        archive.path,
    )


def nested_archive(member: FoundMember) -> FreshContent | None:
    """What is known of a member that is an archive; None of any other."""
    if not member.sha256:
        return None
    return FreshContent(
        member.sha256,
        member.size or 0,
        format=member.format,
        reason=member.reason,
        detail=member.detail or None,
    )


def walked_archive(sha256: str, size: int, kind: Kind, end: Refused) -> FreshContent:
    """What is known of an archive on disk at the end of its walk."""
    return FreshContent(
        sha256,
        size,
        format=str(kind),
        reason=end.reason or Reason.ARCHIVE.value,
        detail=end.detail or None,
    )


def read_member(walker: Walker, file: FoundFile) -> ReadFile:
    """Read the member that the walker has found last, and hash it."""
    data = walker.read()
    if isinstance(data, Refused):
        return ReadFile(replace(file, reason=data.reason, detail=data.detail or None))
    found = replace(file, bytes=len(data))
    if not data:
        return ReadFile(replace(found, reason="empty"))
    return ReadFile(found, data, hashlib.sha256(data).hexdigest())
