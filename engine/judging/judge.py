"""Decide from the nearest references: the one replaceable step between search and record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contracts import Gallery, Reference
from ..results import CropScore, Label, Neighbour, ProbeScore, Verdict
from .assessment import Assessment
from .attribution import attributed
from .calibration import posterior
from .conformal import Exchangeable
from .copies import withhold
from .heads import NamedHead, judged_by_head
from .hits import Hits, vote
from .judgement import Judgement
from .leave_one_out import NEAR_DUPLICATE_SIMILARITY
from .query import Query
from .scores import (
    SCORE,
    Booleans,
    Floats,
    nearest_similarities,
    relative_margins,
    score_bands,
)
from .thresholds import Decisions, Inconclusive, ThresholdOptions, decide

EVIDENCE = 3
"""References of each class that are kept as evidence, at least; k where that is more."""

SIZE = 224
"""Side below which a picture is too small to be decided, in pixels."""


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How verdicts are reached.

    Attributes:
        k: References in the plain vote, and per class behind a score; None is as many as the
            gallery's assessment was fitted for.
        prior: Probability of "generated" before looking, in (0, 1), behind ``p_fake``.
        thresholds: The error rates asked for.
    """

    k: int | None = None
    prior: float = 0.5
    thresholds: ThresholdOptions = field(default_factory=ThresholdOptions)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "JudgeOptions":
        """The options behind a run record's ``judging``, from :meth:`Judge.record`.

        Records of earlier versions do not state the novelty rate: they are taken to have used the
        default.
        """
        rates = ThresholdOptions(
            record["target_fpr"],
            record["target_fnr"],
            record.get("novelty_rate", ThresholdOptions().novelty_rate),
            Exchangeable(record["thresholds"]["exchangeable"]),
        )
        return cls(record["k"], record["prior"], rates)


@dataclass(frozen=True, slots=True)
class Seen:
    """What V views of several pictures showed.

    Attributes:
        scores: Shape (V,).
        nearest: Cosine to the nearest reference of either class, shape (V,).
        score_bands: How far the scores may lie from float32's, shape (V,).
        cosine_bands: The same of the cosines.
    """

    scores: Floats
    nearest: Floats
    score_bands: Floats
    cosine_bands: Floats


