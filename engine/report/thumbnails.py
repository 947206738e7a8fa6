"""Small pictures for reports, made from files that nobody trusts, within a budget."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..files.addresses import is_address
from ..files.found import FoundFile
from ..files.read import read_file
from ..isolation.decoders import Decoders
from ..results import FileResult, Neighbour, Verdict

EXPECTED = 12 << 10
"""Bytes that a thumbnail takes at most, nearly always."""

BUDGET = 48 << 20
"""Bytes of all thumbnails of a report, unless asked otherwise."""


class Pictures(Protocol):
    """Where a report's pictures come from."""

    def of_file(self, result: FileResult) -> bytes | None:
        """A JPEG of a scanned file; None where it is not at hand or has changed since."""

    def of_reference(self, neighbour: Neighbour) -> bytes | None:
        """A JPEG of a reference; None where its file is not at hand or has changed since."""


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """Where a reference's file was when the gallery was made.

    Attributes:
        path: The file.
        sha256: Its digest then, hexadecimal; None where it is not known.
    """

    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class FilePictures:
    """Pictures read from the files themselves, each checked against its recorded digest.

    Attributes:
        find: Finds a reference's file; None where there is none, as for ready vectors.
        decoders: Draw them.
        where: Where the path of a row leads from here.
    """

    find: Callable[[Neighbour], ReferenceFile | None]
    decoders: Decoders
    where: Callable[[str], str]

    def of_file(self, result: FileResult) -> bytes | None:
        """A JPEG of a scanned file; None where it is not at hand or has changed since."""
        if result.sha256 is None:
            return None
        return self._draw(ReferenceFile(self.where(result.path), result.sha256))

    def of_reference(self, neighbour: Neighbour) -> bytes | None:
        """A JPEG of a reference; None where its file is not at hand or has changed since."""
        file = self.find(neighbour)
        return None if file is None else self._draw(file)

    def _draw(self, file: ReferenceFile) -> bytes | None:
        if is_address(file.path):  # a report asks no server
            return None
        read = read_file(FoundFile(file.path), self.decoders.options.max_bytes)
        if read.data is None or file.sha256 not in (None, read.sha256):
            return None
        return self.decoders.thumbnail(read.data)


class Budget:
    """Shares a number of bytes among the verdicts: what is fake first, then the undecided."""

    def __init__(self, total: int, expected: dict[Verdict, int]) -> None:
        """Divide a budget before the rows are known.

        Args:
            total: Bytes.
            expected: Rows of each verdict, from the scan's summary.
        """
        self._left: dict[Verdict, int] = {}
        for verdict in (Verdict.FAKE, Verdict.INCONCLUSIVE, Verdict.REAL):
            share = min(total, expected.get(verdict, 0) * 3 * EXPECTED)  # two references beside it
            self._left[verdict] = share
            total -= share

    def allows(self, verdict: Verdict | None) -> bool:
        """Whether a row of this verdict may have one more picture."""
        return verdict is not None and self._left[verdict] >= EXPECTED

    def spend(self, verdict: Verdict, size: int) -> None:
        """Take a picture's bytes off."""
        self._left[verdict] -= size
