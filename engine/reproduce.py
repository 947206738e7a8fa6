"""Do a scan on record again, file by file, and say which of its rows come out the same."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import groupby

from .contracts import Content, Gallery
from .embedding.contracts import KnownEncoder
from .files.discover import examine
from .files.found import FoundFile, Reason
from .judging.judge import Judge
from .judging.leeway import TOLERANCE, Seen, within
from .judging.named_references import can_be_nearest
from .judging.query import vectors_of
from .judging.thresholds import Inconclusive
from .pipeline.memory import Unknowing
from .results import FileResult, Neighbour
from .scan import ScanOptions, scan


class Outcome(StrEnum):
    """What became of a row."""

    REPRODUCED = "reproduced"  # every figure is the same, bit for bit
    AGREES = "agrees"  # the same answer, but for a copy at its bound; figures within the tolerance
    DIFFERS = "differs"  # another answer, or figures beyond the tolerance
    CHANGED = "changed"  # the file holds other bytes now
    GONE = "gone"  # the file cannot be read any more
    UNREAD = "unread"  # the scan did not read it either: there is nothing to reproduce


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A row, and what came out this time.

    Attributes:
        before: The row on record.
        after: The row of now; None where nothing was to be done.
        outcome: How they compare.
        fields: What differs, by the report's names.
    """

    before: FileResult
    after: FileResult | None
    outcome: Outcome
    fields: tuple[str, ...] = ()


_ANSWERS = ("status", "reason", "knn", "verdict", "classifier")
_WITHHELD = {"reason", "verdict"}  # what differs where a copy withholds the verdict of one row
_GENERATORS = ("generator", "attribution")  # others are as good where fakes are as near
_FIGURES = (
    "p_fake",
    "log10_lr",
    "attribution_certainty",
    "margin",
    "real_similarity",
    "fake_similarity",
    "score",
    "classifier_score",
)
_EVIDENCE = ("neighbour", "neighbours", "crops", "probe")


def reproduce(
    rows: Iterable[FileResult],
    gallery: Gallery,
    judge: Judge,
    embedder: KnownEncoder,
    options: ScanOptions | None = None,
    tolerance: float = TOLERANCE,
    bands: Mapping[str, float] | None = None,
    stop: Callable[[], bool] = lambda: False,
    where: Callable[[str], str] = lambda path: path,
) -> Iterator[Reproduction]:
    """Scan the files of some rows again, as if nothing were known, and compare.

    Args:
        rows: Of the scan on record, any of them, in order.
        gallery: In the state in which the scan met it.
        judge: By that gallery's assessment, with the options of the scan.
        embedder: The encoder of the scan, in float32.
        options: As those of the scan.
        tolerance: Most that cosines may differ where they are not the same; all other figures may
            as far as that moves them.
        bands: The same for rows of each reduced precision.
        stop: Asked several times a second; once true, it ends.
        where: Where the path of a row leads from here.

    Yields:
        One record a row, in order.
    """
    waiting: deque[_Wanted] = deque()

    def files() -> Iterator[FoundFile]:
        """Each file on disk once, whose members or frames may have rows of their own."""
        for path, group in _files_on_disk(rows):
            wanted = _Wanted(where(path), {where(row.path): row for row in group})
            waiting.append(wanted)
            (first, *more) = wanted.rows.values()
            alone = first.container is None and not more
            yield (_unread(first, wanted.path) if alone else None) or examine(wanted.path)

    def close(before: FileResult, after: FileResult) -> bool:
        """Whether what differs between two rows of the same answer is within the tolerance."""
        content = memory.contents[after.path]
        if content is None or content.vector is None:
            return False
        most = max((bands or {}).get(before.precision or "", 0.0), tolerance)
        seen = Seen(judge, gallery, vectors_of(content))
        return within(before, after, seen, most) and can_be_nearest(
            before, after, gallery, seen.vectors[0], judge.depth, most
        )

    memory = _Amnesia()
    for after in scan(files(), gallery, judge, memory, embedder, options, stop=stop):
        while not waiting[0].meets(after):
            yield from waiting.popleft().gone()
        for before in waiting[0].until(after.path):
            found = after if where(before.path) == after.path else None
            yield compare(before, found, partial(close, before, after))
    if not stop():
        for wanted in waiting:
            yield from wanted.gone()


