"""How good a starter is on sources that neither its encoder nor its judge has seen.

Each source that was not trained on is judged by the starter without it: its references are taken
out of the gallery, calibration and thresholds are fitted again on the other held-out sources, and
its images are decided by them, as those of a user's new source would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engine.evaluation.evaluate import (
    RESAMPLES,
    Evaluation,
    Metrics,
    Outcomes,
    evaluate,
    measure,
)
from ...engine.evaluation.metadata_classifier import Separability
from ...engine.judging.held_out_search import source_codes, unit_vectors
from ...engine.judging.scores import FAKE, REAL, Floats, nearest_similarities, relative_margins
from ...engine.judging.thresholds import ThresholdOptions, decide
from ...engine.results import Verdict
from ..catalogue import Catalogue
from .conditions import Condition
from .embedding import Embedded
from .gallery import References
from .roles import Patterns, Role


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """How one source was judged.

    Attributes:
        name: Of the source.
        label: 0 real, 1 fake.
        images: How many.
        auc: Against all judged images of the other class.
        called_fake: Share with verdict fake.
        called_real: Share with verdict real.
        inconclusive: Share with neither.
    """

    name: str
    label: int
    images: int
    auc: float | None
    called_fake: float
    called_real: float
    inconclusive: float


@dataclass(frozen=True, slots=True)
class ConditionFigures:
    """Everything measured in one condition.

    Attributes:
        condition: Which.
        evaluation: All metrics with their intervals, overall and by generator.
        sources: Each judged source.
        metadata: How well headers alone tell the same images apart, learnt on the sources that
            trained; None where nothing can be learnt.
    """

    condition: Condition
    evaluation: Evaluation
    sources: tuple[SourceFigures, ...]
    metadata: Separability | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said of N images, source after source.

    Attributes:
        images: Their numbers in the catalogue, shape (N,).
        scores: In each of C conditions, shape (C, N).
        log10_lr: The same of the likelihood ratios.
        verdicts: The same, :class:`Verdict`, dtype object.
    """

    images: NDArray[np.int64]
    scores: Floats
    log10_lr: Floats
    verdicts: NDArray[np.object_]

    @classmethod
    def join(cls, parts: Sequence["Judged"]) -> "Judged":
        """One after the other."""
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.scores for part in parts], axis=1),
            np.concatenate([part.log10_lr for part in parts], axis=1),
            np.concatenate([part.verdicts for part in parts], axis=1),
        )


def unseen_images(
    catalogue: Catalogue,
    usable: NDArray[np.int64],
    patterns: Patterns,
    per_source: int,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Draw images of every source that was not trained on.

    Args:
        catalogue: All images.
        usable: Numbers of those that can be embedded, ascending.
        patterns: Which sources did not train.
        per_source: Images of a source, at most: many of one show the same things.
        seed: Of the draws.

    Returns:
        Numbers, ascending.
    """
    chosen = []
    for code, name in enumerate(catalogue.sources):
        if patterns.role(name) is not Role.TRAINED:
            own = usable[catalogue.source[usable] == code]
            chosen.append(np.random.default_rng((seed, code)).permutation(own)[:per_source])
    return np.sort(np.concatenate(chosen))


def judge_held_out(
    catalogue: Catalogue,
    embedded: Embedded,
    images: NDArray[np.int64],
    references: References,
    options: ThresholdOptions,
    k: int = 1,
) -> Judged:
    """Judge every source that was not trained on, in every condition.

    Args:
        catalogue: What was embedded.
        embedded: Holds the images in all conditions; scores are means over their views.
        images: From :func:`unseen_images`.
        references: Of the starter.
        options: Error rates that the thresholds are fitted for.
        k: Neighbours per class behind a score.
    """
    rows = embedded.rows()
    whole = [n for n in images.tolist() if all((n, condition) in rows for condition in Condition)]
    parts = []
    for source in np.unique(catalogue.source[whole]).tolist():
        own = [n for n in whole if catalogue.source[n] == source]
        views = [embedded.views[rows[n, c]] for c in Condition for n in own]
        rest = references.without(catalogue.sources[source])
        parts.append(_judge_source(np.array(own), views, rest, options, k))
    return Judged.join(parts)


def _judge_source(
    images: NDArray[np.int64],
    views: Sequence[NDArray[np.float32]],
    references: References,
    options: ThresholdOptions,
    k: int,
) -> Judged:
    """Judge N images by a gallery that does not hold their source.

    Views are those of the first condition's N images, (V, D) each, then those of the next.
    """
    counts = np.array([len(own) for own in views])
    first = np.cumsum(counts) - counts
    assessment = references.assess(k)
    thresholds = assessment.thresholds(options)
    queries, units = unit_vectors(np.concatenate(views)), unit_vectors(references.vectors)
    nearest = {}
    for label in (REAL, FAKE):
        table = queries @ units[(references.labels == label) & references.compared].T
        nearest[label] = -np.sort(-table, axis=1)[:, :k].astype(np.float64)
    every = relative_margins(nearest[REAL], nearest[FAKE], k)
    scores = np.add.reduceat(every, first) / counts
    similar = nearest_similarities(nearest[REAL], nearest[FAKE])
    decided = decide(scores, np.add.reduceat(similar, first) / counts, thresholds)
    shape = (len(Condition), len(images))
    return Judged(
        images,
        scores.reshape(shape),
        assessment.calibration.log10_lr(scores).reshape(shape),
        decided.verdicts.reshape(shape),
    )


def measure_condition(
    catalogue: Catalogue,
    judged: Judged,
    condition: Condition,
    metadata: Separability | None,
    resamples: int = RESAMPLES,
) -> ConditionFigures:
    """Compute every figure of one condition.

    Args:
        catalogue: What was judged.
        judged: From :func:`judge_held_out`.
        condition: Which.
        metadata: From :func:`~.headers.headers_alone`.
        resamples: Of the bootstrap over sources.
    """
    place = list(Condition).index(condition)
    labels = catalogue.label[judged.images].astype(np.int64)
    names = np.array([catalogue.sources[s] for s in catalogue.source[judged.images]])
    generators = np.array([catalogue.generators[g] for g in catalogue.generator[judged.images]])
    ratios = judged.log10_lr[place]
    outcomes = Outcomes(
        labels=labels,
        scores=judged.scores[place],
        log10_lr=ratios,
        predicted=(ratios > 0).astype(np.int64),
        verdicts=judged.verdicts[place],
        sources=source_codes(names),
    )
    figures = []
    for label in (REAL, FAKE):
        for name in sorted(set(names[labels == label].tolist())):
            own = (names == name) & (labels == label)
            against = measure(outcomes.select(own | (labels != label)), resamples=0)
            figures.append(_source(name, label, outcomes, own, against))
    return ConditionFigures(
        condition, evaluate(outcomes, generators, resamples=resamples), tuple(figures), metadata
    )


def _source(
    name: str, label: int, outcomes: Outcomes, own: NDArray[np.bool_], against: Metrics
) -> SourceFigures:
    verdicts = outcomes.verdicts[own]

    def share(verdict: Verdict) -> float:
        return float((verdicts == verdict).mean())

    return SourceFigures(
        name,
        label,
        int(own.sum()),
        against.auc,
        share(Verdict.FAKE),
        share(Verdict.REAL),
        share(Verdict.INCONCLUSIVE),
    )
