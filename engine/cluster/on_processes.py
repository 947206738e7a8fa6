"""Further processes of this machine that read, decode and embed, with a Python lock each.

On many cores the one lock of one process is what limits a scan: this one only finds files,
searches, decides and records then, and embeds for them all where a GPU does. A process is started
when there is work for it, and takes one part after the other. When it is lost, its part is given
to another one, which decodes every file in a process that may be lost, as it may have been a file
that brought it down.
"""

import contextlib
import heapq
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ..decoding.decode import Isolation
from ..embedding.checkpoint import Checkpoint
from ..embedding.config import Device
from ..embedding.load import backend_of
from ..errors import EngineError
from ..files.found import FoundFile
from ..pipeline.options import PipelineOptions
from .child import Child, LostError
from .lending import Lender
from .pipeline import Answer, Finish, Session, Workers
from .worker import CPU_PART, CUDA_PART, Part, Setup, versions

TRIES = 4
"""Processes that may be lost over the same files before a run gives up."""

_AHEAD = 3  # parts that are on their way, for each process
_PIECES = 8  # of a part that wait for their turn; its process waits with the next one
_LEAST_BUDGET = 32 << 20
_LAST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """How many processes.

    Attributes:
        number: Of processes.
        device: What embeds: ``cpu``, where each process does, or ``cuda``, where this one does.
    """

    number: int
    device: Device = "cpu"

    @property
    def backend(self) -> str:
        """Which code embeds, for run records."""
        return backend_of(self.device, "float32")


class Processes:
    """The processes of a run, whatever encoder; a context manager, at whose end they end.

    Attributes:
        options: How many.
        name: Under which a run record speaks of them.
    """

    name = "processes"

    def __init__(self, options: ProcessOptions) -> None:
        """Prepare; nothing is started yet."""
        self.options = options
        self._workers: list[ProcessWorkers] = []

    def workers(self, checkpoint: Checkpoint) -> "ProcessWorkers":
        """What embeds by an encoder."""
        self._workers.append(ProcessWorkers(self.options, checkpoint))
        return self._workers[-1]

    def record(self) -> dict[str, Any]:
        """What a run record says of them."""
        return asdict(self.options)

    def __enter__(self) -> "Processes":
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; those at work have ended with their session."""
        for workers in self._workers:
            workers.close()


class ProcessWorkers(Workers):
    """Processes with an encoder."""

    def __init__(self, options: ProcessOptions, checkpoint: Checkpoint) -> None:
        self.number = options.number
        self._device = options.device
        self._checkpoint = checkpoint
        self._idle: list[Child] = []
        self._lock = threading.Lock()
        self._lender: Lender | None = None  # once a process needs it

    def part(self, before: int) -> int:
        """Files that a process takes well at a time, after so many parts.

        On a GPU few at first, so that every process has some, and then whole batches.
        """
        most = CUDA_PART if self._device == "cuda" else CPU_PART
        return min(CPU_PART << min(before // self.number, 8), most)

    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        """Begin a run."""
        return _Stream(self, self._setup(options), finish)

    def _setup(self, options: PipelineOptions) -> Setup:
        """What each process has to know: its share of the threads and of the memory."""
        cores = os.cpu_count() or 1
        waiting = self._lends  # for vectors, by one thread
        threads = options.workers or -(-cores // self.number) + waiting
        budget = max(options.budget // self.number, _LEAST_BUDGET)
        own = replace(options, workers=threads, budget=budget)
        checkpoint = None if self._lends else self._checkpoint
        return Setup(checkpoint, self._device, own, versions(), self.number)

    @property
    def _lends(self) -> bool:
        return self._device == "cuda"

    def start(self, setup: Setup) -> Child:
        """A new process.

        Raises:
            EngineError: None can be started.
        """
        if not self._lends:
            return Child(setup)
        with self._lock:
            self._lender = self._lender or Lender(self._checkpoint, self._device)
        return Child(setup, self._lender)

    def take(self, setup: Setup) -> Child:
        """A process at rest, or a new one.

        Raises:
            EngineError: None can be started.
        """
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return self.start(setup)
            if child.alive and child.setup == setup:
                return child
            child.end()

    def give_back(self, child: Child) -> None:
        """Keep a process for later."""
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        """End the processes at rest."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()
        for child in idle:
            child.end()


class _Place(NamedTuple):
    """Where an answer belongs: the part's number, and the piece's in it."""

    part: int
    piece: int


