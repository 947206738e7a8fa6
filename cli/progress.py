"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..engine.discover import Walk
from .console import is_terminal, say, stderr

LINE_SECONDS = 10.0
"""Between two plain lines."""


class Meter(Protocol):
    """Shows how far the work is."""

    def advance(self, note: str) -> None:
        """One more file is done; the note is what the counts are now."""


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, note: str) -> None:
        self._progress.update(self._task, advance=1, note=note)


class _Lines:
    def __init__(self, label: str) -> None:
        self._label = label
        self._started = self._shown = time.monotonic()
        self._done = 0
        self.total: int | None = None

    def advance(self, note: str) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            rate = self._done / (now - self._started)
            total = f"/{self.total}" if self.total else ""
            say(f"{self._label}: {self._done}{total} files, {rate:.1f} files/s, {note}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f} files/s")


@contextmanager
def meter(label: str, walks: list[Walk], quiet: bool = False) -> Iterator[Meter]:
    """Show progress while the block runs.

    Args:
        label: What is being done.
        walks: Walked a second time in the background, to learn how many files there are.
        quiet: Show nothing.
    """
    finished = threading.Event()
    if quiet:
        yield _Quiet()
    elif is_terminal():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        with Progress(*columns, console=stderr(), transient=True) as progress:
            task = progress.add_task(label, total=None, note="")
            _count(walks, finished, lambda total: progress.update(task, total=total))
            try:
                yield _Bar(progress, task)
            finally:
                finished.set()
    else:
        lines = _Lines(label)

        def learn(total: int) -> None:
            lines.total = total

        _count(walks, finished, learn)
        try:
            yield lines
        finally:
            finished.set()


class _Quiet:
    def advance(self, note: str) -> None:
        pass


def _count(walks: list[Walk], finished: threading.Event, tell: Callable[[int], None]) -> None:
    def work() -> None:
        total = 0
        for walked in walks:
            for _ in walked:
                total += 1
                if finished.is_set():
                    return
        tell(total)

    threading.Thread(target=work, daemon=True, name="counter").start()
