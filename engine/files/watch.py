"""Files that arrive: what lies under some paths now, and whatever is put there later."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import InputError
from .discover import Walk, examine
from .found import FoundFile

_STEP_MS = 250
_BATCH = 500  # files that are handed out at a time, so that what arrives meanwhile is noticed


def watch(walk: Walk, stop: Callable[[], bool], settled: float) -> Iterator[list[FoundFile]]:
    """Hand out the files under some paths, then those that arrive or change, until told to stop.

    A file is handed out once its size and modification time have not changed for a while: one
    that is still being written is not half-read. Handed-out files that change are handed out
    again. Folders that are moved in are walked. What vanishes before it has settled is not
    reported.

    Args:
        walk: The directories, and which files in them belong.
        stop: Asked several times a second.
        settled: Seconds without a change.

    Yields:
        Files that are ready, perhaps none; never more than a few hundred.

    Raises:
        InputError: The extra is not installed, or a path is not a directory.
    """
    try:
        from watchfiles import Change
        from watchfiles import watch as changes_under
    except ImportError as error:
        raise InputError(
            "watching needs the package watchfiles", "pip install 'code-forensics[watch]'"
        ) from error
    for root in walk.roots:
        if not os.path.isdir(root):
            raise InputError(f"{root!r} is not a directory", "name a directory to watch")
    pending = _Pending(settled)
    ended = threading.Event()
    arriving = changes_under(
        *map(os.path.abspath, walk.roots),
        watch_filter=None,
        step=50,
        rust_timeout=_STEP_MS,
        yield_on_timeout=True,
        stop_event=ended,
        recursive=walk.options.recurse,
        ignore_permission_denied=True,
    )
    try:
        next(arriving)  # watching before walking: nothing falls between the two
        for file in walk:
            pending.add(file)
        while not stop():
            yield from pending.ready()
            for change, path in next(arriving):
                for at, root in _as_walked(walk, path):
                    if change is Change.deleted:
                        pending.forget(at)
                        continue
                    for file in walk.under(at, root):
                        pending.add(file)
    finally:
        ended.set()
        arriving.close()


def _as_walked(walk: Walk, path: str) -> Iterator[tuple[str, str]]:
    """A path as the walk writes it, and the root that it lies under; nothing where it has none."""
    for root in walk.roots:
        above = os.path.abspath(root)
        if path == above or Path(path).is_relative_to(above):
            yield os.path.join(root, os.path.relpath(path, above)), root
            return


class _Pending:
    """Files that have been seen and not handed out, with how they looked and since when."""

    def __init__(self, settled: float) -> None:
        self._settled = settled
        self._waiting: dict[str, tuple[FoundFile, float]] = {}
        self._given: dict[str, FoundFile] = {}

    def add(self, file: FoundFile) -> None:
        """Take a file that was seen."""
        if self._given.get(file.path) != file:
            old = max(0.0, time.time() - file.mtime_ns / 1e9)  # seconds that it has lain there
            since = time.monotonic() - min(old, self._settled)
            self._waiting.setdefault(file.path, (file, since))

    def forget(self, path: str) -> None:
        """Let go of a file that is gone, so that what is remembered does not grow for good."""
        self._given.pop(path, None)

    def ready(self) -> Iterator[list[FoundFile]]:
        """Hand out what has settled."""
        now, ready = time.monotonic(), []
        for path, (before, since) in list(self._waiting.items()):
            file = before if before.reason else examine(path, before.root)
            if file.reason == "vanished":
                del self._waiting[path]
            elif file != before:
                self._waiting[path] = (file, now)
            elif file.reason or now - since >= self._settled:
                del self._waiting[path]
                self._given[path] = file
                ready.append(file)
        for first in range(0, len(ready), _BATCH):
            yield ready[first : first + _BATCH]