def _files_on_disk(rows: Iterable[FileResult]) -> Iterator[tuple[str, list[FileResult]]]:
    """Rows by the file on disk that they are of, in order.

    A file that changed while its scan watched has a row each time, and is looked at for each.
    """
    for path, together in groupby(rows, lambda row: row.container or row.path):
        group: list[FileResult] = []
        seen: set[str] = set()
        for row in together:
            if row.path in seen:
                yield path, group
                group, seen = [], set()
            group.append(row)
            seen.add(row.path)
        yield path, group


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Rows of one file on disk: its own, and those of what lies in it, in order.

    Attributes:
        path: Of the file on disk.
        rows: By where their paths lead, those that nothing has come of yet.
        met: Paths that something has come of, wanted or not.
    """

    path: str
    rows: dict[str, FileResult]
    met: set[str] = field(default_factory=set)

    def meets(self, after: FileResult) -> bool:
        """Whether a row of now comes of this look at the file, and not of another one."""
        if (after.container or after.path) != self.path or after.path in self.met:
            return False
        self.met.add(after.path)
        return True

    def until(self, path: str) -> list[FileResult]:
        """Take the rows before a path off, and its own; none where it is not wanted."""
        if path not in self.rows:
            return []
        taken: list[FileResult] = []
        while path in self.rows:
            taken.append(self.rows.pop(next(iter(self.rows))))
        return taken

    def gone(self) -> Iterator[Reproduction]:
        """What is left where the file holds nothing more."""
        for row in self.rows.values():
            yield compare(row, None)


def compare(
    before: FileResult, after: FileResult | None, close: Callable[[], bool] = lambda: False
) -> Reproduction:
    """Compare a row with another of the same path.

    Args:
        before: The row on record.
        after: The row of now; None where there is none any more.
        close: Whether what differs is within the tolerance; asked where the answer is the same,
            or a copy withholds it in one of the rows.
    """
    if before.sha256 is None:
        return Reproduction(before, None, Outcome.UNREAD)
    if after is None or after.sha256 is None:
        return Reproduction(before, after, Outcome.GONE)
    if after.sha256 != before.sha256:
        return Reproduction(before, after, Outcome.CHANGED)
    differing = tuple(
        name
        for name in (*_ANSWERS, *_GENERATORS, *_FIGURES, *_EVIDENCE)
        if _comparable(before, name) != _comparable(after, name)
    )
    if not differing:
        return Reproduction(before, after, Outcome.REPRODUCED)
    answers = set(differing) & {*_ANSWERS}
    copied = Inconclusive.CONTRADICTS_COPY in (before.reason, after.reason)
    agrees = (not answers or (copied and answers == _WITHHELD)) and close()
    return Reproduction(before, after, Outcome.AGREES if agrees else Outcome.DIFFERS, differing)


def _comparable(row: FileResult, name: str) -> object:
    if name == "status":  # a scan that knows nothing has nothing cached, and no duplicates
        return row.status.judged
    if name == "neighbours":
        return [_reference(neighbour) for neighbour in row.neighbours]
    return getattr(row, name)


def _reference(neighbour: Neighbour) -> tuple[int, float]:
    return neighbour.key, neighbour.similarity


def _unread(row: FileResult, path: str) -> FoundFile | None:
    """In the place of a file that the scan did not read."""
    return FoundFile(path, reason=row.reason or Reason.UNREADABLE) if not row.sha256 else None


class _Amnesia(Unknowing):
    """A recorder that knows nothing, and keeps the contents of the rows that come out next.

    Attributes:
        contents: By the row's path.
    """

    def __init__(self) -> None:
        self.contents: dict[str, Content | None] = {}

    def first_path(self, sha256: str, frame: int = 1) -> str | None:  # noqa: ARG002
        return None

    def record(self, rows: Sequence[tuple[FoundFile | None, Content | None, FileResult]]) -> None:
        self.contents = {result.path: content for _, content, result in rows}
