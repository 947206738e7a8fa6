"""Rows of results, and what is said of them."""

from code_forensics.engine.report.explain import explain
from code_forensics.engine.report.judging import Judging
from code_forensics.engine.results import (
    CropScore,
    FileResult,
    Label,
    Neighbour,
    ProbeScore,
    Status,
    Verdict,
)

HOSTILE = "</script><script>alert(1)</script><!-- \x1b[31m \u202e =cmd.jpg"


def row(number: int, verdict: Verdict | None = Verdict.FAKE) -> FileResult:
    if verdict is None:
        return FileResult(f"{number}", None, 3, None, None, None, Status.SKIPPED, "not_an_image")
    near = Neighbour(7, "g:7", Label.FAKE, HOSTILE, HOSTILE, 0.9)
    return FileResult(
        f"{number}{HOSTILE}", f"{number:064}", 10, "PNG", 300, 200, Status.SCANNED,
        verdict=verdict, p_fake=0.9, score=0.25, log10_lr=1.0, neighbours=(near,),
        provenance={"findings": [
            {"kind": "prompt", "value": HOSTILE, "strength": "asserted", "where": "PNG"}
        ]},
        crops=(CropScore(0, 0, 224, 0.25, 0.9), CropScore(76, 0, 224, 0.1, 0.6)),
        probe=(ProbeScore("jpeg_75", 0.2, Verdict.FAKE),),
    )  # fmt: skip


JUDGING = {
    "prior": 0.5,
    "target_fpr": 0.005,
    "target_fnr": 0.02,
    "calibration": {
        "status": "calibrated", "n_real": 99, "n_fake": 99, "lower": -2.0, "upper": 2.0,
    },
    "thresholds": {
        "fake_above": 0.2, "real_below": -0.2, "novel_below": 0.95, "fpr": 0.01, "fnr": 0.02,
        "fpr_supported": False, "fnr_supported": True, "exchangeable": "sources",
        "optimistic": True,
    },
    "attribution": {"least_certainty": 0.8},
    "classifier": None,
}  # fmt: skip


def words(result: FileResult, judging: Judging) -> str:
    said = explain(result, judging)
    return " ".join(map(str, (said.headline, *said.sentences)))
