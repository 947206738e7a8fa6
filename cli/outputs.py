"""Report files: checked before the work, written whole or not at all."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from ..engine.errors import InputError
from .console import say

STDOUT = Path("-")

_REPORTS = (b"path,", b"{", b"<!doctype html", b"par1")
"""How reports begin, in small letters."""


def check_targets(targets: list[Path]) -> None:
    """Refuse report files that could not be written, before hours of work.

    Raises:
        InputError: A folder is missing or closed, two reports go to one place, or a picture lies
            there, which may be evidence.
    """
    places = {t if t == STDOUT else os.path.normcase(os.path.realpath(t)) for t in targets}
    if len(places) != len(targets):
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
        if _is_picture(target):
            raise InputError(f"a report to {target} would overwrite a picture", "name another file")


def say_written(targets: list[Path]) -> None:
    """Name the reports that now lie there, on one line of stderr."""
    files = [str(target) for target in targets if target != STDOUT]
    if files:
        say(f"wrote {', '.join(files)}")


def _is_picture(target: Path) -> bool:
    """Whether a file lies there that begins like an image; of a pipe nothing is read."""
    if not target.is_file():
        return False
    try:
        with target.open("rb") as file:
            begin = file.read(16)
    except OSError:
        return False
    if begin.lower().startswith(_REPORTS):  # an earlier one: no decoder has to be asked
        return False
    from ..engine.decoding.formats import claimed

    return claimed(begin)


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
    with _failing_as(target, "write the report again with code-report export"):
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
        finally:
            temporary.unlink(missing_ok=True)


class Lines:
    """A report that is written while the scan runs, line by line."""

    def __init__(self, target: Path) -> None:
        """Open it.

        Raises:
            InputError: It cannot be written.
        """
        self._target = target
        with self._failing():
            if target == STDOUT:
                duplicate = os.dup(sys.stdout.fileno())
                self._stream = os.fdopen(duplicate, "w", 1, encoding="utf-8", newline="")
            else:
                self._stream = target.open("w", 1, encoding="utf-8", newline="")

    def write(self, line: str) -> None:
        """Add a line.

        Raises:
            InputError: It cannot be written, as the disk is full.
        """
        with self._failing():
            self._stream.write(line)

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # every line was flushed, or its failure was raised
            self._stream.close()

    def _failing(self) -> AbstractContextManager[None]:
        return _failing_as(self._target, "make room and run the same command again: it goes on")


@contextmanager
def _failing_as(target: Path, hint: str) -> Iterator[None]:
    """Within it, an error of the file is one of clear words; a reader that left is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "stdout" if target == STDOUT else target
        raise InputError(
            f"cannot write {name}: {error.strerror or error}",
            f"the scan is kept in the workspace: {hint}",
        ) from error
