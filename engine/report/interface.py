"""What every report format is given, and what it has to do with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from ..results import FileResult


@dataclass(frozen=True, slots=True)
class Report:
    """A scan, ready to be written.

    Attributes:
        run: The run record, with the scan's id, state and times.
        summary: The counts.
        files: The rows in order; read once, never held in memory together.
    """

    run: Mapping[str, Any]
    summary: Mapping[str, Any]
    files: Iterable[FileResult]


class Format(Protocol):
    """Writes a report in one format; every text it writes is inert (see ``engine.inert``)."""

    def __call__(self, report: Report, stream: TextIO) -> None:
        """Write the whole report."""
