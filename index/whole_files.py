"""Files that appear under their names only when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of a file; short, so that a long name of the file does no harm."""
    return path.with_name(f".{uuid4().hex[:12]}.tmp")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all, and durably; one that is there is replaced.

    Yields:
        Where to write it meanwhile.

    Raises:
        OSError: It cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        with temporary.open("r+b") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # it is there; some file systems cannot be asked to make that last
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable, where the platform can.

    Raises:
        OSError: It cannot be done.
    """
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
