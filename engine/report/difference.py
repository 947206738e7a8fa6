"""Why two scans answer differently about the same files."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from ..judging.thresholds import Inconclusive


class Cause(StrEnum):
    """Something that differs between two scans and can change a verdict."""

    CONTENT = "content"  # the file holds other bytes
    ENCODER = "encoder"
    DECODERS = "decoders"  # other libraries, or versions, that turn bytes into pixels
    PREPROCESSING = "preprocessing"
    VIEWS = "views"  # other crops, or the probe
    GALLERY = "gallery"  # other references, of another gallery or another state of it
    SEARCH = "search"  # in cells, compared with all, or in other cells
    K = "k"
    SCORE = "score"  # another way to compute it, of another version
    CLASSIFIER = "classifier"  # a head in the place of the neighbours, or another one
    COPIES = "copies"  # from where on a copy withholds a verdict; earlier versions withheld none
    THRESHOLD = "threshold"  # other error rates asked for, or other thresholds fitted
    PRECISION = "precision"
    STATUS = "status"  # one of the scans has no verdict on the file


class Row(Protocol):
    """A row as far as it is compared."""

    @property
    def sha256(self) -> str | None:
        """Of the content."""

    @property
    def verdict(self) -> str | None:
        """The answer."""

    @property
    def reason(self) -> str | None:
        """Why there is none."""

    @property
    def knn(self) -> str | None:
        """The plain vote."""

    @property
    def score(self) -> float | None:
        """What the answer is made from."""

    @property
    def precision(self) -> str | None:
        """Arithmetic of the embedding."""


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What differs between two runs, whatever the file.

    Attributes:
        causes: Of that, what can change a verdict.
        probed: Whether one of the runs judged under harmless changes too.
    """

    causes: tuple[Cause, ...]
    probed: bool = False

    def of(self, first: Row, second: Row) -> tuple[Cause, ...]:
        """Name the causes that can have flipped a row, none of which can be ruled out.

        Where both scores are the same, only the thresholds can have done it, another classifier,
        copies, or, with the plain vote, ``k``; but the score says nothing of what a probe saw.
        Copies can where they are a row's reason.
        """
        if first.verdict is None or second.verdict is None:
            return (Cause.STATUS,)
        copied = Inconclusive.CONTRADICTS_COPY in (first.reason, second.reason)
        causes = tuple(cause for cause in self.causes if copied or cause is not Cause.COPIES)
        if first.sha256 != second.sha256:
            return (Cause.CONTENT, *causes)
        if first.precision != second.precision:
            causes = (*causes, Cause.PRECISION)
        if first.score is not None and first.score == second.score and not self.probed:
            judging = (Cause.COPIES, Cause.THRESHOLD, Cause.K, Cause.CLASSIFIER)
            return tuple(cause for cause in causes if cause in judging)
        return causes


def compare_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> RunDifference:
    """Find what differs between two run records.

    Args:
        first: Run record of a scan.
        second: Run record of another.
    """
    judging = first.get("judging") or {}, second.get("judging") or {}
    differs = {
        Cause.ENCODER: first["encoder"]["sha256"] != second["encoder"]["sha256"],
        Cause.DECODERS: _stated_differ(first.get("decoders"), second.get("decoders")),
        Cause.PREPROCESSING: first["preprocessing"] != second["preprocessing"],
        Cause.VIEWS: first.get("views") != second.get("views"),
        Cause.GALLERY: first["gallery"]["sha256"] != second["gallery"]["sha256"],
        Cause.SEARCH: _stated_differ(
            first["gallery"].get("search"), second["gallery"].get("search")
        ),
        Cause.K: first["k"] != second["k"],
        Cause.SCORE: judging[0].get("score") != judging[1].get("score"),
        Cause.CLASSIFIER: judging[0].get("classifier") != judging[1].get("classifier"),
        Cause.COPIES: judging[0].get("copy_similarity") != judging[1].get("copy_similarity"),
        Cause.THRESHOLD: judging[0].get("thresholds") != judging[1].get("thresholds"),
    }
    probed = any((run.get("views") or {}).get("probe") for run in (first, second))
    return RunDifference(tuple(cause for cause, is_so in differs.items() if is_so), probed)


def _stated_differ(first: object, second: object) -> bool:
    """Whether both records state something, and not the same: those of earlier versions do not."""
    return None not in (first, second) and first != second
