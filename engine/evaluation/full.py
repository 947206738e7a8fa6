"""A whole evaluation: metrics, error rates at targets, calibration, and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..inert import for_json
from ..judging.assessment import Assessment
from ..judging.scores import FAKE, REAL
from ..judging.thresholds import ThresholdOptions
from .evaluate import RESAMPLES, Evaluation, Metrics, evaluate
from .gather import Gathered
from .layout import Layout
from .targets import (
    TARGETS,
    AtTarget,
    CalibrationCost,
    D3Row,
    at_target,
    calibration_cost,
    d3_rows,
    raw_log10_lr,
)

UNNAMED = "unnamed"
"""Stands for fakes whose generator is unknown, in brackets where one is called that."""


@dataclass(frozen=True, slots=True)
class FullEvaluation:
    """Everything that an evaluation says.

    Attributes:
        layout: How the images were labelled.
        evaluation: Metrics, overall and by generator.
        targets: Error rates at target false positive rates.
        before: Cost of scores read as likelihood ratios without calibration.
        after: Cost of the calibrated likelihood ratios.
        d3: The paper's table, for the D3 test set; else empty.
        gathered: What was evaluated, and what was left out.
    """

    layout: Layout
    evaluation: Evaluation
    targets: tuple[AtTarget, ...]
    before: CalibrationCost
    after: CalibrationCost
    d3: tuple[D3Row, ...]
    gathered: Gathered

    @property
    def by_generator(self) -> dict[str, Metrics]:
        """Metrics by generator, the unnamed under a name that no generator has."""
        found, unnamed = self.evaluation.by_generator, UNNAMED
        while unnamed in found:
            unnamed = f"({unnamed})"
        return {name or unnamed: metrics for name, metrics in sorted(found.items())}

    def as_dict(self) -> dict[str, Any]:
        """As a JSON-able mapping, every name inert."""
        left_out = self.gathered.left_out
        return {
            "layout": str(self.layout),
            "accuracy_of": "likelihood_ratio" if self.gathered.calibrated else "vote",
            "overall": self.evaluation.overall.as_dict(),
            "by_generator": {
                for_json(name): metrics.as_dict() for name, metrics in self.by_generator.items()
            },
            "targets": [asdict(target) for target in self.targets],
            "calibration": {"before": asdict(self.before), "after": asdict(self.after)},
            "d3": [_d3_dict(row) for row in self.d3],
            "bootstrap": {
                "resamples": self.evaluation.resamples,
                "seed": self.evaluation.seed,
                "by_source": self.evaluation.by_source,
            },
            "left_out": {**asdict(left_out), "not_judged": dict(left_out.not_judged)},
            "shared_sources": [for_json(name) for name in self.gathered.shared_sources],
            "from_shared_sources": self.gathered.from_shared_sources,
        }


def evaluate_fully(
    gathered: Gathered,
    assessment: Assessment,
    layout: Layout,
    *,
    targets: Sequence[float] = TARGETS,
    target_fnr: float = ThresholdOptions().target_fnr,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FullEvaluation:
    """Compute everything that an evaluation says.

    Args:
        gathered: What was scanned, with the truth.
        assessment: Of the gallery that it was scanned with.
        layout: How the images were labelled.
        targets: Target false positive rates to report.
        target_fnr: Of the other class, behind all of them.
        resamples: Of the bootstrap; 0 leaves intervals out.
        seed: Of the bootstrap.

    Raises:
        InputError: Nothing is left of a class.
    """
    outcomes = gathered.outcomes
    missing = {REAL: "real", FAKE: "fake"}.items()
    for label, name in missing:
        if not (outcomes.labels == label).any():
            raise InputError(
                f"no {name} image is left to evaluate ({_why(gathered)})",
                "evaluate images that are not in the gallery",
            )
    if any(np.bincount(outcomes.labels, minlength=2) < 2):
        resamples = 0  # a class of one has no interval
    evaluation = evaluate(
        outcomes, gathered.generators, groups=gathered.groups, resamples=resamples, seed=seed
    )
    return FullEvaluation(
        layout,
        evaluation,
        tuple(
            at_target(
                gathered,
                assessment.thresholds(ThresholdOptions(target, target_fnr)),
                target,
                resamples=resamples,
                seed=seed,
            )
            for target in targets
        ),
        calibration_cost(outcomes, raw_log10_lr(outcomes.scores), resamples=resamples, seed=seed),
        calibration_cost(outcomes, outcomes.log10_lr, resamples=resamples, seed=seed),
        d3_rows(gathered) if layout is Layout.D3 else (),
        gathered,
    )


def _why(gathered: Gathered) -> str:
    left_out = gathered.left_out
    parts: Mapping[str, int] = {
        "in the gallery": left_out.in_gallery,
        "repeated": left_out.repeated,
        "in both classes": left_out.contradicted,
        **dict(left_out.not_judged),
    }
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count) or "none found"


def _d3_dict(row: D3Row) -> dict[str, Any]:
    return {**asdict(row), "by_generator": dict(row.by_generator)}
