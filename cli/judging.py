"""Options that say how verdicts are reached, shared by commands that judge."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.decoding.layout import Crops

if TYPE_CHECKING:
    from ..engine.judging.judge import JudgeOptions

PANEL = "Judging"


def _rate(value: float | None) -> float | None:
    if value is not None and not 0.0 < value < 1.0:
        raise typer.BadParameter("give a number between 0 and 1, such as 0.01 for 1 %")
    return value


def _rate_option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, callback=_rate, help=text, rich_help_panel=PANEL)


_TARGET_FPR = _rate_option("--target-fpr", "RATE", "Share of real images that may be called fake.")
_TARGET_FNR = _rate_option(
    "--target-fnr", "RATE", "Share of generated images that may be called real."
)
_PRIOR = _rate_option(
    "--prior", "P", "Share of generated images to expect, behind p_fake; no verdict depends on it."
)

K = Annotated[
    int | None,
    typer.Option(
        "-k",
        min=1,
        max=1000,
        help="References in the vote, and of each class behind the score; default: 1, or as many as"
        " the embedded starter was made for.",
        rich_help_panel=PANEL,
    ),
]
TargetFpr = Annotated[float, _TARGET_FPR]
TargetFnr = Annotated[float, _TARGET_FNR]
Prior = Annotated[float, _PRIOR]

KeptK = Annotated[
    int | None,
    typer.Option(
        "-k",
        min=1,
        max=1000,
        help="References in the vote, and of each class behind the score; with another gallery"
        " those that it was made for, if the scan went by its own's.",
        rich_help_panel=PANEL,
    ),
]
KeptTargetFpr = Annotated[float | None, _TARGET_FPR]
KeptTargetFnr = Annotated[float | None, _TARGET_FNR]
KeptPrior = Annotated[float | None, _PRIOR]
"""The same where a scan on record says what the user does not."""


class Classifier(StrEnum):
    """What gives the verdicts."""

    KNN = "knn"
    LINEAR = "linear"
    SVM = "svm"


_CLASSIFIER = typer.Option(
    "--classifier",
    help="What gives the verdicts: the gallery's references (knn), or the published logistic"
    " regression or one-class SVM, as pulled or imported: those answer real or fake for every"
    " image, but for what a reference that practically is the image contradicts"
    " (contradicts_copy).",
    rich_help_panel=PANEL,
)
_EXACT_SEARCH = (
    "Compare with every reference also of a class so large that it is searched in cells;"
    " they then lie in memory."
)
ClassifierOption = Annotated[Classifier, _CLASSIFIER]
KeptClassifier = Annotated[Classifier | None, _CLASSIFIER]
ExactSearch = Annotated[
    bool, typer.Option("--exact-search", help=_EXACT_SEARCH, rich_help_panel=PANEL)
]
KeptExactSearch = Annotated[
    bool | None,
    typer.Option("--exact-search/--no-exact-search", help=_EXACT_SEARCH, rich_help_panel=PANEL),
]
CropsOption = Annotated[
    Crops | None,
    typer.Option(
        "--crops",
        help="What is looked at: the middle (as published), that and the corners (five), or that"
        " and up to 4 x 4 (sixteen) or 6 x 6 (grid) over the whole picture; the score is the mean."
        " Default: what the gallery was made for: the middle, or for the embedded starter"
        " sixteen.",
        rich_help_panel=PANEL,
    ),
]
Probe = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Judge the middle also after JPEG 75 and 90, at 3/4 of its size, and shifted by 8"
        " pixels: where the answer changes, the verdict is inconclusive.",
        rich_help_panel=PANEL,
    ),
]


def judge_options(
    k: int | None, target_fpr: float, target_fnr: float, prior: float
) -> "JudgeOptions":
    """The options as the engine takes them."""
    from ..engine.judging.judge import JudgeOptions
    from ..engine.judging.thresholds import ThresholdOptions

    return JudgeOptions(k, prior, ThresholdOptions(target_fpr, target_fnr))
