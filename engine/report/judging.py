"""How the verdicts of a run were reached, as far as its record says so."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..judging.in_words import promise_in_words


@dataclass(frozen=True, slots=True)
class Judging:
    """What a run record says of how verdicts were reached; None where it does not say.

    Attributes:
        k: References of each class behind a score.
        prior: Probability of "generated" before looking, in (0, 1), behind ``p_fake``.
        fake_above: A larger score is ``fake``.
        real_below: A smaller score is ``real``.
        novel_below: A nearest reference less similar than this makes an image novel.
        promise: Sentences on the error rates that the thresholds stand for; empty where none is
            known.
        lr_bounds: Least and largest log10 likelihood ratio that the references support.
        least_certainty: Share of the vote from which a generator is named, in [0, 1]; infinite
            where the gallery can name none.
        classifier: The head that gave the verdicts; the neighbours' thresholds decided nothing.
    """

    k: int = 1
    prior: float = 0.5
    fake_above: float | None = None
    real_below: float | None = None
    novel_below: float | None = None
    promise: tuple[str, ...] = ()
    lr_bounds: tuple[float, float] | None = None
    least_certainty: float | None = None
    classifier: str | None = None

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> "Judging":
        """Read a run record, whichever version wrote it."""
        judging: Mapping[str, Any] = run.get("judging") or {}
        k = int(run.get("k") or 1)
        if (head := judging.get("classifier")) is not None:
            return cls(k, classifier=head["kind"])
        thresholds: Mapping[str, Any] = judging.get("thresholds") or {}
        calibration: Mapping[str, Any] = judging.get("calibration") or {}
        return cls(
            k=k,
            prior=float(judging.get("prior") or 0.5),
            fake_above=thresholds.get("fake_above"),
            real_below=thresholds.get("real_below"),
            novel_below=thresholds.get("novel_below"),
            promise=tuple(promise_in_words(judging, run.get("views"))),
            lr_bounds=(calibration["lower"], calibration["upper"]) if calibration else None,
            least_certainty=_least_certainty(judging.get("attribution") or {}),
        )


def _least_certainty(rule: Mapping[str, Any]) -> float | None:
    if "least_certainty" not in rule:
        return None
    least = rule["least_certainty"]
    return math.inf if least is None else float(least)
