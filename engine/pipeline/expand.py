"""What a file holds beside itself: the members of an archive, and the further frames of a picture.

Both are files to the rest of the pipeline, under paths that no file system knows:
``album.zip!/beach/1.jpg`` and ``clip.gif#frame=2``.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from ..archives.kinds import Kind
from ..archives.limits import Reason
from ..archives.walk import INSIDE
from ..archives.walker import ArchiveFile, FoundMember, Refused, Walker
from ..contracts import Content
from ..decoding.decode import Reason as DecodeReason
from ..decoding.formats import MULTI_FRAME
from ..files.discover import FoundFile
from ..files.read import FreshContent, ReadFile

TOO_MANY_FRAMES = "too_many_frames"
"""Reason of the row that stands for the frames beyond the limit."""

T = TypeVar("T")

KINDS = frozenset(map(str, Kind))
"""Formats of contents that are archives."""

_CROPS = 128
"""Crops of further frames that are decoded at a time."""


def archive_of(file: FoundFile, kind: Kind) -> ArchiveFile:
    """An archive as the walker wants it."""
    return ArchiveFile(file.path, kind, file.bytes or 0, file.mtime_ns, file.inode, file.device)


def may_hold_files(known: Content | None) -> bool:
    """Whether a known content is an archive, or may be one of a kind that was not known then."""
    return known is not None and (
        known.format in KINDS or known.reason == DecodeReason.NOT_AN_IMAGE
    )


def spooled(data: bytes, kind: Kind) -> ArchiveFile:
    """An archive that came over the network, on disk for as long as it is walked."""
    descriptor, path = tempfile.mkstemp(prefix="code-forensics-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    status = Path(path).stat()
    return ArchiveFile(path, kind, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


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


def frames_of(name: str | None, frames: int) -> int:
    """How many pictures a content holds: what is counted in other formats are layers or sizes."""
    return frames if name in MULTI_FRAME else 1


def frame_file(file: FoundFile, frame: int) -> FoundFile:
    """A further frame as a file.

    Args:
        file: The picture.
        frame: From 2.
    """
    container = file.container or file.path
    return replace(file, path=f"{file.path}#frame={frame}", bytes=None, container=container)


def frames_left_out(file: FoundFile, first: int, frames: int) -> FoundFile:
    """The row for the frames beyond the limit."""
    detail = f"{frames} frames, of which {first - 1} are judged"
    return replace(frame_file(file, first), reason=TOO_MANY_FRAMES, detail=detail)


@dataclass(eq=False, slots=True)
class FrameRun(Generic[T]):
    """Further frames of a picture that are to be decoded, some at a time.

    Attributes:
        data: The whole file.
        numbers: Frames that are left, rising, from 2.
        works: What is to be done for each.
        size: Frames at a time.
        pending: What was taken last.
    """

    data: bytes
    numbers: list[int]
    works: list[T]
    size: int
    pending: list[T] = field(default_factory=list)

    def take(self) -> tuple[range, list[T]]:
        """The next frames that lie side by side; none where none are left."""
        numbers = self.numbers[: self.size]
        count = sum(1 for place, number in enumerate(numbers) if number == numbers[0] + place)
        first = numbers[0] if numbers else 0
        self.pending = self.works[:count]
        del self.numbers[:count], self.works[:count]
        return range(first, first + count), self.pending


def at_a_time(views: int) -> int:
    """Frames that are decoded at a time, where each has so many views."""
    return max(8, _CROPS // views)
