"""Report files: checked before the work, written whole or not at all."""

import io
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from ..engine.errors import InputError
from ..index.whole_files import temporary_beside, whole_file
from .console import say

STDOUT = Path("-")

_REPORTS = (
    b"path,sha256,bytes,",
    b'{\n "schema": "code-forensics/',
    b'{"path": "',
    b'{\n"@context": {\n "kb": "urn:uuid:',
    b'<!doctype html>\n<html lang="en">\n<head>\n<meta name="generator" content="code-forensics">',
    b'{\n  "gallery": {\n    "name": "',  # evaluate, doctor
    b'{\n "images": [',  # search
    b'{\n  "algorithm": "Ed25519",',
    b'{"scan": ',  # lists of scans, and of galleries
    b'{"gallery": "',
)
"""How each format begins, but for Parquet."""

_LONGEST = max(map(len, _REPORTS))
_FOOTER = 16 << 20  # most bytes of a Parquet file's footer that are looked at

_DATABASE, _FOLDERS = "workspace.sqlite", frozenset({"encoders", "faiss", "leases"})
"""A workspace's own files: the database, with those that SQLite puts beside it, and the rest."""


def check_targets(targets: list[Path]) -> None:
    """Refuse report files that could not be written, before hours of work.

    Raises:
        InputError: A folder is missing or closed, a name is too long, two reports go to one place,
            or what lies there is no earlier report: it may be evidence, or a workspace's own.
    """
    places = ["-" if _is_stdout(target) else os.path.normcase(_real(target)) for target in targets]
    if len(set(places)) != len(places):
        raise InputError("two reports would be written to one place")
    for target in targets:
        if _is_stdout(target):
            if sys.__stdout__ is None:
                raise InputError("standard output is closed", f"name a file instead of {STDOUT}")
            continue
        if _is_of_a_workspace(_real(target)):
            raise InputError(
                f"a report to {target} would lie among a workspace's own files", "name another file"
            )
        try:
            writable = _is_writable(target)
        except OSError:  # a name or a path too long, or a file where a folder should be
            writable = False
        if not writable:
            raise InputError(
                f"cannot write a report to {target}",
                "name a file in a folder that exists and can be written to",
            )
        if not _may_go(target):
            raise InputError(
                f"a report to {target} would overwrite a file that is not a report",
                "name another file, or delete that one",
            )


def say_written(targets: list[Path]) -> None:
    """Name the reports that now lie there, on one line of stderr."""
    files = [str(target) for target in targets if not _is_stdout(target)]
    if files:
        say(f"wrote {', '.join(files)}")


def _real(target: Path) -> Path:
    """Where a report really lies: links are followed, not replaced."""
    return Path(os.path.realpath(target))


def _is_stdout(target: Path) -> bool:
    """Whether it is ``-``, or another name for the same, such as ``/dev/stdout``."""
    if target == STDOUT:
        return True
    try:
        return os.path.samestat(target.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):  # AttributeError: there is no stdout at all
        return False


def _is_stream(target: Path) -> bool:
    """Whether it is a pipe or a device of characters, which is written to and never replaced."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _is_writable(target: Path) -> bool:
    """Whether a report can be written there, as far as that shows beforehand.

    Raises:
        OSError: It cannot.
    """
    if _is_stream(target):
        return os.access(target, os.W_OK)
    real = _real(target)
    for path in (real, temporary_beside(real)):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                return False
    return real.parent.is_dir() and os.access(real.parent, os.W_OK)


def _is_of_a_workspace(real: Path) -> bool:
    """Whether a place belongs to a workspace: to any, also one that is still to be made."""
    return real.name.casefold().startswith(_DATABASE) or any(
        above.name.casefold() in _FOLDERS and (above.parent / _DATABASE).exists()
        for above in real.parents
    )


def _may_go(target: Path) -> bool:
    """Whether nothing lies there, or an earlier report; of a pipe nothing is read."""
    if not target.is_file():
        return True
    try:
        with target.open("rb") as file:
            begin = file.read(_LONGEST)
            return not begin or begin.startswith(_REPORTS) or _is_parquet_report(file)
    except OSError:
        return False


def _is_parquet_report(file: BinaryIO) -> bool:
    """Whether it is a Parquet file whose footer has a run record."""
    from ..engine.report.as_parquet import RUN_KEY

    file.seek(0)
    if file.read(4) != b"PAR1":
        return False
    last = max(file.seek(0, os.SEEK_END) - 8, 0)  # where the length of the footer before it stands
    file.seek(last)
    length = min(int.from_bytes(file.read(4), "little"), last, _FOOTER)
    file.seek(last - length)
    return RUN_KEY in file.read(length)


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
        if _is_stdout(target):
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
                yield out
        elif _is_stream(target):
            with target.open("wb") as out:
                yield out
        else:
            with whole_file(_real(target)) as temporary, temporary.open("wb") as out:
                yield out


def write_list(target: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON object a line.

    Raises:
        InputError: The file cannot be written, or is not to be replaced.
    """
    check_targets([target])
    with whole(target) as out:
        out.writelines(json.dumps(one) + "\n" for one in objects)


class Lines:
    """A report that is written while the work goes on, line by line."""

    def __init__(self, target: Path, more: bool = False) -> None:
        """Open it.

        Args:
            target: Where it lies.
            more: Add to the lines that are there, as a log of what arrives does.

        Raises:
            InputError: It cannot be written.
        """
        self._target = target
        with self._failing():
            if _is_stdout(target):
                duplicate = os.dup(sys.stdout.fileno())
                self._stream = os.fdopen(duplicate, "w", 1, encoding="utf-8", newline="")
            else:
                self._stream = io.TextIOWrapper(
                    target.open("ab" if more else "wb"),
                    encoding="utf-8",
                    newline="",
                    line_buffering=True,
                )

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
        return _failing_as(self._target, "make room and run the same command again")


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
