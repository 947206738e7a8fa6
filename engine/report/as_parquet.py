"""Reports as Parquet: typed columns for pandas, DuckDB and Spark, evidence included."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError
from ..inert import for_json
from .as_csv import COLUMNS as CSV_COLUMNS
from .interface import Report
from .record import file_object, inert_json

if TYPE_CHECKING:
    import pyarrow

ROWS = 10_000
"""Rows of a row group; memory holds one group."""

RUN_KEY = b"code_forensics.run"
"""Key of the file's metadata under which the run record and the counts stand, as JSON."""

COLUMNS = (*CSV_COLUMNS, "detail", "neighbours", "crops", "probe")
"""In this order for good: later versions append."""

_NUMBERS = (
    "p_fake",
    "margin",
    "real_similarity",
    "fake_similarity",
    "score",
    "log10_lr",
    "attribution_certainty",
    "classifier_score",
)


def write_parquet(report: Report, stream: BinaryIO) -> None:
    """Write a report as Parquet, one row a file.

    Columns are those of the JSON report; ``provenance`` is JSON text, ``neighbours``, ``crops`` and
    ``probe`` are lists of structs.

    Raises:
        InputError: The extra is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow", "pip install 'code-forensics[parquet]'"
        ) from error
    run = {"run": inert_json(report.run), "summary": inert_json(report.summary)}
    schema = _schema(pa).with_metadata({RUN_KEY: json.dumps(run).encode()})
    rows = map(_row, map(file_object, report.files))
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _row(row: dict[str, Any]) -> dict[str, Any]:
    row["provenance"] = for_json(json.dumps(row["provenance"], sort_keys=True))
    return row


def _groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while group := list(islice(rows, ROWS)):
        yield group


def _schema(pa: Any) -> "pyarrow.Schema":
    text, number, integer = pa.string(), pa.float64(), pa.int64()
    neighbour = {"id": text, "label": text, "generator": text, "source": text, "similarity": number}
    crop = {"left": integer, "top": integer, "size": integer, "score": number, "p_fake": number}
    probe = {"change": text, "score": number, "verdict": text}
    columns = dict.fromkeys(COLUMNS, text)
    columns |= dict.fromkeys(_NUMBERS, number)
    columns |= dict.fromkeys(("bytes", "width", "height", "frame", "frames"), integer)
    columns |= {
        name: pa.list_(pa.struct(list(fields.items())))
        for name, fields in (("neighbours", neighbour), ("crops", crop), ("probe", probe))
    }
    return pa.schema([(name, columns[name]) for name in COLUMNS])
