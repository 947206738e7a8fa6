"""Shards of a scan: which part of it a file belongs to, and where it stands in the whole."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import InputError


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a scan, that can be made on different machines.

    A file belongs to the shard that the SHA-256 of its path says, relative to the directory that
    was given and with slashes, so that every machine agrees on it, whatever it holds and wherever
    the tree is mounted. Of a file that was given itself it is the name.

    Attributes:
        number: Which one, from 1.
        count: How many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``I/N``.

        Raises:
            InputError: It is something else, or I is not from 1 to N.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(int(number), int(count))
        raise InputError(
            f"{text!r} is not a shard", "write I/N with I from 1 to N, such as --shard 2/16"
        )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def holds(self, path: str, root: str) -> bool:
        """Whether a file belongs to this shard.

        Args:
            path: As found, undecodable bytes surrogate-escaped.
            root: The given path under which it was found.
        """
        below = PurePath(path).name if path == root else path[len(root) :].lstrip(os.sep)
        name = below.replace(os.sep, "/").encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(name).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def place_in_walk(paths: Sequence[str], recurse: bool) -> Callable[[str], bytes]:
    """How the files of a walk are ordered, as keys whose bytes sort like the walk.

    Args:
        paths: What was given to the walk.
        recurse: Whether it descended.

    Returns:
        The key of a path as found: its components, none of which can hold a zero byte. Without
        descent the given path comes first, because then one may lie below another.
    """
    roots = {os.path.normpath(path) for path in paths}

    def key(path: str) -> bytes:
        if recurse:
            return _components(path)
        root = path if path in roots else str(PurePath(path).parent)
        return _components(root) + b"\0\0" + _components(path)

    return key


def _components(path: str) -> bytes:
    return "\0".join(PurePath(path).parts).encode("utf-8", "surrogatepass")
