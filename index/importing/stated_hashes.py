"""Files of a hub and the hashes that it states for them."""

import hashlib
import re
from dataclasses import dataclass

from ..errors import HubError

_SHA256, _SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class StatedFile:
    """What the hub states of a file.

    Attributes:
        name: Path within the repository.
        bytes: Size.
        stated: A SHA-256, or git's SHA-1 of a blob for a small file outside of LFS.
    """

    name: str
    bytes: int
    stated: str


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file whose bytes have the hash that was stated.

    Attributes:
        name: Path within the repository.
        data: The bytes.
        sha256: Of them.
        stated: What they were checked against; see :class:`StatedFile`.
    """

    name: str
    data: bytes
    sha256: str
    stated: str


def content_hash(data: bytes, stated: str) -> str:
    """The hash of some bytes, of the kind that was stated.

    Args:
        data: The bytes.
        stated: 64 hexadecimal digits ask for SHA-256; 40 for git's SHA-1 of a blob, which covers
            ``blob SIZE`` and a zero byte before the content (git, "Git Internals - Git Objects").

    Returns:
        Hexadecimal digits, or nothing where the kind is unknown.
    """
    if _SHA256.fullmatch(stated):
        return hashlib.sha256(data).hexdigest()
    if _SHA1.fullmatch(stated):
        head = b"blob %d\0" % len(data)
        return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()
    return ""


def checked(file: StatedFile, data: bytes) -> FetchedFile:
    """The file, if these bytes are what was stated.

    Raises:
        HubError: They are not.
    """
    if len(data) != file.bytes or content_hash(data, file.stated) != file.stated:
        raise HubError(
            f"{file.name} is not what the hub states: its hash is not {file.stated}",
            "nothing of it is used; try again, and if it stays so do not trust this server",
        )
    return FetchedFile(file.name, data, hashlib.sha256(data).hexdigest(), file.stated)
