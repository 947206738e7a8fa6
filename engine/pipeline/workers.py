"""A pool of threads that hands back what is done as it is done."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from ..errors import EngineError

T = TypeVar("T")


class Workers(Generic[T]):
    """Daemon threads that run jobs in order of submission.

    An exception in a job is a bug and is raised by :meth:`next`. A thread that is still inside
    native code when Python ends can take the process down with it, so :meth:`close` waits for them
    all; who cannot wait ends the process without Python's farewell (``os._exit``).
    """

    def __init__(self, threads: int) -> None:
        """Start the threads.

        Args:
            threads: How many.

        Raises:
            EngineError: The system starts no more threads.
        """
        self._jobs: SimpleQueue[Callable[[], T] | None] = SimpleQueue()
        self._done: SimpleQueue[T | BaseException] = SimpleQueue()
        self.pending = 0
        self.threads = threads
        self._threads: list[threading.Thread] = []
        for number in range(threads):
            try:
                self._start(self._run, f"worker-{number}")
            except RuntimeError as error:
                self.close(wait=True)
                raise EngineError(
                    f"the system starts no more than {number} of {threads} threads",
                    "ask for fewer, such as --workers 4",
                ) from error

    def submit(self, job: Callable[[], T]) -> None:
        """Queue a job."""
        self.pending += 1
        self._jobs.put(job)

    def submit_beside(self, job: Callable[[], T]) -> None:
        """Run a job in a thread of its own, at once, whatever is queued.

        Raises:
            EngineError: The system starts no more threads.
        """
        try:
            self._start(lambda: self._do(job), "beside")
        except RuntimeError as error:
            raise EngineError(
                "the system starts no further thread", "ask for fewer, such as --workers 4"
            ) from error
        self.pending += 1

    def next(self, timeout: float) -> T | None:
        """Wait for the next finished job.

        Returns:
            Its result, or None if none finished within the time, in seconds.
        """
        try:
            result = self._done.get(timeout=timeout)
        except Empty:
            return None
        self.pending -= 1
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self, wait: bool) -> None:
        """Drop the jobs that have not begun, and let the threads end.

        Args:
            wait: Whether to wait for the jobs that have begun.
        """
        try:
            while True:
                self._jobs.get_nowait()
        except Empty:
            pass
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)

    def _do(self, job: Callable[[], T]) -> None:
        try:
            self._done.put(job())
        except BaseException as error:
            self._done.put(error)
