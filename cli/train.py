"""``code-train``: train the encoder; ``code-train prepare``: make shards."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import make_starter
from . import options as opt
from .console import counted, say
from .help import arrange
from .running import EXIT_INTERRUPTED, run

app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
prepare_app = typer.Typer(
    add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False
)


@app.command(
    epilog="Examples: [bold]code-train ./data --out run[/]   "
    "[bold]code-train ./data --out run --resume[/]   "
    "[bold]torchrun --nproc-per-node 4 -m code_forensics.cli.train ./data --out run[/]   "
    "[bold]code-train prepare ./data --out shards[/]   "
    "[bold]code-train starter ./run ./data --out starter[/]"
)
def train_command(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with real/ and fake/GENERATOR/, a CSV of path,label,generator,source, or"
            " WebDataset shards (folder, .tar, http, https or s3; braces allowed).",
        ),
    ] = "",
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; RUN/model is the trained encoder.", rich_help_panel="Run"),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in --out, exactly.", rich_help_panel="Run")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Options as TOML: a file, or a shipped recipe's name (starter).",
            rich_help_panel="Run",
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option(help="Print all options as TOML, as chosen, and exit.", rich_help_panel="Run"),
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(help="Checkpoint to start from; else from scratch.", rich_help_panel="Recipe"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of the schedule.", rich_help_panel="Recipe")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps per epoch.", rich_help_panel="Recipe")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Records per process; each gives eight views.", rich_help_panel="Recipe"),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate.", rich_help_panel="Recipe")
    ] = None,
    reconstruct: Annotated[
        str | None,
        typer.Option(
            help="Make fakes from the reals with these autoencoders, separated by commas:"
            " FOLDER/NAME of NAME_encoder and NAME_decoder.safetensors, or a diffusers folder.",
            rich_help_panel="Data",
        ),
    ] = None,
    equalise: Annotated[
        bool | None,
        typer.Option(
            "--equalise/--no-equalise",
            help="Give both members of a pair the same random size, resize and JPEG.",
            rich_help_panel="Data",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that decode and augment.", rich_help_panel="Machine"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel="Machine")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="float32, or autocast to bfloat16 or float16.", rich_help_panel="Machine"
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Every draw follows from it.", rich_help_panel="Recipe")
    ] = None,
    gallery: Annotated[
        str | None,
        typer.Option(
            help="Build a gallery of this name from images that trained the encoder.",
            rich_help_panel="Gallery",
        ),
    ] = None,
    references: Annotated[
        int,
        typer.Option(min=1, help="Images of each class in it, at most.", rich_help_panel="Gallery"),
    ] = 2000,
    workspace: opt.Workspace = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other option as TOML: loss.positives='\"instance\"'.",
            rich_help_panel="Run",
        ),
    ] = None,
    _version: opt.Version = False,
) -> None:
    """Train the encoder on real and generated images by the published recipe.

    With torchrun, several processes train together. code-train prepare makes shards from folders
    or from D3's Parquet.
    """
    from ..train.config import CONFIG_FILE, TrainConfig, from_toml, read_config, to_toml
    from ..train.errors import ConfigError, TrainingError

    chosen: list[tuple[str, object]] = [
        ("seed", seed), ("init", init), ("precision", precision),
        ("schedule.epochs", epochs), ("schedule.steps", steps), ("schedule.batch", batch),
        ("schedule.lr", lr), ("equalise.enabled", equalise),
        ("reconstruct.autoencoders", reconstruct.split(",") if reconstruct else None),
        ("runtime.workers", workers), ("runtime.device", device),
    ]  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in chosen if value is not None]
    overrides = "\n".join(lines + list(set_ or ()))

    base = read_config(_recipe(config)) if config else TrainConfig()
    if resume and out:
        if not (out / CONFIG_FILE).is_file():
            raise TrainingError(f"{out} holds no run to resume", "drop --resume")
        begun = read_config(out / CONFIG_FILE)
        base = base if config else begun
    options = from_toml(overrides, "the command line", base)
    if print_config:
        typer.echo(to_toml(options), nl=False)
        return
    if not data or out is None:
        raise ConfigError("DATA and --out RUN are needed", "see code-train --help")
    notes = _changes(begun, options) if resume else []

    from ..train.distributed import is_first_process
    from ..train.loop import Outcome, train

    first = is_first_process()  # the only one that speaks
    for note in notes if first else []:
        say(note, "yellow")
    if gallery is not None and first:
        from .train_gallery import check_name

        check_name(gallery, workspace)
    result = train(data, out, options, resume=resume, say=say)
    if result.outcome is Outcome.INTERRUPTED:
        if first:
            say(f"interrupted after step {result.steps}; go on with --resume")
        raise typer.Exit(EXIT_INTERRUPTED)
    if first:
        say(f"{result.outcome.value} after {result.steps} steps; the encoder is in {result.model}")
    if gallery is not None and result.model is not None and first:
        from .train_gallery import build_gallery

        build_gallery(gallery, workspace, result.model, data, options, references)


@prepare_app.callback()
def _prepare_group() -> None:
    """Keeps ``prepare`` a command with a name of its own."""


@prepare_app.command(
    name="prepare", epilog="Example: [bold]code-train prepare ./data --out shards[/]"
)
def prepare_command(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder tree or CSV as for training, or a folder or address of Parquet files of"
            " the layout of elsaEU/ELSA_D3, whose real images are downloaded."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the shards; a second call goes on.")],
    per_shard: Annotated[int, typer.Option(min=1, help="Records a shard.")] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="Downloads at a time.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for an answer.")] = 10.0,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of a download.")] = 2,
    max_mb: Annotated[int, typer.Option(min=1, help="Largest image file, in MiB.")] = 32,
) -> None:
    """Make WebDataset shards with D3's keys for training."""
    from ..train.download import DownloadOptions
    from ..train.prepare import prepare

    limits = DownloadOptions(threads, timeout, retries, max_bytes=max_mb << 20)
    done = prepare(source, out, per_shard, limits, say)
    say(
        f"{counted(done.shards, 'shard')} in {out}; this call made {done.made} with"
        f" {counted(done.records, 'record')}, {done.dead} left out because their real image is gone"
    )


