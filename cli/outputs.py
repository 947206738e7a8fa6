"""Report files: checked before the work, written whole or not at all."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from ..engine.errors import InputError

STDOUT = Path("-")


def check_targets(targets: list[Path]) -> None:
    """Refuse report files that could not be written, before hours of work.

    Raises:
        InputError: A folder is missing or closed, or two reports go to one place.
    """
    if len(set(targets)) != len(targets):
        raise InputError("two reports would be written to one place")
    for target in targets:
        if target == STDOUT:
            continue
        folder = target.absolute().parent
        if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(
                f"cannot write a report to {target}",
                "name a file in a folder that exists and can be written to",
            )


@contextmanager
def whole(target: Path) -> Iterator[TextIO]:
    """Open a report for writing; the file appears under its name only when it is complete."""
    with whole_bytes(target) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        try:
            yield text
            text.flush()
        finally:
            text.detach()


@contextmanager
def whole_bytes(target: Path) -> Iterator[BinaryIO]:
    """As :func:`whole`, for formats that are not text."""
    if target == STDOUT:
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
            yield out
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}",
            "the scan is kept in the workspace: write the report again with code-report export",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def growing(target: Path) -> Iterator[TextIO]:
    """Open a report that is written while the scan runs, line by line."""
    if target == STDOUT:
        stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", 1, encoding="utf-8", newline="")
    else:
        stream = target.open("w", 1, encoding="utf-8", newline="")
    with stream:
        yield stream
