"""Paths: stored as text where they are valid UTF-8, else as the bytes themselves; found."""

import os
from pathlib import Path

from .errors import UnusableWorkspaceError


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


def workspace_folder(folder: Path) -> Path:
    """Where a workspace lies: absolute, ``~`` resolved.

    Raises:
        UnusableWorkspaceError: It begins with the home of a user that there is not.
    """
    try:
        return folder.expanduser().absolute()
    except RuntimeError as error:
        raise UnusableWorkspaceError(
            f"there is no home folder for the workspace {folder}",
            "name another folder with --workspace; one that begins with ~ is written ./~",
        ) from error
