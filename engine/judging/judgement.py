"""The answer for one picture, before it becomes a row."""

from dataclasses import dataclass

from ..results import CropScore, Label, Neighbour, ProbeScore, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for one picture, and the evidence for it; see ``FileResult``."""

    knn: Label
    verdict: Verdict
    reason: str | None
    p_fake: float | None
    log10_lr: float | None
    score: float | None
    margin: float | None
    real_similarity: float | None
    fake_similarity: float | None
    generator: str | None
    attribution: str | None
    attribution_certainty: float | None
    neighbours: tuple[Neighbour, ...]
    crops: tuple[CropScore, ...]
    probe: tuple[ProbeScore, ...]
    classifier: str | None = None
    classifier_score: float | None = None
