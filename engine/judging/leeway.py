"""How far two rows of one picture may differ where their cosines differ by rounding alone."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..contracts import Gallery
from ..results import FileResult, Label, Verdict
from .attribution import UNKNOWN, Attributions, attributed, vote
from .calibration import posterior, sigmoid
from .copies import either_way, nearest_cosines
from .heads import Head
from .hits import search_both
from .judge import Judge
from .scores import Floats, relative_margins
from .thresholds import Inconclusive

TOLERANCE = 1e-5
"""Most that float32 scores and cosines of two platforms may differ."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row of now comes of.

    Attributes:
        judge: Decided it.
        gallery: What was compared with.
        vectors: Of all views of the picture, shape (V, D), the centre crop's first.
    """

    judge: Judge
    gallery: Gallery
    vectors: npt.NDArray[np.float32]


def within(before: FileResult, after: FileResult, seen: Seen, tolerance: float = TOLERANCE) -> bool:
    """Tell whether a row can have come of cosines within a tolerance.

    Its verdict has to be the same, but where a copy withholds it in one of the rows alone, and
    lies so near its bound that it may go either way.

    A score is monotone in every cosine, and what is computed of it is monotone in the score. So
    the ends of a figure's range are what comes out with all cosines to one class raised and all to
    the other one lowered, and the other way round; a range is widened by :data:`TOLERANCE`, since
    a calibration may have been fitted again elsewhere. References that are as near may stand in
    each other's place.

    Args:
        before: The row that is asked about.
        after: The row of now.
        seen: What that comes of.
        tolerance: Most that each cosine may differ.
    """
    judge = seen.judge
    hits = search_both(seen.gallery, seen.vectors, judge.depth)  # as the row of now was found
    more = search_both(seen.gallery, seen.vectors[:1], 2 * judge.depth)  # and what is as near
    ends = np.stack(
        [
            relative_margins(hits.real + lean, hits.fake - lean, judge.k)
            for lean in (tolerance, -tolerance)
        ]
    )
    keys = more.fake_keys[0].tolist()
    references = seen.gallery.describe([key for key in keys if key >= 0])
    generators = np.array([references[key].generator if key >= 0 else "" for key in keys])
    if (before.verdict, before.reason) != (after.verdict, after.reason):
        if not _copy_fits(before, after, tolerance):
            return False
        after = _answering(after, before, judge, more.fake[0], generators)
    return (
        _figures_fit(before, after, seen, ends, tolerance)
        and _views_fit(before, after, judge, ends)
        and _neighbours_fit(before, after, tolerance)
        and _generator_fits(before, after, more.fake[0], generators, tolerance)
        and _attribution_fits(before, after, judge, more.fake[0], generators, tolerance)
    )


def _copy_fits(before: FileResult, after: FileResult, tolerance: float) -> bool:
    """Whether a copy withholds the verdict of one of the rows, and within the tolerance may not."""
    if {before.reason, after.reason} != {Inconclusive.CONTRADICTS_COPY, None}:
        return False
    verdict = after.verdict if before.reason is not None else before.verdict
    return bool(either_way(verdict, *nearest_cosines(after), tolerance))


def _answering(
    row: FileResult,
    other: FileResult,
    judge: Judge,
    cosines: Floats,
    generators: npt.NDArray[np.str_],
) -> FileResult:
    """A row with the answer of another, and what goes with a verdict."""
    generator, attribution, certainty = None, None, None
    if other.verdict is Verdict.FAKE:
        generator = str(generators[0]) or None
        if judge.head is None:
            rule = judge.assessment.attribution
            attribution, certainty = attributed(cosines, generators.tolist(), rule)
    return replace(
        row,
        verdict=other.verdict,
        reason=other.reason,
        generator=generator,
        attribution=attribution,
        attribution_certainty=certainty,
    )


def _figures_fit(
    before: FileResult, after: FileResult, seen: Seen, ends: Floats, tolerance: float
) -> bool:
    """Whether each figure lies in its range; `ends` of the views' scores, (2, V)."""
    judge = seen.judge
    score = ends[:, : max(len(after.crops), 1)].mean(axis=1)  # (2,), as all that follows
    evidence = judge.assessment.calibration.log10_lr(score)
    chance, answer = posterior(evidence, judge.options.prior), score
    if judge.head is not None:
        answer = _answers(judge.head.head, seen.vectors[0], tolerance)
        chance = sigmoid(answer)
    return (
        _inside(before.score, after.score, score)
        and _inside(before.log10_lr, after.log10_lr, evidence)
        and _inside(before.p_fake, after.p_fake, chance)
        and _inside(before.classifier_score, after.classifier_score, answer)
        and _near(before.real_similarity, after.real_similarity, tolerance)
        and _near(before.fake_similarity, after.fake_similarity, tolerance)
        and _near(before.margin, after.margin, 2 * tolerance)
    )


