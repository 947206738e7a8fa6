"""The further frames, or pages, of a picture: files under paths like ``clip.gif#frame=2``."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..decoding.formats import MULTI_FRAME
from ..decoding.frames import MOST_COUNTED
from ..files.found import FoundFile
from .items import Item, Work, Works
from .memory import Memory
from .options import PipelineOptions

TOO_MANY_FRAMES = "too_many_frames"
"""Reason of the row that stands for the frames beyond the limit."""

_CROPS = 128
"""Crops of further frames that are decoded at a time."""


def frames_of(name: str | None, frames: int) -> int:
    """How many pictures a content holds: what is counted in other formats are layers or sizes."""
    return frames if name in MULTI_FRAME else 1


@dataclass(frozen=True, slots=True)
class FrameJob:
    """Frames of a picture that are to be decoded together.

    Attributes:
        data: The whole file.
        count: How many frames it has.
        numbers: Which frames, side by side, from 2.
        works: What is to be done for each.
    """

    data: bytes
    count: int
    numbers: range
    works: list[Work]


class Frames:
    """Makes files of further frames, and hands them out for decoding, some at a time."""

    def __init__(self, memory: Memory, works: Works, options: PipelineOptions) -> None:
        """Begin empty.

        Args:
            memory: What is known of frames already.
            works: What is in flight.
            options: How many are wanted.
        """
        self._memory = memory
        self._works = works
        self._most = options.frames
        self._at_a_time = max(8, _CROPS // options.decode.views.most)
        self._runs: list[_Run] = []

    def of(self, item: Item) -> list[Item]:
        """The further frames of a picture that has come through, where they are wanted."""
        content, data = item.content, item.data
        if content is None or content.frame > 1 or self._most < 2:
            return []
        frames = content.frames or 1
        last = min(frames, self._most)
        run = _Run(data or b"", frames, self._at_a_time)
        items = []
        for number in range(2, last + 1):
            known = self._memory.content(content.sha256, number)
            frame = Item(frame_file(item.file, number), known, item.opened)
            items.append(frame)
            if known is None:
                work = frame.work = self._works.on(content.sha256, number, content.bytes)
                frame.content = work.content
                if work.fresh:
                    work.content.provenance, work.content.frames = content.provenance, frames
                    run.numbers.append(number)
                    run.works.append(work)
        if frames > last:
            items.append(Item(frames_left_out(item.file, last + 1, frames)))
        if run.numbers and data is None:  # purged since the file was found to be known
            for frame in items:
                if frame.work is not None:
                    frame.work, frame.content = None, None
                    frame.file = replace(frame.file, reason="changed")
        elif run.numbers:
            self._runs.append(run)
        return items

    def due(self) -> Iterator[FrameJob]:
        """The next frames of each picture whose last ones are done."""
        for run in list(self._runs):
            if not all(work.done for work in run.pending):
                continue
            numbers = run.take()
            if numbers:
                yield FrameJob(run.data, run.count, numbers, run.pending)
            else:
                self._runs.remove(run)


@dataclass(eq=False, slots=True)
class _Run:
    """Frames of one picture that are left to be decoded.

    Attributes:
        data: The whole file.
        count: How many frames it has.
        size: Frames at a time.
        numbers: Frames that are left, rising, from 2.
        works: What is to be done for each.
        pending: What was taken last.
    """

    data: bytes
    count: int
    size: int
    numbers: list[int] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    pending: list[Work] = field(default_factory=list)

    def take(self) -> range:
        """Make the next frames that lie side by side pending; none where none are left."""
        numbers = self.numbers[: self.size]
        count = sum(1 for place, number in enumerate(numbers) if number == numbers[0] + place)
        first = numbers[0] if numbers else 0
        self.pending = self.works[:count]
        del self.numbers[:count], self.works[:count]
        return range(first, first + count)


def frame_file(file: FoundFile, frame: int) -> FoundFile:
    """A further frame as a file.

    Args:
        file: The picture.
        frame: From 2.
    """
    container = file.container or file.path
    return replace(file, path=f"{file.path}#frame={frame}", bytes=None, container=container)


def frames_left_out(file: FoundFile, first: int, frames: int) -> FoundFile:
    """The row for the frames beyond the limit."""
    counted = f"at least {frames}" if frames == MOST_COUNTED else str(frames)
    detail = f"{counted} frames, of which {first - 1} are judged"
    return replace(frame_file(file, first), reason=TOO_MANY_FRAMES, detail=detail)
