"""Whether a gallery can tell its own classes apart, by the assessment that its scans rest on."""

import numpy as np

from ..judging.assessment import Assessment
from ..judging.calibration import MIN_REFERENCES, CalibrationStatus
from .findings import Finding, Measure, Severity
from .metrics import auc, rank

CHECK = "separation"

CLEAR = 0.9
"""Leave-one-out AUC below which it is a note."""


def check_separation(assessment: Assessment) -> Finding:
    """Say what a gallery's references promise of its verdicts, at error rates of 1 %."""
    calibration = assessment.calibration
    count = Measure("real", calibration.n_real), Measure("fake", calibration.n_fake)
    if calibration.status is CalibrationStatus.TOO_FEW:
        return Finding(
            CHECK,
            Severity.SERIOUS,
            f"{calibration.n_real} real and {calibration.n_fake} fake references could be scored"
            f" without themselves, {MIN_REFERENCES} of each are needed: every verdict is"
            " inconclusive (uncalibrated)",
            count,
            "add references, of several sources in each class",
        )
    area = _auc(assessment)
    measures = (*count, Measure("auc", area))
    thresholds = assessment.thresholds()
    if thresholds.fpr is None or thresholds.fnr is None:
        return Finding(
            CHECK,
            Severity.SERIOUS,
            "the gallery's own fakes do not score above its reals (leave-one-out AUC"
            f" {area:.3f}): every verdict is inconclusive (no_separation)",
            measures,
            "look for wrong labels, use references like the files to be scanned, or another"
            " encoder with --weights",
        )
    message = (
        f"leave-one-out AUC {area:.3f}; at 1 % asked for, at most {thresholds.fpr:.2%} of such"
        f" reals are called fake and at most {thresholds.fnr:.2%} of such fakes real"
    )
    advice = []
    if area < CLEAR:
        advice.append("expect many verdicts to be inconclusive")
    if not (thresholds.fpr_supported and thresholds.fnr_supported):
        advice.append("add references: these are the tightest rates that they support")
    return Finding(
        CHECK,
        Severity.NOTE if advice else Severity.GOOD,
        message,
        (*measures, Measure("fpr", thresholds.fpr), Measure("fnr", thresholds.fnr)),
        "; ".join(advice),
    )


def _auc(assessment: Assessment) -> float:
    """That of the held-out references' scores."""
    scores = assessment.scores
    margins = scores.relative_margins(assessment.calibration.k)
    return float(auc(rank(scores.labels, margins, np.ones((1, len(margins)))))[0])
