"""Bounds on what is unpacked, and the reasons of what goes beyond them."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

from ..errors import InputError

_PER_SECOND = 1 << 20  # bytes on disk; the slowest decompressor takes twenty times as many

FREE = 256 << 20
"""Unpacked bytes up to which nobody asks how small they were packed."""


class Reason(StrEnum):
    """Reasons that walking an archive gives, beside those of discovery and of the decoder."""

    ARCHIVE = "archive"  # it was walked: what it holds has rows of its own
    ENCRYPTED = "encrypted"  # a password would be needed
    TOO_DEEP = "too_deep"  # more archives in archives than the limit
    TOO_MANY_MEMBERS = "too_many_members"  # more members than the limit
    BOMB = "archive_bomb"  # more bytes or time than the limits on total, ratio and seconds allow
    HARD_LINK = "hard_link"  # another name of an earlier member


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds on one archive on disk, all that lies nested in it included.

    Attributes:
        depth: Archives within archives that are opened; 1 opens none that lies in another.
        members: Most members; each message of a mailbox is one too.
        total: Most bytes that are unpacked, the paths of members included.
        ratio: Most unpacked bytes for each byte on disk, once 256 MiB have been unpacked; a
            photograph has 1, an empty page scanned to TIFF some hundred.
        nested: Largest archive or message within another one, in bytes: it is held in memory.
        packed: Largest archive on disk, in bytes: it is hashed as a whole before it is opened.
        seconds: Most seconds of a processor that walking takes, and one more for each MiB on disk.
    """

    depth: int = 3
    members: int = 100_000
    total: int = 1 << 40
    ratio: int = 200
    nested: int = 1 << 28
    packed: int = 1 << 40
    seconds: int = 600

    def fault_on_disk(self, size: int, stored: int) -> "tuple[str, str] | None":
        """Why an archive on disk is not even hashed: a reason and words; None where it is.

        Args:
            size: Of the file, in bytes.
            stored: Bytes that the disk holds of it, fewer of a sparse file; 0 where unknown.
        """
        if size > self.packed:
            return "too_large", f"{size} bytes, the limit is {self.packed}"
        if stored and size > max(FREE, self.ratio * stored):
            detail = f"a sparse file of {size} bytes, of which the disk holds {stored}"
            return Reason.BOMB.value, f"{detail}; the limit is {self.ratio} to 1"
        return None

    def record(self) -> dict[str, Any]:
        """For the run record, JSON-able."""
        return asdict(self)

    @classmethod
    def parse(cls, text: str) -> "ArchiveLimits":
        """Read ``depth=5,ratio=1000``; what is not named keeps its default.

        Raises:
            InputError: It is not of that form, or not a number from 1.
        """
        names = [limit.name for limit in fields(cls)]
        given: dict[str, int] = {}
        for word in filter(None, text.split(",")):
            name, _, number = word.partition("=")
            if name.strip() not in names or not number.strip().isdecimal() or not int(number):
                raise InputError(
                    f"{word!r} is not a limit on archives",
                    f"write it as depth=3,ratio=200; there are {', '.join(names)}",
                )
            given[name.strip()] = int(number)
        return replace(cls(), **given)


class ArchiveError(Exception):
    """A member or an archive gives no more bytes; says why.

    Attributes:
        reason: A stable code.
        detail: Words behind it, one printable line of ASCII.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = str(reason)
        self.detail = detail


class LimitError(ArchiveError):
    """A bound on the whole archive is reached: nothing more of it is walked."""


class Spent:
    """Counts what is unpacked of one archive on disk.

    Attributes:
        limits: The bounds.
        unpacked: Bytes so far.
        members: Members so far.
    """

    def __init__(
        self, limits: ArchiveLimits, packed: int, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Start counting.

        Args:
            limits: The bounds.
            packed: Bytes of the archive on disk.
            progress: Called whenever something was unpacked.
        """
        self.limits = limits
        self.unpacked = 0
        self.members = 0
        self._packed = max(packed, 1)
        self._until = time.process_time() + limits.seconds + packed // _PER_SECOND
        self._progress = progress

    def take(self, count: int) -> None:
        """Count unpacked bytes.

        Raises:
            LimitError: They are more than the limits allow.
        """
        self.unpacked += count
        self._progress()
        self.check()

    def check(self) -> None:
        """Refuse to go on once there was too much.

        Raises:
            LimitError: What is unpacked is more than the limits allow, or took too long.
        """
        if self.unpacked > self.limits.total:
            raise LimitError(Reason.BOMB, f"more than {self.limits.total} bytes unpacked")
        if self.unpacked > max(FREE, self.limits.ratio * self._packed):
            detail = f"{self.unpacked} bytes unpacked from {self._packed}"
            raise LimitError(Reason.BOMB, f"{detail}, the limit is {self.limits.ratio} to 1")
        if time.process_time() > self._until:
            raise LimitError(Reason.BOMB, f"it takes long; the limit is {self.limits.seconds} s")

    def member(self) -> None:
        """Count a member.

        Raises:
            LimitError: There are too many, or walking took too long.
        """
        self.members += 1
        self._progress()
        self.check()
        if self.members > self.limits.members:
            raise LimitError(Reason.TOO_MANY_MEMBERS, f"the limit is {self.limits.members}")
