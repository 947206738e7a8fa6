"""How paths are stored: text where it is valid UTF-8, else the bytes themselves."""

import os


def store_path(path: str) -> str | bytes:
    """A path as a database value."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def load_path(value: str | bytes) -> str:
    """The path behind a database value; undecodable bytes are surrogate-escaped."""
    return os.fsdecode(value)
