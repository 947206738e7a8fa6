"""The pipeline that has others read, decode and embed: a cluster, or further processes.

What comes out is what :class:`~code_forensics.engine.pipeline.pipeline.Pipeline` gives: the same
files with the same contents in the same order, known ones from the store and all others from the
workers.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ..contracts import Content, Store
from ..files.found import FoundFile, FreshContent
from ..judging.hits import Hits
from ..judging.query import vectors_of
from ..pipeline import members
from ..pipeline.contracts import Search
from ..pipeline.frames import frame_file, frames_left_out
from ..pipeline.items import Item
from ..pipeline.options import PipelineOptions, StageTimes
from ..pipeline.pipeline import HEARTBEAT
from .worker import Part

MOST_WAITING = 100_000
"""Files in flight, known ones included, at most."""

_BURST = 256
_GATHERING = 1.0  # seconds after which a part is handed over though it is not full

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker found in some files, and what the gallery's search did with it.

    Attributes:
        part: The worker's own words.
        hits: For each file one row a view; None where there is no vector, or no search.
        seconds: That the search took.
        last: Whether this is all, or the rest, of what was asked for.
    """

    part: Part
    hits: tuple[Hits | None, ...]
    seconds: float = 0.0
    last: bool = True


Finish = Callable[[Part], Answer]
"""What is done with a worker's words, by whoever hears them: perhaps several threads at once."""


class Session(Protocol):
    """Parts on their way to workers, and answers on their way back, for one run."""

    @property
    def part(self) -> int:
        """Files that the next part best has."""

    @property
    def room(self) -> bool:
        """Whether more files are wanted."""

    @property
    def ready(self) -> bool:
        """Whether the next answer is there."""

    def submit(self, part: Sequence[FoundFile]) -> None:
        """Have some files read, decoded and embedded; does not wait."""

    def next(self, seconds: float) -> Answer | None:
        """The next answer, in the order of the parts; None after so long without one.

        Raises:
            EngineError: Workers cannot start, or are lost again and again over the same files.
        """

    def close(self) -> None:
        """Drop what has not come back."""


class Workers(ABC):
    """Who reads, decodes and embeds; fulfils the scan's ``Cluster``."""

    @abstractmethod
    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        """Begin a run."""

    def pipeline(
        self,
        store: Store,
        options: PipelineOptions,
        times: StageTimes,
        search: Search | None = None,
    ) -> "ClusterPipeline":
        """What scans and builds run instead of this process's own pipeline."""
        return ClusterPipeline(store, self, options, times, search)


@dataclass(slots=True)
class _Waiting:
    """A file in its place, with its rows where they are known; None where a worker is asked."""

    file: FoundFile
    items: list[Item] | None


class ClusterPipeline:
    """Asks the store what is known, and workers for the rest; use it once."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        options: PipelineOptions,
        times: StageTimes,
        search: Search | None = None,
    ) -> None:
        """Prepare.

        Args:
            store: What is known.
            workers: What reads, decodes and embeds.
            options: See there.
            times: Added to.
            search: Searches a gallery with fresh vectors; None where nothing is searched.
        """
        self._memory = options.memory(store)
        self._workers = workers
        self._options = options
        self._times = times
        self._search = search
        self._waiting: deque[_Waiting] = deque()
        self._part: list[FoundFile] = []  # that no worker has been asked for yet
        self._gathering = 0.0  # when its first file came
        self._asked: deque[int] = deque()  # files that are open of each part with workers
        self._opened = False  # whether the last file that may hold frames was
        self._arithmetic: set[str] = set()

    def run(self, files: Iterable[FoundFile], stop: Callable[[], bool]) -> Iterator[list[Item]]:
        """Yield the files in order, in bursts, as they become ready; a burst may be empty.

        Args:
            files: What to work on; taken as room allows.
            stop: Asked several times a second; once true, what is not ready is dropped.
        """
        source = iter(files)
        exhausted = False
        with closing(self._workers.session(self._options, self._finish)) as session:
            while not stop():
                for _ in range(_BURST):
                    if exhausted or session.ready or not self._has_room(session):
                        break
                    file = next(source, None)
                    if file is None:
                        exhausted = True
                    else:
                        self._admit(file, session)
                if exhausted:
                    self._hand_over(session)
                if burst := self._known_ones():
                    yield burst
                    continue
                if exhausted and not self._waiting:
                    return
                if not exhausted and not session.ready and self._has_room(session):
                    yield []
                    continue
                if not self._asked:
                    self._hand_over(session)
                started = time.perf_counter()
                answer = session.next(HEARTBEAT)
                self._times.wait += time.perf_counter() - started
                yield [] if answer is None else list(self._answered(answer))
            while session.ready:  # it is stopped: what is there already is taken
                answer = session.next(0.0)
                yield [] if answer is None else list(self._answered(answer))

    def _has_room(self, session: Session) -> bool:
        return session.room and len(self._waiting) < MOST_WAITING

    def _admit(self, file: FoundFile, session: Session) -> None:
        items = self._known(file)
        self._waiting.append(_Waiting(file, items))
        if items is None:
            if not self._part:
                self._gathering = time.monotonic()
            self._part.append(file)
        if len(self._part) >= session.part or (
            self._part and time.monotonic() - self._gathering > _GATHERING
        ):
            self._hand_over(session)

    def _hand_over(self, session: Session) -> None:
        if self._part:
            session.submit(self._part)
            self._asked.append(len(self._part))
            self._part = []

    def _known_ones(self) -> list[Item]:
        """What is known at the front, and so can go."""
        ready: list[Item] = []
        while self._waiting and (items := self._waiting[0].items) is not None:
            self._waiting.popleft()
            ready += items
        return ready

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

    def _finish(self, part: Part) -> Answer:
        """Search with what came, in the thread that heard it."""
        started = time.perf_counter()
        views = [
            None if content is None or content.vector is None else vectors_of(content)
            for _, content in part.found
        ]
        fresh = [one for one in views if one is not None]
        if self._search is None or not fresh:
            return Answer(part, (None,) * len(views))
        found = self._search(np.concatenate(fresh))
        hits: list[Hits | None] = []
        first = 0
        for one in views:
            count = 0 if one is None else len(one)
            hits.append(found[first : first + count] if count else None)
            first += count
        return Answer(part, tuple(hits), time.perf_counter() - started)

    def _answered(self, answer: Answer) -> Iterator[Item]:
        """What a worker found, and the known files in between."""
        self._times.add(answer.part.times)
        self._times.embed += answer.seconds
        self._compare(answer.part.arithmetic)
        for (file, content), hits in zip(answer.part.found, answer.hits, strict=True):
            own = file.container or file.path
            while self._waiting[0].file.path != own:
                yield from self._pass_by()
            yield self._settled(_as_seen_here(file, self._waiting[0].file), content, hits)
        if answer.last:
            while self._asked[0]:
                yield from self._pass_by()
            self._asked.popleft()

    def _pass_by(self) -> Sequence[Item]:
        """Leave the file at the front, of which all is told, or known."""
        first = self._waiting.popleft()
        self._asked[0] -= first.items is None
        return first.items or ()

    def _settled(self, file: FoundFile, content: FreshContent | None, hits: Hits | None) -> Item:
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
        if known is None:
            return Item.fresh(file, content, hits)
        return Item(file, known, self._opened)

    def _compare(self, arithmetic: str) -> None:
        """Say once what the workers' vectors may differ by."""
        if not arithmetic:
            return
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
    return replace(file, device=found.device) if same and file.device != found.device else file
