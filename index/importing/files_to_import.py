"""Tells by its first bytes what kind of file is to be imported."""

import json
from enum import Enum, auto
from pathlib import Path

from ..errors import FileFormatError
from .sklearn_files import MAX_BYTES

_HEADER_BYTES = 100_000_000  # the format's own bound on a safetensors header


class FileKind(Enum):
    """What a file is, as far as its beginning tells."""

    NPZ = auto()
    SAFETENSORS = auto()
    SAFETENSORS_HEAD = auto()  # with the engine's description of a classifier in it
    PICKLE = auto()  # compressed or not, or anything else: its reader refuses what it is not


def file_kind(path: Path) -> FileKind:
    """Look at the beginning of a file.

    Raises:
        FileFormatError: It cannot be read.
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(9)
            size = int.from_bytes(start[:8], "little")
            if start[8:] == b"{" and 2 <= size <= _HEADER_BYTES:
                return _safetensors_kind(b"{" + handle.read(size - 1))
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror}") from error
    return FileKind.NPZ if start.startswith(b"PK") else FileKind.PICKLE


def read_bounded(path: Path) -> bytes:
    """All bytes of a classifier's file.

    Raises:
        FileFormatError: It cannot be read, or is larger than any classifier.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FileFormatError(f"{path} is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"cannot read {path}: {error.strerror}") from error


def _safetensors_kind(header: bytes) -> FileKind:
    try:
        described = "head" in json.loads(header).get("__metadata__", {})
    except (ValueError, TypeError, AttributeError, RecursionError):
        described = False
    return FileKind.SAFETENSORS_HEAD if described else FileKind.SAFETENSORS
