"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from ..engine.files.discover import Walk
from ..engine.pipeline.options import StageTimes
from .console import is_terminal, say, stderr

LINE_SECONDS = 10.0
"""Between two plain lines."""

STAGE_SECONDS = 1.0
"""Between two looks at which stage is the busiest."""

NARROW, WIDE = 60, 100
"""Columns of a terminal from which the rate, and from which a bar and the time are shown."""


class Meter(Protocol):
    """Shows how far the work is."""

    def advance(self, note: str) -> None:
        """One more file is done; the note is what the counts are now."""


class _Bar:
    def __init__(
        self, progress: Progress, task: TaskID, label: str, stage: Callable[[], str]
    ) -> None:
        self._progress = progress
        self._task = task
        self._label = label
        self._stage = stage

    def advance(self, note: str) -> None:
        stage = self._stage() or self._label
        self._progress.update(self._task, advance=1, note=note, description=f"{stage:9}")


class _Lines:
    def __init__(self, label: str, stage: Callable[[], str]) -> None:
        self._label = label
        self._stage = stage
        self._started = self._shown = time.monotonic()
        self._done = 0
        self.total: int | None = None

    def advance(self, note: str) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            rate = self._done / (now - self._started)
            done = f"{self._done}/{self.total}" if self.total else str(self._done)
            parts = [f"{self._label}: {done} files", f"{rate:.1f} files/s"]
            if self.total:
                parts.append(f"{_duration((self.total - self._done) / rate)} left")
            parts += [part for part in (self._stage(), note) if part]
            say(", ".join(parts))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _rate(task: Task) -> float:
    """Files a second since the start: results come in bursts, over which rich would average."""
    return task.completed / task.elapsed if task.elapsed else 0.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = _rate(task)
        return Text(f"{rate:,.1f} files/s" if rate else "")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = _rate(task)
        if not rate or task.total is None:
            return Text("")
        return Text(f"{_duration((task.total - task.completed) / rate)} left")


class _TwoLines(Progress):
    """What fits the terminal on one line, and the counts below it."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The lines to draw, for the width that the terminal has now."""
        if not hasattr(self, "live"):  # rich asks once while it makes the object
            return
        width = self.console.width
        shown = [TextColumn("{task.description}"), MofNCompleteColumn(), _Left()]
        if width >= NARROW:
            shown.insert(-1, _Rate())
        if width >= WIDE:
            shown[1:1] = [BarColumn(bar_width=None)]
            shown.insert(-1, TimeElapsedColumn())
        self.columns = tuple(shown)
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            yield Text(task.fields["note"], "dim", no_wrap=True, overflow="ellipsis")


@contextmanager
def meter(
    label: str,
    walks: list[Walk],
    quiet: bool = False,
    stage: Callable[[], str] = lambda: "",
) -> Iterator[Meter]:
    """Show progress while the block runs.

    Args:
        label: What is being done.
        walks: Walked a second time in the background, to learn how many files there are.
        quiet: Show nothing.
        stage: Says what takes the time just now.
    """
    finished = threading.Event()
    if quiet:
        yield _Quiet()
    elif is_terminal():
        with _TwoLines(console=stderr(), transient=True) as progress:
            task = progress.add_task(label, total=None, note="")
            _count(walks, finished, lambda total: progress.update(task, total=total))
            try:
                yield _Bar(progress, task, label, stage)
            finally:
                finished.set()
    else:
        lines = _Lines(label, stage)

        def learn(total: int) -> None:
            lines.total = total

        _count(walks, finished, learn)
        try:
            yield lines
        finally:
            finished.set()


class Busiest:
    """Says which stage of a pipeline has taken the most time of late."""

    def __init__(self, times: StageTimes) -> None:
        self._times = times
        self._before = self._now()
        self._asked = time.monotonic()
        self._answer = ""

    def _now(self) -> dict[str, float]:
        return {name: getattr(self._times, field) for field, name in _STAGES.items()}

    def __call__(self) -> str:
        """The stage, or an empty text as long as there is none."""
        if time.monotonic() - self._asked >= STAGE_SECONDS:
            now = self._now()
            grown = {name: now[name] - self._before[name] for name in now}
            most = max(grown, key=grown.__getitem__)
            if grown[most] > 0.0:
                self._answer = most
            self._before, self._asked = now, time.monotonic()
        return self._answer


_STAGES = {
    "read": "reading",
    "decode": "decoding",
    "load": "loading",
    "embed": "embedding",
    "search": "judging",
    "record": "recording",
}
"""Words for the fields of the stage times."""


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
