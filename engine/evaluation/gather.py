"""From the rows of a scan and the truth to what is evaluated: who counts, and who is left out."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..judging.held_out_search import source_codes
from ..judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY
from ..judging.scores import FAKE, REAL, Booleans, Integers
from ..judging.thresholds import Inconclusive
from ..results import FileResult, Label
from .evaluate import Outcomes
from .labelled import Truth

_UNDECIDABLE = (Inconclusive.TOO_SMALL, Inconclusive.NOVEL, Inconclusive.CONTRADICTS_COPY)


@dataclass(frozen=True, slots=True)
class Gallery:
    """What an evaluation has to know of the gallery.

    Attributes:
        sha256: Digests of its files.
        sources: Names of its sources.
    """

    sha256: frozenset[str]
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that do not count, and why.

    Attributes:
        same_file: The same bytes are a reference of the gallery.
        near_duplicate: A reference has a cosine of at least 0.999 to it.
        repeated: The same bytes were counted already, with the same label.
        contradicted: The same bytes stand in both classes.
        not_judged: Skipped and failed files, by reason, in falling number.
    """

    same_file: int
    near_duplicate: int
    repeated: int
    contradicted: int
    not_judged: tuple[tuple[str, int], ...]

    @property
    def in_gallery(self) -> int:
        """Files that the gallery holds."""
        return self.same_file + self.near_duplicate


@dataclass(frozen=True, slots=True)
class Gathered:
    """N labelled and judged files.

    Attributes:
        outcomes: What the scan said; ``predicted`` is the sign of the likelihood ratio where the
            scan is calibrated, else the plain vote.
        votes: The plain vote, shape (N,): 0 real, 1 fake.
        undecidable: Whether no thresholds decide, because the picture is too small, far from
            every reference, or leans against the label of one that it practically is, shape (N,).
        generators: Shape (N,), text.
        groups: Shape (N,), text; see :class:`Truth`.
        conditions: Shape (N,), text; see :class:`Truth`.
        calibrated: Whether ``predicted`` comes from likelihood ratios.
        left_out: What does not count.
        shared_sources: Sources of counted files that the gallery has too.
        from_shared_sources: Counted files of these sources.
    """

    outcomes: Outcomes
    votes: Integers
    undecidable: Booleans
    generators: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    conditions: npt.NDArray[np.str_]
    calibrated: bool
    left_out: LeftOut
    shared_sources: tuple[str, ...]
    from_shared_sources: int


def gather(
    results: Iterable[FileResult],
    truth: Callable[[str], Truth | None],
    gallery: Gallery,
    *,
    keep_gallery: bool = False,
) -> Gathered:
    """Match the rows of a scan with the truth.

    Bytes count once in each condition. What the gallery holds would meet itself, and is left out.

    Args:
        results: Rows of the scan.
        truth: What is known of a path; rows without truth do not count.
        gallery: What the scan compared with.
        keep_gallery: Count what the gallery holds all the same.
    """
    rows = [(row, known) for row in results if (known := truth(row.path)) is not None]
    labels_of: dict[str | None, set[Label]] = {}
    for row, known in rows:
        labels_of.setdefault(row.sha256, set()).add(known.label)
    counted: list[tuple[FileResult, Truth]] = []
    reasons: Counter[str] = Counter()
    same = near = repeated = contradicted = 0
    seen: set[tuple[str | None, str]] = set()
    for row, known in rows:
        if not row.status.judged or row.margin is None:
            reasons[row.reason or "no_margin"] += 1
        elif len(labels_of[row.sha256]) > 1:
            contradicted += 1
        elif (row.sha256, known.condition) in seen:
            repeated += 1
        elif row.sha256 in gallery.sha256 and not keep_gallery:
            same += 1
        elif _nearest(row) >= NEAR_DUPLICATE_SIMILARITY and not keep_gallery:
            near += 1
        else:
            counted.append((row, known))
        seen.add((row.sha256, known.condition))
    shared = sorted({known.source for _, known in counted} & (gallery.sources - {""}))
    left_out = LeftOut(same, near, repeated, contradicted, tuple(reasons.most_common()))
    return _arrays(counted, left_out, tuple(shared))


def _arrays(
    counted: list[tuple[FileResult, Truth]], left_out: LeftOut, shared: tuple[str, ...]
) -> Gathered:
    rows = [row for row, _ in counted]
    known = [truth for _, truth in counted]
    scores = [row.margin if row.score is None else row.score for row in rows]
    log10_lr = np.array([np.nan if r.log10_lr is None else r.log10_lr for r in rows])
    votes = np.array([FAKE if row.knn is Label.FAKE else REAL for row in rows], dtype=np.int64)
    # A likelihood ratio of 1 throughout is no answer: the gallery does not separate its classes.
    calibrated = bool(rows) and bool(np.isfinite(log10_lr).all() and log10_lr.any())
    verdicts = np.empty(len(rows), dtype=np.object_)
    verdicts[:] = [row.verdict for row in rows]
    outcomes = Outcomes(
        labels=np.array([FAKE if t.label is Label.FAKE else REAL for t in known], dtype=np.int64),
        scores=np.array(scores, dtype=np.float64),
        log10_lr=log10_lr,
        predicted=(log10_lr > 0).astype(np.int64) if calibrated else votes,
        verdicts=verdicts,
        sources=source_codes([t.source for t in known]),
    )
    return Gathered(
        outcomes=outcomes,
        votes=votes,
        undecidable=np.array([row.reason in _UNDECIDABLE for row in rows], dtype=np.bool_),
        generators=np.array([t.generator for t in known], dtype=np.str_),
        groups=np.array([t.group for t in known], dtype=np.str_),
        conditions=np.array([t.condition for t in known], dtype=np.str_),
        calibrated=calibrated,
        left_out=left_out,
        shared_sources=shared,
        from_shared_sources=sum(t.source in shared for t in known),
    )


def _nearest(row: FileResult) -> float:
    return max(row.real_similarity or -1.0, row.fake_similarity or -1.0)