def _recipe(config: Path) -> Path:
    """A file of options, or the shipped recipe of that name where there is no such file."""
    from ..train.errors import ConfigError

    shipped = Path(__file__).parents[1] / "train" / "recipes" / f"{config.name}.toml"
    if config.exists():
        return config
    if config == Path(config.name) and shipped.is_file():
        return shipped
    recipes = sorted(path.stem for path in shipped.parent.glob("*.toml"))
    raise ConfigError(f"no such file or recipe: {config}", f"recipes: {', '.join(recipes)}")


def _changes(begun: object, options: object) -> list[str]:
    """What of the schedule a resumed run changes, a line each.

    Raises:
        ConfigError: It changes more than where it is computed, how long and how fast.
    """
    from dataclasses import replace

    from ..train.config import TrainConfig
    from ..train.errors import ConfigError

    assert isinstance(begun, TrainConfig)
    assert isinstance(options, TrainConfig)
    now = options.schedule
    schedule = replace(begun.schedule, epochs=now.epochs, lr=now.lr, clip=now.clip)
    if replace(begun, runtime=options.runtime, schedule=schedule) != options:
        raise ConfigError(
            "a resumed run keeps the options that it was begun with",
            "only the epochs, schedule.lr, schedule.clip, and what stands under [runtime] may"
            " change",
        )
    return [
        f"note: {name} {before} -> {after}"
        for name in ("epochs", "lr", "clip")
        if (before := getattr(begun.schedule, name)) != (after := getattr(now, name))
    ]


arrange(app)
arrange(prepare_app)


def main() -> None:
    """Entry point of ``code-train``."""
    if sys.argv[1:2] == ["prepare"]:
        run(prepare_app, farewell=True)
    elif sys.argv[1:2] == ["starter"]:
        run(make_starter.app, farewell=True)
    else:
        run(app, farewell=True)


if __name__ == "__main__":
    main()
