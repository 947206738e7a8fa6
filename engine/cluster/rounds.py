"""A session with workers who want a list of parts, not a stream: files are collected in rounds."""

import time
from collections.abc import Callable, Generator, Sequence

from ..files.found import FoundFile
from .pipeline import Answer, Finish
from .worker import Part

ROUND = 100_000
"""Files that are handed to a cluster at once, at most."""

COLLECTING = 10.0
"""Seconds for which files are collected before the cluster is given what is there."""

Embed = Callable[[Sequence[Sequence[FoundFile]]], Generator[Part | None]]
"""Has parts worked on; yields the answers in order, and None several times a second meanwhile."""


class Rounds:
    """Collects files for a while, hands them over at once, and does so again.

    Attributes:
        part: Files that a worker takes well at a time.
    """

    def __init__(self, embed: Embed, finish: Finish, part: int) -> None:
        self.part = part
        self._embed = embed
        self._finish = finish
        self._parts: list[Sequence[FoundFile]] = []
        self._files = 0
        self._started = 0.0  # when the first part came
        self._answers: Generator[Part | None] | None = None

    @property
    def room(self) -> bool:
        """Whether more files are collected; not while workers are at it."""
        early = not self._parts or time.monotonic() - self._started < COLLECTING
        return self._answers is None and self._files < ROUND and early

    @property
    def ready(self) -> bool:
        """Nobody knows before Ray is asked."""
        return False

    def submit(self, part: Sequence[FoundFile]) -> None:
        """Collect."""
        if not self._parts:
            self._started = time.monotonic()
        self._parts.append(part)
        self._files += len(part)

    def next(self, seconds: float) -> Answer | None:  # noqa: ARG002
        """The next answer; the first question ends the collecting."""
        if self._answers is None:
            self._answers, self._parts, self._files = self._embed(self._parts), [], 0
        try:
            part = next(self._answers)
        except StopIteration:
            self._answers = None
            return None
        return None if part is None else self._finish(part)

    def close(self) -> None:
        """End the reader."""
        if self._answers is not None:
            self._answers.close()
