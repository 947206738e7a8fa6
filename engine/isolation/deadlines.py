"""Acts on what takes too long."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadlines:
    """One thread for all deadlines, asleep until the next one; thread-safe.

    A timer, and so a thread, for each would cost more than most of what it watches over.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[int, tuple[float, Callable[[], None]]] = {}
        self._numbers = itertools.count()
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, late: Callable[[], None]) -> Iterator[None]:
        """Do something within a time.

        Args:
            seconds: How long it may take.
            late: Called once it has taken longer, by another thread; quick, and raises nothing.
        """
        number, due = next(self._numbers), time.monotonic() + seconds
        with self._changed:
            self._pending[number] = (due, late)
            if self._thread is None or not self._thread.is_alive():  # a forked child has none
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
            elif due < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._pending.pop(number, None)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for number, (due, late) in list(self._pending.items()):
                    if due <= now:
                        del self._pending[number]
                        late()
                self._wakes = min((due for due, _ in self._pending.values()), default=math.inf)
                self._changed.wait(None if self._wakes == math.inf else self._wakes - now)
