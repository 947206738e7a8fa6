"""Files that are either whole or not there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..index.whole_files import sync_folder


def write_atomically(path: Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Args:
        path: The file; its folder is made where missing.
        write: Writes the content into the open file.
        durable: Whether to wait for the disk. Without, a power cut can leave an empty file, which
            suits many files that are soon made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)
