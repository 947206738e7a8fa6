"""The pipeline whose reading, decoding and embedding is done by a cluster.

What comes out is what :class:`code_forensics.engine.pipeline.Pipeline` gives: the same files with
the same contents in the same order, known ones from the store and all others from the workers.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from ..contracts import Content, Store
from ..files.found import FoundFile, FreshContent
from ..pipeline import members
from ..pipeline.frames import frame_file, frames_left_out
from ..pipeline.items import Item
from ..pipeline.options import PipelineOptions, StageTimes
from .worker import Part

ROUND = 100_000
"""Files that are handed to the cluster at once, at most."""

COLLECTING = 10.0
"""Seconds for which files are collected before the cluster is given what is there."""

_BURST = 256

_log = logging.getLogger(__name__)

_Waiting = deque[tuple[FoundFile, list[Item] | None]]
"""Files in order, with what is known of them; None is what the workers are asked for."""


class EmbedsParts(Protocol):
    """A cluster, as far as the pipeline knows one."""

    @property
    def part(self) -> int:
        """Files that a worker takes well at a time."""

    def embed(
        self, parts: Sequence[Sequence[FoundFile]], options: PipelineOptions
    ) -> Iterator[Part | None]:
        """Have workers read, decode and embed files.

        Yields:
            The answers in order, and None several times a second while there are none.
        """


class ClusterPipeline:
    """Asks the store what is known, and a cluster for the rest; use it once."""

    def __init__(
        self, store: Store, cluster: EmbedsParts, options: PipelineOptions, times: StageTimes
    ) -> None:
        self._memory = options.memory(store)
        self._cluster = cluster
        self._options = options
        self._times = times
        self._opened = False  # whether the last file that may hold frames was
        self._arithmetic: set[str] = set()

    def run(self, files: Iterable[FoundFile], stop: Callable[[], bool]) -> Iterator[list[Item]]:
        """Yield the files in order, in bursts, as they become ready; a burst may be empty.

        Args:
            files: What to work on; taken by rounds.
            stop: Asked several times a second; once true, what is not ready is dropped.
        """
        source = iter(files)
        while (waiting := (yield from self._collect(source, stop))) and not stop():
            yield from self._embed(waiting, stop)

    def _collect(
        self, source: Iterator[FoundFile], stop: Callable[[], bool]
    ) -> Generator[list[Item], None, _Waiting]:
        """Take files until there are enough for a round; known ones come out at once."""
        waiting: _Waiting = deque()
        ready: list[Item] = []
        started = time.monotonic()
        for file in source:
            items = self._known(file)
            if items is not None and not waiting:
                ready += items
                if len(ready) >= _BURST:
                    yield ready
                    ready = []
            else:
                waiting.append((file, items))
            late = waiting and time.monotonic() - started >= COLLECTING
            if len(waiting) >= ROUND or late or stop():
                break
        yield ready
        return waiting

    def _known(self, file: FoundFile) -> list[Item] | None:
        """A file and its frames, where nothing has to be read for them."""
        if file.reason is not None:
            return [Item(file)]
        known = self._memory.file(file)
        if known is None or not self._memory.knows_frames(known):
            return None
        if self._options.archives is not None and members.may_hold_files(known):
            return None
        return [Item(file, known), *self._frames(file, known)]

    def _frames(self, file: FoundFile, content: Content) -> Iterator[Item]:
        """The further frames of a picture, all of them known, where they are wanted."""
        frames = content.frames or 1
        last = min(frames, self._options.frames)
        if self._options.frames > 1:
            for number in range(2, last + 1):
                known = self._memory.content(content.sha256, number)
                yield Item(frame_file(file, number), known)
            if frames > last:
                yield Item(frames_left_out(file, last + 1, frames))

    def _embed(self, waiting: _Waiting, stop: Callable[[], bool]) -> Iterator[list[Item]]:
        wanted = [file for file, items in waiting if items is None]
        size = self._cluster.part
        parts = [wanted[first : first + size] for first in range(0, len(wanted), size)]
        for part in self._cluster.embed(parts, self._options):
            yield [] if part is None else list(self._answered(waiting, part))
            if stop():
                return
        yield [item for _, items in waiting for item in items or ()]

    def _answered(self, waiting: _Waiting, part: Part) -> Iterator[Item]:
        """What a worker found, and the known files before it."""
        self._times.add(part.times)
        self._compare(part.arithmetic)
        for file, content in part.found:
            while waiting[0][0].path != (file.container or file.path):
                yield from waiting.popleft()[1] or ()
            yield self._settled(_as_seen_here(file, waiting[0][0]), content)

    def _settled(self, file: FoundFile, content: FreshContent | None) -> Item:
        """A file as it would be here: the worker did not know what is known."""
        if content is None or content.format in members.KINDS:
            return Item(file, content, opened=content is not None)
        if content.frame == 1:
            member = None if file.container is None else self._memory.file(file)
            if member is not None and self._memory.knows_frames(member):
                self._opened = False
                return Item(file, member)
            self._opened = True
        known = self._memory.content(content.sha256, content.frame)
        return Item.fresh(file, content) if known is None else Item(file, known, self._opened)

    def _compare(self, arithmetic: str) -> None:
        """Say once what the workers' vectors may differ by."""
        before = len(self._arithmetic)
        self._arithmetic.add(arithmetic)
        if before == 1 and len(self._arithmetic) == 2:
            _log.warning(
                "the workers compute differently (%s): vectors may differ in their last bits",
                " | ".join(sorted(self._arithmetic)),
            )


def _as_seen_here(file: FoundFile, found: FoundFile) -> FoundFile:
    """A file under the number that its device has here: each node counts its own."""
    same = (file.mtime_ns, file.inode) == (found.mtime_ns, found.inode)
    return replace(file, device=found.device) if same else file
