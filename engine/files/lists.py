"""Lists of files: text with a path or an address a line, or Parquet with a column of them."""

import io
from dataclasses import dataclass

from ..errors import InputError
from .found import FoundFile
from .read import read_file

LIST_BYTES = 1 << 30
"""A larger list is not read."""

COLUMNS = ("path", "url")
"""Names of the Parquet column that is read, the first that is there."""


@dataclass(frozen=True, slots=True)
class FileList:
    """A list, read.

    Attributes:
        name: Path or address of the list.
        sha256: Of its bytes.
        entries: Paths and addresses in it, in its order.
    """

    name: str
    sha256: str
    entries: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """For the run record."""
        return {"path": self.name, "sha256": self.sha256, "entries": len(self.entries)}


def read_list(name: str) -> FileList:
    """Read the paths and addresses of a list; what is a path is one of this machine.

    Args:
        name: Path or address of the list. Lines of text are taken as they are, but for the line
            feed and a carriage return before it; empty ones are left out.

    Raises:
        InputError: It cannot be read, or is no list.
    """
    read = read_file(FoundFile(name), LIST_BYTES)
    if read.data is None:
        said = read.file.reason or "unreadable"
        raise InputError(f"the list {name!r} cannot be read ({read.file.detail or said})")
    entries = _parquet if read.data[:4] == b"PAR1" else _text
    return FileList(name, read.sha256, tuple(entries(name, read.data)))


def _text(name: str, data: bytes) -> list[str]:
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    if any(b"\0" in line for line in lines):
        raise InputError(
            f"{name!r} is no list",
            "write a path or an address a line, or Parquet with a column path",
        )
    return [line.decode("utf-8", "surrogateescape") for line in lines if line]


def _parquet(name: str, data: bytes) -> list[str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow", "pip install 'code-forensics[parquet]'"
        ) from error
    try:
        file = parquet.ParquetFile(io.BytesIO(data))
        column = next((c for c in COLUMNS if c in file.schema_arrow.names), None)
        if column is None:
            raise InputError(
                f"{name!r} has no column {' or '.join(COLUMNS)}", "name the column of paths so"
            )
        values = [
            value
            for batch in file.iter_batches(columns=[column])
            for value in batch.column(0).to_pylist()
        ]
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name!r} is damaged Parquet ({error})") from error
    if not all(isinstance(value, str) for value in values):
        raise InputError(f"the column {column} of {name!r} holds something else than text")
    return [value for value in values if value]