def _answers(head: Head, vector: npt.NDArray[np.float32], tolerance: float) -> Floats:
    """The range of a head's scores where the vector's numbers may be off, shape (2,).

    By the tolerance, each, as a share of the largest of them.
    """
    steps = np.eye(len(vector), dtype=np.float32) * (tolerance * np.abs(vector).max())
    answers = head.decide(np.concatenate((vector[None], vector + steps)))
    scores = np.array([answer.score for answer in answers])
    reach = float(np.abs(scores[1:] - scores[0]).sum())
    return np.array([scores[0] - reach, scores[0] + reach])


def _views_fit(before: FileResult, after: FileResult, judge: Judge, ends: Floats) -> bool:
    """Whether what is said of crops and of the probe's changes lies in range."""
    if (len(before.crops), len(before.probe)) != (len(after.crops), len(after.probe)):
        return False
    chances = judge.assessment.calibration.p_fake(ends, judge.options.prior)
    changes = ends[:, max(len(after.crops), 1) :]
    return all(
        (crop.left, crop.top, crop.size) == (now.left, now.top, now.size)
        and _inside(crop.score, now.score, ends[:, view])
        and _inside(crop.p_fake, now.p_fake, chances[:, view])
        for view, (crop, now) in enumerate(zip(before.crops, after.crops, strict=True))
    ) and all(
        change.change == now.change and _inside(change.score, now.score, changes[:, view])
        for view, (change, now) in enumerate(zip(before.probe, after.probe, strict=True))
    )


def _neighbours_fit(before: FileResult, after: FileResult, tolerance: float) -> bool:
    """Whether the evidence lies as near, whichever of equally near references it is."""
    cosines = [
        [[n.similarity for n in row.neighbours if n.label is label] for label in Label]
        for row in (before, after)
    ]
    return [*map(len, cosines[0])] == [*map(len, cosines[1])] and all(
        _near(cosine, now, tolerance)
        for of_class, of_now in zip(*cosines, strict=True)
        for cosine, now in zip(of_class, of_now, strict=True)
    )


def _generator_fits(
    before: FileResult,
    after: FileResult,
    cosines: Floats,
    generators: npt.NDArray[np.str_],
    tolerance: float,
) -> bool:
    """Whether a fake that may be the nearest is of the row's generator."""
    if after.verdict is not Verdict.FAKE:
        return before.generator == after.generator
    return (before.generator or "") in generators[cosines >= cosines[0] - 2 * tolerance]


def _attribution_fits(
    before: FileResult,
    after: FileResult,
    judge: Judge,
    cosines: Floats,
    generators: npt.NDArray[np.str_],
    tolerance: float,
) -> bool:
    """Whether the vote can come out so, with each generator's fakes nearer or less near."""
    if before.attribution is None or after.attribution is None:
        return before.attribution == after.attribution
    rule = judge.assessment.attribution
    least = np.inf if rule.least_certainty is None else rule.least_certainty
    names, certainties = set(), []
    for generator in set(generators.tolist()):
        own = generators == generator
        lean = np.where(own, tolerance, -tolerance)
        most = _vote(cosines + lean, generators, rule.k)
        if most.generators[0] != generator:  # it cannot win
            continue
        # Its own share alone: with so few votes another one may win.
        fewest = _vote(cosines - lean, np.where(own, generators, ""), rule.k)
        certainties += [fewest.certainties[0], most.certainties[0]]
        names |= {generator} if certainties[-1] >= least else set()
        names |= {UNKNOWN} if certainties[-2] < least else set()
    return before.attribution in names and _inside(
        before.attribution_certainty,
        after.attribution_certainty,
        np.array([min(certainties), max(certainties)]),
    )


def _vote(cosines: Floats, generators: npt.NDArray[np.str_], k: int) -> Attributions:
    """The vote of the k nearest of some fakes, both of shape (K,)."""
    nearest = np.argsort(-cosines, kind="stable")[:k]
    return vote(cosines[None, nearest], generators[None, nearest])


def _inside(value: float | None, now: float | None, ends: Floats) -> bool:
    """Whether a figure lies in its range, shape (2,), and is there where it is there now."""
    if value is None or now is None:
        return value is now
    return bool(ends[0] - TOLERANCE <= value <= ends[1] + TOLERANCE)


def _near(value: float | None, now: float | None, tolerance: float) -> bool:
    """Whether a figure differs by no more than a tolerance, and is there where it is there now."""
    if value is None or now is None:
        return value is now
    return abs(value - now) <= tolerance
