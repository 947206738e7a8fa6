"""Do a scan on record again, file by file, and say which of its rows come out the same."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .contracts import Content, Gallery
from .discover import FoundFile, Reason, examine
from .embed import Embedder
from .judging.judge import Judge
from .results import FileResult, Neighbour
from .scan import ScanOptions, scan

TOLERANCE = 1e-5
"""Most that float32 scores and cosines of two platforms may differ."""


class Outcome(StrEnum):
    """What became of a row."""

    REPRODUCED = "reproduced"  # every figure is the same, bit for bit
    AGREES = "agrees"  # the same answer; figures differ within the tolerance
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


_ANSWERS = ("status", "reason", "knn", "verdict", "generator", "attribution")
_FIGURES = (
    "p_fake",
    "log10_lr",
    "attribution_certainty",
    "margin",
    "real_similarity",
    "fake_similarity",
    "score",
)
_EVIDENCE = ("neighbours", "crops", "probe")
_SCORES = ("margin", "real_similarity", "fake_similarity", "score")


def reproduce(
    rows: Iterable[FileResult],
    gallery: Gallery,
    judge: Judge,
    embedder: Embedder,
    options: ScanOptions | None = None,
    tolerance: float = TOLERANCE,
    bands: Mapping[str, float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Reproduction]:
    """Scan the files of some rows again, as if nothing were known, and compare.

    Args:
        rows: Of the scan on record, any of them, in order.
        gallery: In the state in which the scan met it.
        judge: By that gallery's assessment, with the options of the scan.
        embedder: The encoder of the scan, in float32.
        options: As those of the scan.
        tolerance: Most that scores and cosines may differ where they are not the same.
        bands: The same for rows of each reduced precision.
        stop: Asked several times a second; once true, it ends.

    Yields:
        One record a row, in order.
    """
    waiting: deque[FileResult] = deque()

    def files() -> Iterator[FoundFile]:
        for row in rows:
            waiting.append(row)
            yield _unread(row) or examine(row.path)

    for after in scan(files(), gallery, judge, _Amnesia(), embedder, options, stop=stop):
        before = waiting.popleft()
        band = (bands or {}).get(before.precision or "", 0.0)
        yield compare(before, after, max(band, tolerance))


def compare(before: FileResult, after: FileResult, tolerance: float = TOLERANCE) -> Reproduction:
    """Compare a row with another of the same path."""
    if before.sha256 is None:
        return Reproduction(before, None, Outcome.UNREAD)
    if after.sha256 is None:
        return Reproduction(before, after, Outcome.GONE)
    if after.sha256 != before.sha256:
        return Reproduction(before, after, Outcome.CHANGED)
    differing = tuple(
        name
        for name in (*_ANSWERS, *_FIGURES, *_EVIDENCE)
        if _comparable(before, name) != _comparable(after, name)
    )
    if not differing:
        return Reproduction(before, after, Outcome.REPRODUCED)
    close = all(_close(getattr(before, n), getattr(after, n), tolerance) for n in _SCORES)
    same = not set(differing) & {"status", "reason", "knn", "verdict"}
    outcome = Outcome.AGREES if close and same else Outcome.DIFFERS
    return Reproduction(before, after, outcome, differing)


def _comparable(row: FileResult, name: str) -> object:
    if name == "status":  # a scan that knows nothing has nothing cached, and no duplicates
        return row.status.judged
    if name == "neighbours":
        return [_reference(neighbour) for neighbour in row.neighbours]
    return getattr(row, name)


def _reference(neighbour: Neighbour) -> tuple[int, float]:
    return neighbour.key, neighbour.similarity


def _close(first: float | None, second: float | None, tolerance: float) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= tolerance


def _unread(row: FileResult) -> FoundFile | None:
    """In the place of a file that the scan did not read."""
    return FoundFile(row.path, reason=row.reason or Reason.UNREADABLE) if not row.sha256 else None


class _Amnesia:
    """A recorder that knows nothing and keeps nothing."""

    def known_file(self, file: FoundFile) -> Content | None:  # noqa: ARG002
        return None

    def known_content(self, sha256: str) -> Content | None:  # noqa: ARG002
        return None

    def first_path(self, sha256: str) -> str | None:  # noqa: ARG002
        return None

    def record(self, rows: Sequence[tuple[FoundFile | None, Content | None, FileResult]]) -> None:
        pass
