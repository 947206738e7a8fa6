"""What a store knows, as far as a run can use it: which contents need no decoding any more."""

from dataclasses import dataclass

from ..contracts import Content, Store
from ..decoding.decode import Reason
from ..decoding.formats import MULTI_FRAME
from ..decoding.views import ViewPlan
from ..files.found import FoundFile
from .members import KINDS

PASSING = frozenset({"too_large", "too_many_pixels", "no_memory"})
"""Reasons that depend on this run's bounds and on the machine, not on the bytes alone.

Not ``decode_timeout``: finding out whether it still holds would cost each run its whole time again.
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """A store, seen with what a run wants of each content.

    Attributes:
        store: What is known.
        plan: The views that are wanted of each picture.
        frames: Pictures of a file that are wanted, at most.
        provenance: Whether it is wanted what files say of their origin.
        archives: Whether archives are opened.
    """

    store: Store
    plan: ViewPlan
    frames: int
    provenance: bool
    archives: bool

    def file(self, file: FoundFile) -> Content | None:
        """What can be used of what is known of a file that has not changed."""
        return self._usable(self.store.known_file(file))

    def content(self, sha256: str, frame: int = 1) -> Content | None:
        """What can be used of what is known of some bytes, or of a further frame."""
        return self._usable(self.store.known_content(sha256, frame))

    def knows_frames(self, content: Content) -> bool:
        """Whether nothing is left to be decoded of the further frames, where they are wanted."""
        last = min(content.frames or 1, self.frames)
        return all(
            self.content(content.sha256, number) is not None for number in range(2, last + 1)
        )

    def _usable(self, content: Content | None) -> Content | None:
        """Forget failures that may not happen again, and contents that lack what is wanted."""
        if content is None or content.reason in PASSING:
            return None
        closed = content.reason == Reason.NOT_AN_IMAGE  # all that is said of an unopened archive
        if content.format in KINDS and not (self.archives or closed):
            return None
        if content.vector is not None:
            if self.provenance and not content.provenance:  # it was not to be read then
                return None
            many = self.frames > 1 and content.format in MULTI_FRAME
            if many and content.frames is None:  # an older version did not count them
                return None
            views = 1 if content.views is None else 1 + len(content.views)
            if not self.plan.complete(content.width, content.height, views):
                return None
        return content


class Unknowing:
    """A store that knows nothing: each file is read."""

    def known_file(self, file: FoundFile) -> Content | None:  # noqa: ARG002
        """Nothing."""
        return None

    def known_content(self, sha256: str, frame: int = 1) -> Content | None:  # noqa: ARG002
        """Nothing."""
        return None
