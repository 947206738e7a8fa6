"""Lists of files: text with a path or an address a line, or Parquet with a column of them.

Names separated by NUL are text too, as ``find -print0`` writes them: no name holds one, but some
hold a line feed.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .found import FoundFile
from .read import read_file

LIST_BYTES = 1 << 30
"""A larger list is not read."""

STDIN = "-"
"""Stands for what the standard input brings."""

_BEGINNING = 1 << 16
"""Bytes within which a list of names that are separated by NUL has one: no name is longer."""

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
        name: Path or address of the list, a pipe too, or ``-`` for the standard input. Lines of
            text are taken as they are, but for the line feed and a carriage return before it;
            empty ones are left out. Names that are separated by NUL are taken as they are.

    Raises:
        InputError: It cannot be read, or is not a list.
    """
    if name == STDIN or _is_pipe(name):
        data, sha256 = _piped(name)
    else:
        read = read_file(FoundFile(name), LIST_BYTES)
        if read.data is None:
            raise _unreadable(name, read.file.detail or read.file.reason or "unreadable")
        data, sha256 = read.data, read.sha256
    entries = _parquet if data[:4] == b"PAR1" else _text
    return FileList(name, sha256, tuple(entries(name, data)))


def _is_pipe(name: str) -> bool:
    try:
        return Path(name).is_fifo()
    except (OSError, ValueError):
        return False


def _piped(name: str) -> tuple[bytes, str]:
    """What comes out of a pipe, which can be read once, and its digest."""
    try:
        with open(0 if name == STDIN else name, "rb", closefd=name != STDIN) as pipe:
            data = pipe.read(LIST_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error.strerror or "unreadable") from error
    if len(data) > LIST_BYTES:
        raise _unreadable(name, f"the limit is {LIST_BYTES} bytes")
    if not data:
        raise _unreadable(name, "empty")
    return data, hashlib.sha256(data).hexdigest()


def _unreadable(name: str, why: str) -> InputError:
    said = "on the standard input" if name == STDIN else repr(name)
    return InputError(f"the list {said} cannot be read ({why})")


def _text(name: str, data: bytes) -> list[str]:
    if b"\0" in data[:_BEGINNING]:
        names = data.removesuffix(b"\0").split(b"\0")
        if not all(names):  # as in nearly all that is no text
            raise _no_list(name)
    else:
        names = [line.removesuffix(b"\r") for line in data.split(b"\n")]
        if any(b"\0" in line for line in names):
            raise _no_list(name)
    return [line.decode("utf-8", "surrogateescape") for line in names if line]


def _no_list(name: str) -> InputError:
    return InputError(
        f"{name!r} is not a list",
        "write a path or an address a line, or Parquet with a column path",
    )


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
