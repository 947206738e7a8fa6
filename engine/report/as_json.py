"""Reports as JSON: one document, or one object a line."""

import json
from typing import TextIO

from ..results import FileResult
from .interface import Report
from .record import file_object, inert_json

SCHEMA = "code-forensics/report/1"


def write_json(report: Report, stream: TextIO) -> None:
    """Write a report as one JSON document, row by row."""
    head = {
        "schema": SCHEMA,
        "run": inert_json(report.run),
        "summary": inert_json(report.summary),
    }
    stream.write(json.dumps(head, ensure_ascii=False, indent=1, allow_nan=False)[:-2])
    stream.write(',\n "files": [')
    separator = "\n  "
    for result in report.files:
        stream.write(separator + _line(result))
        separator = ",\n  "
    stream.write("\n ]\n}\n")


def write_jsonl(report: Report, stream: TextIO) -> None:
    """Write the rows of a report, one JSON object a line."""
    for result in report.files:
        stream.write(jsonl_line(result))


def jsonl_line(result: FileResult) -> str:
    """One row as a line of JSON, its line end included."""
    return _line(result) + "\n"


def _line(result: FileResult) -> str:
    return json.dumps(file_object(result), ensure_ascii=False, allow_nan=False)
