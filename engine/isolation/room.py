"""Bounds what the large pictures decoded in this process take of its memory together."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SMALL = 1 << 26
"""Pixels, 256 MiB decoded, up to which a picture waits for no other."""

LEAST = 1 << 28
"""Pixels, 1 GiB decoded, of the larger ones at a time on any machine; one may always be decoded."""

_SHARE = 32
"""Bytes of the machine's memory for each of these pixels: decoded they take an eighth of it."""


class Room:
    """Lets large pictures wait until there is room for them; thread-safe."""

    def __init__(self, sharing: int = 1) -> None:
        """Nothing is held.

        Args:
            sharing: Processes that share the machine's memory; this one takes its part.
        """
        self._changed = threading.Condition()
        self._all = self._free = max(LEAST, memory() // _SHARE) // sharing

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Hold so many decoded pixels, once there is room for them."""
        if pixels <= SMALL:
            yield
            return
        taken = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: taken <= self._free)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


def memory() -> int:
    """Bytes of the machine's memory; 0 where that is not known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
