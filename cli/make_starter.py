"""``code-train starter``: make what the package embeds from a trained encoder."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.decoding.layout import Crops
from . import options as opt
from .console import say
from .help import arrange

if TYPE_CHECKING:
    from ..train.starter.conditions import Condition

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.callback()
def _group() -> None:
    """Keeps ``starter`` a command with a name of its own."""


@app.command(
    name="starter",
    epilog="Example: [bold]code-train starter ./run ./manifest.csv --out engine/starter/assets[/]",
)
def starter_command(
    model: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of a model.")],
    data: Annotated[str, typer.Argument(help="The run's data: folders, a CSV, or shards.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Source, or pattern, that did not train; again for more. Default: as the run"
            " records it.",
        ),
    ] = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Source, or pattern, that neither trained nor becomes a reference, as for its"
            " licence; again for more.",
        ),
    ] = None,
    per_class: Annotated[int, typer.Option(min=20, help="References of a class, at most.")] = 2000,
    judged: Annotated[
        int, typer.Option(min=1, help="Images of a source that it is judged by, at most.")
    ] = 150,
    conditions: Annotated[
        str,
        typer.Option(
            metavar="WHAT,...", help="States in which images become references, in short form."
        ),
    ] = "native,jpeg70,half",
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Of weights and vectors: MIT or CC-BY-NC-4.0.")
    ] = "MIT",
    notes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Markdown to end the model card with.")
    ] = None,
    device: opt.Device = opt.DeviceChoice.CPU,
    seed: Annotated[int, typer.Option(help="Every draw follows from it.")] = 0,
    k: Annotated[
        int, typer.Option("-k", min=1, max=1000, help="References of each class behind a score.")
    ] = 1,
    crops: Annotated[
        Crops,
        typer.Option(help="What scans by it look at of a picture, and what it is judged by."),
    ] = Crops.CENTER,
    compare_unseen: Annotated[
        bool,
        typer.Option(
            "--compare-unseen",
            help="Compare with images of sources that did not train, too; else these calibrate"
            " alone.",
        ),
    ] = False,
    stretch: Annotated[
        float,
        typer.Option(
            min=1,
            help="How many times as far a difference counts along the direction that tells the"
            " images apart which trained; needs scikit-learn.",
        ),
    ] = 1.0,
) -> None:
    """Make a starter: weights, gallery, calibration, and a model card with what was measured.

    Sources that did not train the encoder calibrate it, and judge it one by one, each by the
    starter without it. The same model and data give the same files.
    """
    from ..train.starter.make import StarterOptions, make_starter
    from ..train.starter.roles import Patterns
    from . import render

    patterns = None
    if held_out or left_out:
        patterns = Patterns(tuple(held_out or ()), tuple(left_out or ()))
    options = StarterOptions(
        per_class=per_class,
        judged=judged,
        conditions=_conditions(conditions),
        patterns=patterns,
        licence=licence,
        device=device.value,
        seed=seed,
        k=k,
        crops=crops,
        compare_unseen=compare_unseen,
        stretch=stretch,
        command=_command(),
        notes=notes.read_text(encoding="utf-8") if notes else "",
    )
    figures = make_starter(model, data, out, options, say)
    render.table(
        "on sources that did not train",
        ("", "AUC", "real called fake", "fake called real", "inconclusive", "AUC of headers alone"),
        [
            (
                str(one.condition),
                *(
                    _number(getattr(one.evaluation.overall, name))
                    for name in ("auc", "false_positive_rate", "false_negative_rate", "abstained")
                ),
                _number(one.metadata.auc if one.metadata else None),
            )
            for one in figures
        ],
    )
    say(f"the starter is in {out}; its figures in {out / 'MODEL_CARD.md'}")


arrange(app)


def _command() -> str:
    """What was called, without the folders of this machine."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["code-train", *words])


def _conditions(text: str) -> "tuple[Condition, ...]":
    from ..train.starter.conditions import Condition

    try:
        return tuple(Condition[word.strip().upper()] for word in text.split(",") if word.strip())
    except KeyError as error:
        known = ", ".join(condition.name.lower() for condition in Condition)
        raise typer.BadParameter(f"{text!r} is not a list of {known}") from error


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
