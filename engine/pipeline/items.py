"""What goes through a pipeline: files, their bytes in flight, and what came of them."""

from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..archives.walker import ArchiveFile
from ..contracts import Content
from ..files.found import FoundFile, FreshContent
from ..judging.hits import Hits


@dataclass(frozen=True, slots=True)
class Identified:
    """An embedding, its arithmetic, and what a search with it found."""

    vector: NDArray[np.float32]
    precision: str
    hits: Hits | None = None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Work:
    """Bytes in flight, shared by all files that hold them.

    Attributes:
        content: What is known of them.
        views: Crops to be embedded, (V, 224, 224, 3) uint8, until they are.
        found: What came out for each view so far.
        hits: What the search found, one row a view, once all are done.
        done: Whether nothing is left to do.
        fresh: Whether only one file has come with them so far.
    """

    content: FreshContent
    views: NDArray[np.uint8] | None = None
    found: "list[Identified | None]" = field(default_factory=list)
    hits: Hits | None = None
    done: bool = False
    fresh: bool = True


class Works:
    """The bytes in flight, for as long as any file waits for them."""

    def __init__(self) -> None:
        self._works: WeakValueDictionary[tuple[str, int], Work] = WeakValueDictionary()

    def on(self, sha256: str, frame: int, size: int) -> Work:
        """The work on some bytes, or on a further frame; with others that hold the same."""
        work = self._works.get((sha256, frame))
        if work is None:
            work = self._works[sha256, frame] = Work(FreshContent(sha256, size, frame=frame))
        else:
            work.fresh = False
        return work


View = tuple[Work, int]
"""One crop of some bytes: which bytes, and the number of the view."""


@dataclass(eq=False, slots=True)
class Item:
    """One file on its way through.

    Attributes:
        file: As discovered, or as it was when it was read.
        content: What is known of its bytes; None where it could not be read.
        opened: Whether it was read.
        work: What is done with its bytes in this run.
        reading: Whether it is being read.
        archive: Where its members are, until they have come.
        data: Bytes of a picture that may hold several.
        held: Bytes of memory that it takes: the file's, until its crops have been cut out.
    """

    file: FoundFile
    content: Content | None = None
    opened: bool = False
    work: Work | None = None
    reading: bool = False
    archive: ArchiveFile | None = None
    data: bytes | None = None
    held: int = 0

    @classmethod
    def fresh(cls, file: FoundFile, content: FreshContent, hits: Hits | None) -> "Item":
        """A file that was opened, and whose content was learnt, elsewhere in this run."""
        return cls(file, content, opened=True, work=Work(content, hits=hits, done=True))

    @property
    def ready(self) -> bool:
        """Whether nothing is left to do."""
        return not self.reading and self.archive is None and (self.work is None or self.work.done)

    @property
    def hits(self) -> Hits | None:
        """What the search found, where this run embedded the content."""
        return self.work.hits if self.work else None

    @property
    def embedded(self) -> bool:
        """Whether this run embedded the content."""
        return self.work is not None and self.work.content.vector is not None
