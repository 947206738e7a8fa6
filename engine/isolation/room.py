"""Bounds what the large pictures decoded in this process take of its memory together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SMALL = 1 << 26
"""Pixels, 256 MiB decoded, up to which a picture waits for no other."""

TOGETHER = 1 << 28
"""Pixels, 1 GiB decoded, of the larger ones at a time; one may always be decoded."""


class Room:
    """Lets large pictures wait until there is room for them; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free = TOGETHER

    @contextmanager
    def holding(self, pixels: int) -> Iterator[None]:
        """Hold so many decoded pixels, once there is room for them."""
        if pixels <= SMALL:
            yield
            return
        taken = min(pixels, TOGETHER)
        with self._changed:
            self._changed.wait_for(lambda: taken <= self._free)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()
