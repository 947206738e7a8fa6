"""Further processes of this machine that read, decode and embed, with a Python lock each.

On many cores the one lock of one process is what limits a scan: this one only finds files,
searches, decides and records then. A process is started when there is work for it, takes one part
after the other, and is replaced when it is lost; its part is given to another one, which decodes
every file in a process that may be lost, as it may have been a file that brought it down.
"""

import contextlib
import heapq
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from ..decoding.decode import Isolation
from ..embedding.checkpoint import Checkpoint
from ..embedding.embed import CUDA_BATCH, Device
from ..errors import EngineError
from ..files.found import FoundFile
from ..pipeline.options import PipelineOptions
from .messages import pack_answer, pack_files, unpack_answer, unpack_files
from .pipeline import Answer, Finish, Session, Workers
from .worker import FileWorker, Setup, versions

TRIES = 4
"""How often files are given to a process before a run gives up on them, each time lost with it."""

_CPU_PART = 32  # files that a process takes at a time
_AHEAD = 3  # parts that are on their way, for each process
_LAST_SECONDS = 5.0
_LEAST_BUDGET = 32 << 20


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """How many processes.

    Attributes:
        number: Of processes.
        device: Where each of them embeds, ``cpu`` or ``cuda``.
    """

    number: int
    device: Device = "cpu"


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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all processes."""
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

    @property
    def part(self) -> int:
        """Files that a process takes well at a time."""
        return CUDA_BATCH if self._device == "cuda" else _CPU_PART

    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        """Begin a run."""
        return _Stream(self, self._setup(options), finish)

    def _setup(self, options: PipelineOptions) -> Setup:
        """What each process has to know: its share of the threads and of the memory."""
        cores = os.cpu_count() or 1
        waiting = self._device == "cuda"  # for the GPU, by one thread
        threads = options.workers or -(-cores // self.number) + waiting
        budget = max(options.budget // self.number, _LEAST_BUDGET)
        own = replace(options, workers=threads, budget=budget)
        return Setup(self._checkpoint, self._device, own, versions())

    def take(self, setup: Setup) -> "Child":
        """A process at rest, or a new one.

        Raises:
            EngineError: None can be started.
        """
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.setup == setup:
                    return child
                child.end()
        return Child(setup)

    def give_back(self, child: "Child") -> None:
        """Keep a process for later."""
        with self._lock:
            self._idle.append(child)

    def close(self) -> None:
        """End the processes at rest."""
        with self._lock:
            for child in self._idle:
                child.end()
            self._idle.clear()


class LostError(Exception):
    """A process has ended over its work."""


class Child:
    """A process with an encoder; one thread may talk to it at a time."""

    def __init__(self, setup: Setup) -> None:
        """Start it; what it cannot do it says in its first answer.

        Raises:
            EngineError: It cannot be started.
        """
        self.setup = setup
        there = multiprocessing.get_context("spawn")
        self._connection, theirs = there.Pipe()
        self._process = there.Process(target=_serve, args=(theirs, setup), daemon=True)
        try:
            with _deaf():
                self._process.start()
        except OSError as error:
            raise EngineError(
                f"no further process can be started ({error})", "ask for fewer with --processes"
            ) from error
        finally:
            theirs.close()

    def ask(self, files: Sequence[FoundFile]) -> bytes:
        """Have it work on some files.

        Raises:
            LostError: It is gone.
        """
        try:
            self._connection.send_bytes(pack_files(files))
            return self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise LostError from error

    def kill(self) -> None:
        """Kill it: whoever talks to it hears that it is lost."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, and forget it."""
        self._process.kill()
        self._process.join(_LAST_SECONDS)
        self._connection.close()


class _Stream:
    """A session: one thread for each process gives it parts, and finishes what it answers."""

    def __init__(self, workers: ProcessWorkers, setup: Setup, finish: Finish) -> None:
        self._workers = workers
        self._setup = setup
        self._finish = finish
        self._parts: SimpleQueue[tuple[int, Sequence[FoundFile]] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[int, Answer | Exception]] = SimpleQueue()
        self._early: list[tuple[int, Answer | Exception]] = []  # a heap: numbers are unique
        self._submitted = self._handed_out = 0
        self._threads: list[threading.Thread] = []
        self._busy: set[Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def room(self) -> bool:
        """Whether more files are wanted."""
        return self._submitted - self._handed_out < _AHEAD * self._workers.number

    @property
    def ready(self) -> bool:
        """Whether the next answer is there."""
        while not self._answers.empty():
            heapq.heappush(self._early, self._answers.get())
        return bool(self._early) and self._early[0][0] == self._handed_out

    def submit(self, part: Sequence[FoundFile]) -> None:
        """Give files to the next process that is free."""
        if len(self._threads) < self._workers.number:
            thread = threading.Thread(target=self._serve_parts, name="process", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._parts.put((self._submitted, part))
        self._submitted += 1

    def next(self, seconds: float) -> Answer | None:
        """The next answer in order, waiting for any answer."""
        if not self.ready:
            with contextlib.suppress(Empty):
                heapq.heappush(self._early, self._answers.get(timeout=seconds))
            if not self.ready:
                return None
        _, answer = heapq.heappop(self._early)
        self._handed_out += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the threads; processes that are at work end with them."""
        with self._lock:
            self._closed = True
            for child in self._busy:
                child.kill()
        for _ in self._threads:
            self._parts.put(None)
        for thread in self._threads:
            thread.join()

    def _serve_parts(self) -> None:
        child: Child | None = None
        while (job := self._parts.get()) is not None and not self._closed:
            number, files = job
            answer: Answer | Exception
            try:
                said, child = self._ask(child, files)
                part = unpack_answer(said)
                answer = part if isinstance(part, EngineError) else self._finish(part)
            except Exception as error:  # the run ends with it, whatever it is
                answer = error
            self._answers.put((number, answer))
        if child is not None:
            self._workers.give_back(child)

    def _ask(self, child: Child | None, files: Sequence[FoundFile]) -> tuple[bytes, Child]:
        """Have files worked on, by a new process where one is lost.

        Returns:
            The answer, and the process for the next files.
        """
        for attempt in range(TRIES):
            if self._closed:
                break
            asked = child or self._workers.take(_careful(self._setup) if attempt else self._setup)
            with self._lock:
                self._busy.add(asked)
                if self._closed:
                    asked.kill()
            try:
                return asked.ask(files), asked
            except LostError:
                asked.end()
                child = None
            finally:
                with self._lock:
                    self._busy.discard(asked)
        raise EngineError(
            f"{TRIES} processes one after the other were lost over the same {len(files)} files,"
            f" from {files[0].path!r} on",
            "what was done is kept: run the same command again with fewer --processes, as memory"
            " may be short, or without it",
        )


def _careful(setup: Setup) -> Setup:
    """The same, but that no file can bring a process down."""
    decode = replace(setup.options.decode, isolation=Isolation.ALL)
    return replace(setup, options=replace(setup.options, decode=decode))


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """What is started within does not hear Ctrl-C, which is for this process to answer."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, setup: Setup) -> None:
    """What a process does until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work: FileWorker | EngineError
    try:
        work = FileWorker(setup)
    except EngineError as error:
        work = error
    with contextlib.suppress(EOFError, OSError):
        while True:
            files = unpack_files(connection.recv_bytes())
            answer = work if isinstance(work, EngineError) else work(files)
            connection.send_bytes(pack_answer(answer))