class Judge:
    """Turns hits into verdicts, by a gallery's assessment.

    Several crops are judged by the mean of their scores, which keeps the scale of the
    calibration; the vote, the similarities and the evidence stay those of the centre crop.
    Where a head is given, the verdict is its answer on the centre crop. No verdict contradicts a
    reference of the other class that the centre crop practically is: it is withheld
    (:mod:`code_forensics.engine.judging.copies`).

    Attributes:
        options: As given.
        head: Gives the verdicts; None leaves them to the neighbours.
        k: References in the plain vote, and per class behind a score.
        thresholds: Fitted for the options' error rates.
        depth: References of each class that it needs to see.
    """

    def __init__(
        self,
        assessment: Assessment,
        options: JudgeOptions | None = None,
        head: NamedHead | None = None,
    ) -> None:
        self.options = options or JudgeOptions()
        self.head = head
        self.k = assessment.calibration.k
        if self.options.k not in (None, self.k):
            raise ValueError("the assessment was fitted for another k")
        self._assessment = assessment
        self.thresholds = assessment.thresholds(self.options.thresholds)
        self._evidence = max(self.k, EVIDENCE)
        self.depth = max(self._evidence, assessment.attribution.k)

    @property
    def assessment(self) -> Assessment:
        """What the gallery's own references say of its scores."""
        return self._assessment

    def record(self) -> dict[str, Any]:
        """Everything that verdicts depend on beside the gallery, JSON-able, for the run record."""
        return {
            "k": self.k,
            "score": SCORE,
            "prior": self.options.prior,
            "target_fpr": self.options.thresholds.target_fpr,
            "target_fnr": self.options.thresholds.target_fnr,
            "novelty_rate": self.options.thresholds.novelty_rate,
            "calibration": self._assessment.calibration.as_dict(),
            "thresholds": asdict(self.thresholds),
            "attribution": asdict(self._assessment.attribution),
            "copy_similarity": NEAR_DUPLICATE_SIMILARITY,
            "classifier": self.head.record() if self.head else None,
        }

    def settled(self, hits: Hits, band: float) -> Booleans:
        """Tell which answers cannot change within a band.

        Args:
            hits: Of Q single queries, shape (Q, K).
            band: How far a cosine, or a difference of two, may lie from the float32 one.

        Returns:
            Shape (Q,): whether vote and verdict are the same anywhere in the band.
        """
        if self.head is not None:  # how far its answer may lie off is not known
            return np.zeros(len(hits), np.bool_)
        k = self.k
        steady = vote(hits, k, -band) == vote(hits, k, band)
        decisions = self._decide(
            relative_margins(hits.real, hits.fake, k),
            nearest_similarities(hits.real, hits.fake),
            score_bands(hits.real, hits.fake, k, band),
            band,
        )
        withhold(decisions, hits.real[:, 0], hits.fake[:, 0], band)
        sure: Booleans = steady & (decisions.reasons != Inconclusive.PRECISION)
        return sure

    def share_settled(self, band: float) -> float | None:
        """Share of the gallery's held-out references whose answers cannot change within a band.

        What pictures like them let expect; None where no reference could be scored.
        """
        scores = self._assessment.scores
        if not len(scores.labels):
            return None
        keys = np.zeros(scores.real_similarities.shape, np.int64)  # which they are does not matter
        hits = Hits(keys, scores.real_similarities, keys, scores.fake_similarities)
        return float(self.settled(hits, band).mean())

    def steady(self, query: Query) -> bool:
        """Tell whether a picture's answer is the same anywhere in its band.

        That of the centre's vote, of the mean of the crops, and of each of the probe's changes.
        """
        crops = query.hits[: max(len(query.crops), 1)]
        alone = Hits.join([query.hits[:1], query.hits[len(crops) :]])
        if not self.settled(alone, query.band).all():
            return False
        score = relative_margins(crops.real, crops.fake, self.k).mean(keepdims=True)
        nearest = nearest_similarities(crops.real, crops.fake).mean(keepdims=True)
        width = score_bands(crops.real, crops.fake, self.k, query.band).mean(keepdims=True)
        decided = self._decide(score, nearest, width, query.band)
        withhold(decided, crops.real[:1, 0], crops.fake[:1, 0], query.band)
        return bool(decided.reasons[0] != Inconclusive.PRECISION)

    def judge(self, queries: Sequence[Query], gallery: Gallery) -> list[Judgement]:
        """Judge pictures.

        Args:
            queries: What was found for each.
            gallery: Describes the references behind the hits.
        """
        if not queries:
            return []
        k = self.k
        views = np.array([len(query.hits) for query in queries])
        first = np.concatenate(([0], np.cumsum(views)[:-1]))
        every = Hits.join([query.hits for query in queries])
        bands = np.array([query.band for query in queries])
        seen = Seen(
            relative_margins(every.real, every.fake, k),
            nearest_similarities(every.real, every.fake),
            score_bands(every.real, every.fake, k, np.repeat(bands, views)),
            np.repeat(bands, views),
        )
        crops = np.array([max(len(query.crops), 1) for query in queries])
        score = _means(seen.scores, first, crops)
        decisions = self._decide(
            score, _means(seen.nearest, first, crops), _means(seen.score_bands, first, crops), bands
        )
        centre = Hits(
            every.real_keys[first], every.real[first], every.fake_keys[first], every.fake[first]
        )
        probes: list[tuple[ProbeScore, ...]] = [()] * len(queries)
        if any(query.changes for query in queries):
            alone = self._decide(seen.scores, seen.nearest, seen.score_bands, seen.cosine_bands)
            probes = self._probe(queries, seen.scores, alone.verdicts, first + crops)
            middles = alone.verdicts[first]  # which the probe's changes are changes of
            unstable = [
                any(p.verdict != middle for p in probe)
                for probe, middle in zip(probes, middles, strict=True)
            ]
            decisions.overrule(np.array(unstable), Inconclusive.UNSTABLE)
        votes = vote(centre, k)
        unsteady = vote(centre, k, -bands) != vote(centre, k, bands)
        decisions.overrule(unsteady, Inconclusive.PRECISION)
        withhold(decisions, centre.real[:, 0], centre.fake[:, 0], bands)
        small = np.array([min(query.width, query.height) < SIZE for query in queries])
        decisions.overrule(small, Inconclusive.TOO_SMALL)
        evidence = self._assessment.calibration.log10_lr(score)
        p_fake = posterior(evidence, self.options.prior)
        references = self._describe(gallery, centre, decisions)
        judgements = []
        for row, query in enumerate(queries):
            one = centre[row]
            verdict = decisions.verdicts[row]
            real, fake = _known(one.real[0]), _known(one.fake[0])
            neighbours = self._neighbours(one, references)
            generator, attribution, certainty = None, None, None
            if verdict is Verdict.FAKE:
                generator = references[int(one.fake_keys[0])].generator or None
                attribution, certainty = self._attribute(one, references)
            judgements.append(
                Judgement(
                    knn=Label.FAKE if votes[row] else Label.REAL,
                    verdict=verdict,
                    reason=decisions.reasons[row],
                    p_fake=_known(p_fake[row]),
                    log10_lr=_known(evidence[row]),
                    score=_known(score[row]),
                    margin=None if real is None or fake is None else fake - real,
                    real_similarity=real,
                    fake_similarity=fake,
                    generator=generator,
                    attribution=attribution,
                    attribution_certainty=certainty,
                    neighbours=neighbours,
                    crops=self._crops(query, seen.scores[first[row] :]),
                    probe=probes[row],
                )
            )
        return self._by_head(queries, judgements)

    def _by_head(self, queries: Sequence[Query], judgements: list[Judgement]) -> list[Judgement]:
        """Put the head's answers in the place of the verdicts, where there is a head."""
        if self.head is None:
            return judgements
        vectors = [query.vector for query in queries]
        assert all(vector is not None for vector in vectors)
        answers = self.head.head.decide(np.stack([v for v in vectors if v is not None]))
        exact = [not query.band for query in queries]
        return [
            judged_by_head(judgement, answer, self.head.head.kind, sure)
            for judgement, answer, sure in zip(judgements, answers, exact, strict=True)
        ]

    def _decide(
        self, score: Floats, nearest: Floats, width: Floats, band: float | Floats
    ) -> Decisions:
        return decide(score, nearest, self.thresholds, score_band=width, cosine_band=band)

    def _probe(
        self,
        queries: Sequence[Query],
        scores: Floats,
        verdicts: NDArray[np.object_],
        first: NDArray[np.int64],
    ) -> list[tuple[ProbeScore, ...]]:
        """What each change gave; scores and verdicts are of all views, those from `first` on."""
        return [
            tuple(
                ProbeScore(change, float(scores[row]), verdicts[row])
                for row, change in enumerate(query.changes, start)
            )
            for query, start in zip(queries, first.tolist(), strict=True)
        ]

    def _crops(self, query: Query, scores: Floats) -> tuple[CropScore, ...]:
        p_fake = self._assessment.calibration.p_fake(scores[: len(query.crops)], self.options.prior)
        return tuple(
            CropScore(place.left, place.top, place.size, float(score), _known(p))
            for place, score, p in zip(query.crops, scores, p_fake, strict=False)
        )

    def _describe(
        self, gallery: Gallery, centre: Hits, decisions: Decisions
    ) -> Mapping[int, Reference]:
        """Look up the evidence of all, and the voters where a generator is to be named."""
        n = self._evidence
        fake = decisions.verdicts == Verdict.FAKE
        wanted = (
            centre.real_keys[:, :n],
            centre.fake_keys[:, :n],
            centre.fake_keys[fake, : self._assessment.attribution.k],
        )
        keys = np.unique(np.concatenate([part.ravel() for part in wanted]))
        return gallery.describe([int(key) for key in keys if key >= 0])

    def _attribute(
        self, hits: Hits, references: Mapping[int, Reference]
    ) -> tuple[str | None, float | None]:
        rule = self._assessment.attribution
        keys = hits.fake_keys[: rule.k].tolist()
        names = [references[key].generator if key >= 0 else "" for key in keys]
        return attributed(hits.fake[: rule.k], names, rule)

    def _neighbours(self, hits: Hits, references: Mapping[int, Reference]) -> tuple[Neighbour, ...]:
        found = []
        for label, keys, cosines in (
            (Label.REAL, hits.real_keys, hits.real),
            (Label.FAKE, hits.fake_keys, hits.fake),
        ):
            for key, cosine in zip(
                keys[: self._evidence].tolist(), cosines[: self._evidence].tolist(), strict=True
            ):
                if key >= 0:
                    r = references[key]
                    found.append(Neighbour(key, r.id, label, r.generator, r.source, cosine))
        found.sort(key=lambda n: (-n.similarity, n.label is Label.FAKE, n.key))
        return tuple(found)


def _means(values: Floats, first: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """Mean of ``counts[i]`` values from ``first[i]`` on, for each i; exact where that is one."""
    means: Floats = values[first].copy()
    for row in np.flatnonzero(counts > 1):
        means[row] = values[first[row] : first[row] + counts[row]].mean()
    return means


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
