"""Options that say how verdicts are reached, shared by commands that judge."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..engine.judging.judge import JudgeOptions

PANEL = "Judging"


def _rate(value: float) -> float:
    if not 0.0 < value < 1.0:
        raise typer.BadParameter("give a number between 0 and 1, such as 0.01 for 1 %")
    return value


K = Annotated[
    int,
    typer.Option(
        "-k",
        min=1,
        max=1000,
        help="References in the vote, and of each class behind the score.",
        rich_help_panel=PANEL,
    ),
]
TargetFpr = Annotated[
    float,
    typer.Option(
        "--target-fpr",
        metavar="RATE",
        callback=_rate,
        help="Share of real images that may be called fake.",
        rich_help_panel=PANEL,
    ),
]
TargetFnr = Annotated[
    float,
    typer.Option(
        "--target-fnr",
        metavar="RATE",
        callback=_rate,
        help="Share of generated images that may be called real.",
        rich_help_panel=PANEL,
    ),
]
Prior = Annotated[
    float,
    typer.Option(
        "--prior",
        metavar="P",
        callback=_rate,
        help="Share of generated images to expect, behind p_fake; no verdict depends on it.",
        rich_help_panel=PANEL,
    ),
]


def judge_options(k: int, target_fpr: float, target_fnr: float, prior: float) -> "JudgeOptions":
    """The options as the engine takes them."""
    from ..engine.judging.judge import JudgeOptions
    from ..engine.judging.thresholds import ThresholdOptions

    return JudgeOptions(k, prior, ThresholdOptions(target_fpr, target_fnr))
