"""A pool of threads that hands back what is done as it is done."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Workers(Generic[T]):
    """Daemon threads that run jobs in order of submission.

    Unlike ``concurrent.futures`` it never waits for a running job when it is closed: an interrupt
    must not wait for a slow decoder. An exception in a job is a bug and is raised by :meth:`next`.
    """

    def __init__(self, threads: int, prepare: Callable[[], None] = lambda: None) -> None:
        self._jobs: SimpleQueue[Callable[[], T] | None] = SimpleQueue()
        self._done: SimpleQueue[T | BaseException] = SimpleQueue()
        self._prepare = prepare
        self._threads = threads
        self.pending = 0
        for number in range(threads):
            threading.Thread(target=self._run, name=f"worker-{number}", daemon=True).start()

    def submit(self, job: Callable[[], T]) -> None:
        """Queue a job."""
        self.pending += 1
        self._jobs.put(job)

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

    def close(self) -> None:
        """Drop the jobs that have not begun, and let the threads end."""
        try:
            while True:
                self._jobs.get_nowait()
        except Empty:
            pass
        for _ in range(self._threads):
            self._jobs.put(None)

    def _run(self) -> None:
        self._prepare()
        while (job := self._jobs.get()) is not None:
            try:
                self._done.put(job())
            except BaseException as error:
                self._done.put(error)
