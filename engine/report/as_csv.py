"""Reports as CSV: RFC 4180, UTF-8, one row a file, safe to open in a spreadsheet."""

from typing import Any, TextIO

from .. import inert
from ..results import FileResult
from .interface import Report
from .record import provenance_text

COLUMNS = (
    "path",
    "sha256",
    "bytes",
    "format",
    "width",
    "height",
    "status",
    "reason",
    "knn",
    "verdict",
    "p_fake",
    "margin",
    "real_similarity",
    "fake_similarity",
    "generator",
    "neighbour",
    "duplicate_of",
    "provenance",
    "score",
    "log10_lr",
    "attribution",
    "attribution_certainty",
    "precision",
    "container",
    "frame",
    "frames",
    "classifier",
    "classifier_score",
)
"""In this order for good: later versions append."""

_QUOTED = frozenset(',;"\t\r\n')  # some spreadsheets split at semicolons and tabs too


def write_csv(report: Report, stream: TextIO) -> None:
    """Write a report as CSV; open the stream with ``newline=""``."""
    stream.write(",".join(COLUMNS) + "\r\n")
    for result in report.files:
        stream.write(csv_row(result))


def csv_row(result: FileResult) -> str:
    """One row, its line end included."""
    cells = (
        provenance_text(result.provenance) if column == "provenance" else getattr(result, column)
        for column in COLUMNS
    )
    return ",".join(map(_cell, cells)) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, int):
        return str(value)
    text = inert.for_csv(str(value))
    if _QUOTED.isdisjoint(text) and text == text.strip(" "):
        return text
    return '"' + text.replace('"', '""') + '"'
