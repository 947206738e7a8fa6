"""Ctrl-C and termination between two steps, so that the step in flight is finished and saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""By which a user, or what runs the command for one, asks it to end."""


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the step in flight finish on Ctrl-C or a termination; a second Ctrl-C ends at once."""
    caught = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield caught.is_set
        return

    def remember(number: int, _frame: object) -> None:
        if caught.is_set() and number == signal.SIGINT:  # of timeout(1) two SIGTERM are one wish
            raise KeyboardInterrupt
        caught.set()

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    try:
        yield caught.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