class _Stream:
    """A session: one thread for each process gives it parts, others finish what it answers."""

    def __init__(self, workers: ProcessWorkers, setup: Setup, finish: Finish) -> None:
        self._workers = workers
        self._setup = setup
        self._finish = finish
        self._parts: SimpleQueue[tuple[int, Sequence[FoundFile]] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[_Place, Answer | BaseException]] = SimpleQueue()
        self._early: list[tuple[_Place, Answer | BaseException]] = []  # a heap
        self._submitted = 0
        self._due = _Place(0, 0)  # of the answer that is handed out next
        self._finishers = ThreadPoolExecutor(workers.number, "finisher")
        self._threads: list[threading.Thread] = []
        self._busy: set[Child] = set()
        self._turn = threading.Condition()
        self._pieces: Counter[int] = Counter()  # of each part, on their way to :meth:`next`
        self._closed = False

    @property
    def part(self) -> int:
        """Files that the next part best has."""
        return self._workers.part(self._submitted)

    @property
    def room(self) -> bool:
        """Whether more files are wanted."""
        return self._submitted - self._due.part < _AHEAD * self._workers.number

    @property
    def ready(self) -> bool:
        """Whether the next answer is there."""
        while not self._answers.empty():
            heapq.heappush(self._early, self._answers.get())
        return bool(self._early) and self._early[0][0] == self._due

    def submit(self, part: Sequence[FoundFile]) -> None:
        """Give files to the next process that is free.

        Raises:
            EngineError: The system starts no more threads.
        """
        if len(self._threads) < self._workers.number:
            thread = threading.Thread(target=self._serve_parts, name="process", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise EngineError(
                    f"the system starts no more than {len(self._threads)} further threads",
                    "ask for fewer --processes",
                ) from error
            self._threads.append(thread)
        self._parts.put((self._submitted, part))
        self._submitted += 1

    def next(self, seconds: float) -> Answer | None:
        """The next answer in order, waiting for any answer."""
        if not self.ready:
            with contextlib.suppress(Empty):
                heapq.heappush(self._early, self._answers.get(timeout=seconds))
            if not self.ready:
                return None
        place, answer = heapq.heappop(self._early)
        with self._turn:
            self._pieces[place.part] -= 1
            self._turn.notify_all()
        if isinstance(answer, BaseException):
            raise answer
        if answer.last:
            self._due = _Place(place.part + 1, 0)
            del self._pieces[place.part]
        else:
            self._due = _Place(place.part, place.piece + 1)
        return answer

    def close(self) -> None:
        """End the threads; processes that are at work end with them."""
        with self._turn:
            self._closed = True
            for child in self._busy:
                child.kill()
            self._turn.notify_all()
        for _ in self._threads:
            self._parts.put(None)
        for thread in self._threads:
            thread.join(_LAST_SECONDS)
        self._finishers.shutdown(wait=False, cancel_futures=True)

    def _serve_parts(self) -> None:
        """What each thread does: parts, until there are none."""
        child: Child | None = None
        while (job := self._parts.get()) is not None and not self._closed:
            place = _Place(job[0], 0)
            try:
                work = _Work(self, job[1], child)
                held: Part | None = None
                for part in work.pieces():
                    if held is not None:  # so that the last one can be told from the others
                        self._finish_soon(place, held, last=False)
                        place = _Place(place.part, place.piece + 1)
                    held = part
                child = work.child
                assert held is not None
                self._finish_soon(place, held, last=True)
            except BaseException as error:
                self._answers.put((place, error))
                return
        if child is not None:
            self._workers.give_back(child)

    def _finish_soon(self, place: _Place, part: Part, last: bool) -> None:
        """Finish a piece while its process goes on, but not many of a part before their turn."""
        with self._turn:
            self._turn.wait_for(lambda: self._closed or self._pieces[place.part] < _PIECES)
            self._pieces[place.part] += 1
        self._finishers.submit(self._finish_now, place, part, last)

    def _finish_now(self, place: _Place, part: Part, last: bool) -> None:
        try:
            answer: Answer | BaseException = replace(self._finish(part), last=last)
        except BaseException as error:  # the run ends with it, whatever it is
            answer = error
        self._answers.put((place, answer))

    @contextlib.contextmanager
    def at_work(self, child: Child) -> Iterator[None]:
        """While this lasts, the end of the session is the end of the process."""
        with self._turn:
            self._busy.add(child)
            if self._closed:
                child.kill()
        try:
            yield
        finally:
            with self._turn:
                self._busy.discard(child)

    def take(self, careful: bool) -> Child:
        """A process for some files.

        Raises:
            EngineError: None can be started, or none is wanted any more.
        """
        if self._closed:
            raise EngineError("the session is closed", "")
        if careful:
            return self._workers.start(_careful(self._setup))
        return self._workers.take(self._setup)


class _Work:
    """One part, with as many processes as it takes."""

    def __init__(self, stream: _Stream, files: Sequence[FoundFile], child: Child | None) -> None:
        self._stream = stream
        self._files = files
        self.child = child  # for the next part; None where that needs a new one
        if child is not None and not child.alive:  # it was lost at rest
            child.end()
            self.child = None

    def pieces(self) -> Iterator[Part]:
        """What processes find in the files; where one is lost, the next begins anew.

        Raises:
            EngineError: As many as :data:`TRIES` were lost, or one cannot work.
        """
        told = 0
        end = ""
        for attempt in range(TRIES):
            careful = attempt > 0
            child = self.child or self._stream.take(careful)
            self.child = None
            passed = told
            with self._stream.at_work(child):
                try:
                    for part in child.ask(self._files):
                        fresh = part.found[passed:]
                        passed -= len(part.found) - len(fresh)
                        told += len(fresh)
                        yield replace(part, found=fresh)
                except LostError as error:
                    child.end()
                    end = str(error)
                    continue
                except BaseException:
                    child.end()
                    raise
            if careful:  # the next part has done nothing
                child.end()
            else:
                self.child = child
            return
        raise EngineError(
            f"{TRIES} processes one after the other were lost over the same"
            f" {len(self._files)} files, from {self._files[0].path!r} on; of the last {end}",
            "what was done is kept: run the same command again with fewer --processes, as memory"
            " may be short, or without it",
        )


def _careful(setup: Setup) -> Setup:
    """The same, but that no file can bring a process down."""
    decode = replace(setup.options.decode, isolation=Isolation.ALL)
    return replace(setup, options=replace(setup.options, decode=decode))
