"""What is kept of a scan's rows while they pass: counts, a digest, the most suspicious files."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..archives.kinds import UNOPENED, Kind
from ..results import FileResult, MostSuspicious, Status, Summary
from .record import file_object


class ResultsDigest:
    """A digest over rows in their order.

    SHA-256 over each row's object of the JSON report, with its keys sorted, without spaces, in
    UTF-8, a line feed after each: it can be computed again from any JSON or JSONL report.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, result: FileResult) -> None:
        """Add the next row."""
        line = json.dumps(
            file_object(result),
            ensure_ascii=False,
            allow_nan=False,
            sort_keys=True,
            separators=(",", ":"),
        )
        self._digest.update(line.encode() + b"\n")

    def hexdigest(self) -> str:
        """Of the rows so far."""
        return self._digest.hexdigest()


FEW = 3
"""A scan of so few files is shown file by file."""

FAILURES = 5
"""Failed files that are named."""

_OPENED = frozenset(Kind) - UNOPENED


class Tally:
    """Everything that is kept of a scan's rows while they pass.

    Attributes:
        summary: The counts.
        worst: The files that a person should look at first.
        first: The first rows, at most :data:`FEW`.
        failed: The first rows that failed, at most :data:`FAILURES`.
        closed_archives: Rows of archives and mail that were passed over as no images, of kinds
            that could have been opened.
    """

    def __init__(self) -> None:
        self.summary = Summary()
        self.worst = MostSuspicious()
        self.first: list[FileResult] = []
        self.failed: list[FileResult] = []
        self.closed_archives = 0
        self._digest = ResultsDigest()

    def add(self, result: FileResult) -> None:
        """Take the next row."""
        self.summary.add(result)
        self.worst.add(result)
        if len(self.first) < FEW:
            self.first.append(result)
        if result.status is Status.FAILED and len(self.failed) < FAILURES:
            self.failed.append(result)
        if result.reason == "not_an_image" and result.format in _OPENED:
            self.closed_archives += 1
        self._digest.add(result)

    def as_dict(self) -> dict[str, Any]:
        """As the report's ``summary`` object."""
        return {**self.summary.as_dict(), "results_sha256": self._digest.hexdigest()}


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The ``summary`` object of rows on record, mappings of the report's names in their order."""
    tally = Tally()
    for row in rows:
        tally.add(FileResult.from_row(row))
    return tally.as_dict()
