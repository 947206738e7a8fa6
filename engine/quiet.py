"""Keeps what image libraries say to themselves: warnings, and lines printed by C code."""

import contextlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO, cast

_IGNORE = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif)(\.|$)"), 0)


class _Quiet:
    """Puts one entry in front of the warning filters while any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changed: list[list[Any]] = []

    def enter(self) -> None:
        filters = cast("list[Any]", warnings.filters)
        with self._lock:
            self._inside += 1
            if not filters or filters[0] is not _IGNORE:
                filters.insert(0, _IGNORE)
                self._changed.append(filters)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            # A catch_warnings() elsewhere may have copied the list, or put an older one back.
            for filters in (*self._changed, cast("list[Any]", warnings.filters)):
                with contextlib.suppress(ValueError):
                    filters.remove(_IGNORE)
            self._changed.clear()


_quiet = _Quiet()


@contextlib.contextmanager
def quiet_warnings() -> Iterator[None]:
    """Ignore warnings raised in Pillow's modules for as long as any thread is inside.

    ``warnings.catch_warnings`` restores the filters that it found, which goes wrong when threads
    enter and leave it in turns; one entry, put in and taken out, does not. Filters that turn
    warnings into errors cannot make an image fail that opens.
    """
    if getattr(sys.flags, "context_aware_warnings", False):  # each thread has its own filters
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    _quiet.enter()
    try:
        yield
    finally:
        _quiet.leave()


@contextlib.contextmanager
def native_messages_dropped() -> Iterator[None]:
    """Drop what C libraries print to standard error of this process while inside.

    On damaged files libtiff, and libjpeg inside nvImageCodec, print to descriptor 2 and offer
    Python no switch. The descriptor is the whole process's: meant for a process that is ours
    alone (the command line around a run, a worker at its start), entered once, never around one
    call. Where Python's ``sys.stderr`` writes to that descriptor, it goes on doing so.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing can be printed there
        yield
        return
    python, stand_in = sys.stderr, None
    if python is not None and _descriptor(python) == 2:
        python.flush()
        stand_in = os.fdopen(os.dup(kept), "w", 1, python.encoding, python.errors)
        sys.stderr = stand_in
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        if stand_in is not None:
            if sys.stderr is stand_in:
                sys.stderr = python
            stand_in.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):  # a notebook's, a test's, a closed one
        return None
