"""Every option of a training run, with the published recipe as the default, to and from TOML.

The defaults follow "Contrasting Deepfakes Diffusion via Contrastive Learning and Global-Local
Similarities" (ECCV 2024) and its release. Each field's ``note`` is the comment that
``code-train --print-config`` prints beside it.
"""

import json
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError

CROP = 224  # the encoder's, stated again: reading options must not load torch

CONFIG_FILE = "config.toml"
"""Name of a run's configuration in its folder."""

RUN_FILE = "run.json"
"""Name of what a run records of its data and its machine."""


def _option(default: Any, note: str, *choices: str, many: bool = False) -> Any:
    """An option; one that is ``many`` is a list of any length."""
    return field(default=default, metadata={"note": note, "choices": choices, "many": many})


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Which images, and in what proportion."""

    balance: str = _option(
        "records", "'records': each real once per pass; 'sources': sources equally often;"
        " 'root': as often as the root of their size (resident only)",
        "records", "sources", "root",
    )  # fmt: skip
    resident: int = _option(
        0, "hold all images, cut to this side, in the device's memory, and make views there;"
        " 0: worker processes decode and augment",
    )  # fmt: skip
    group: int = _option(8, "resident: pairs that share a resize factor; divides the batch")
    holdout: tuple[str, ...] = _option(
        (), "names or patterns of sources kept for the probes; empty: chosen by hash", many=True
    )
    exclude: tuple[str, ...] = _option(
        (), "names or patterns of sources that do not train, as for their licence", many=True
    )
    holdout_share: float = _option(0.1, "share of each class held out where it is chosen by hash")
    validation: str = _option("", "other data for the probes; then nothing is held out")
    max_side: int = _option(1024, "larger images are first cut to a random square of this side")
    cache: str = _option("", "folder for copies of remote shards; empty: the user cache folder")


@dataclass(frozen=True, slots=True)
class EqualiseOptions:
    """Shortcut control: one random crop size, resize and JPEG for both members of a pair."""

    enabled: bool = _option(False, "equalise every pair; reconstructed pairs always are")
    side: int = _option(512, "both are cut to the largest common square, at most this side")
    scale: tuple[float, float] = _option((0.75, 1.25), "range of the common resize factor")
    quality: tuple[int, int] = _option((50, 100), "range of the common JPEG quality")
    earlier: float = _option(0.5, "resident: share of fakes compressed once before, like photos")
    ramp: float = _option(
        0.0, "resident: share of the run over which resize, JPEG and blur grow from none to full"
    )
    blurred: float = _option(0.25, "resident: share of pairs that are blurred")
    blur: tuple[float, float] = _option((0.3, 1.5), "resident: range of the blur, in pixels")


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How an image becomes four 224-pixel views."""

    finish: str = _option(
        "native", "'native': random 224 crop; 'resize': shorter side to 248, centre crop",
        "native", "resize",
    )  # fmt: skip
    sides: tuple[int, ...] = _option(
        (224,), "resident: sides of views, multiples of 16, parts of the full crop; each"
        " micro-batch draws one", many=True,
    )  # fmt: skip
    keep: float = _option(
        1.0, "share of a view's patches that is looked at, drawn for each view; the others are"
        " dropped",
    )  # fmt: skip
    augmentations: int = _option(2, "at most so many of the 19 transforms; the count is uniform")
    global_scale: tuple[float, float] = _option((0.4, 1.0), "area share of global crops")
    local_scale: tuple[float, float] = _option((0.05, 0.4), "area share of local crops")


@dataclass(frozen=True, slots=True)
class ReconstructOptions:
    """Fakes made from the reals by image autoencoders."""

    autoencoders: tuple[str, ...] = _option(
        (),
        "FOLDER/NAME of NAME_encoder and NAME_decoder.safetensors, or a diffusers folder",
        many=True,
    )
    share: float = _option(0.5, "share of the drawn fakes that are reconstructions")
    each: int = _option(0, "pass each real through so many of the autoencoders, in turn; 0: all")
    folder: str = _option("", "where they are kept, for several runs; empty: in the run folder")
    fresh: bool = _option(
        False, "resident: made for each view from what is cut of a real and made smaller, and"
        " never kept; none is met twice",
    )  # fmt: skip
    before: tuple[float, float] = _option((0.5, 1.0), "fresh: range of that resize factor")
    side: int = _option(512, "larger reals are centre-cropped to this side first")
    batch: int = _option(8, "images of one size per pass of the autoencoder")
    precision: str = _option(
        "float32", "float32, or autocast to bfloat16, as generators often decode",
        "float32", "bfloat16",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The contrastive objective."""

    objective: str = _option(
        "code", "'code': the published one; 'supervised': all of a class are positives",
        "code", "supervised",
    )  # fmt: skip
    head: float = _option(0.0, "weight of an auxiliary real-or-fake head's loss, dropped after")
    patches: float = _option(0.0, "weight of the head's loss on every patch, relative to its own")
    contrast: float = _option(1.0, "weight of the contrastive loss")
    temperature: float = _option(0.1, "divides the cosines")
    positives: str = _option(
        "class", "'class': another image of the class; 'instance': the same image",
        "class", "instance",
    )  # fmt: skip
    negatives: str = _option(
        "process", "'process': of the process's own batch; 'gathered': of all processes",
        "process", "gathered",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScheduleOptions:
    """Optimiser and its schedule: AdamW, cosine with warm-up, stepped per epoch."""

    epochs: int = _option(150, "length of the cosine")
    steps: int = _option(1700, "optimiser steps per epoch")
    batch: int = _option(256, "records per process and micro-batch; a record gives eight views")
    accumulate: int = _option(1, "micro-batches per optimiser step")
    lr: float = _option(2e-3, "peak learning rate")
    warmup_epochs: int = _option(5, "epochs of linear warm-up")
    warmup_lr: float = _option(1e-6, "learning rate at the first epoch")
    min_lr: float = _option(0.0, "learning rate at the end of the cosine")
    weight_decay: float = _option(2e-5, "on matrices; not on biases, norms, positions, class token")
    layer_decay: float = _option(1.0, "learning rate of a block, relative to the next one's")
    head_lr: float = _option(1.0, "learning rate of the auxiliary head, relative to the encoder's")
    clip: float = _option(0.0, "largest norm of the gradient; 0: not clipped")
    ema: float = _option(0.0, "decay of the weights' moving average, which is exported; 0: off")


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Judging the encoder after each epoch, on held-out sources."""

    references: int = _option(1000, "training images per class that the probes are fitted on")
    images: int = _option(500, "held-out images per class that they are judged on; 0: no probes")
    stop_on: str = _option(
        "logistic_accuracy", "figure that decides on the best epoch and the early stop",
        "logistic_accuracy", "logistic_auc", "neighbour_accuracy", "neighbour_auc",
        "one_class_accuracy", "one_class_auc",
    )  # fmt: skip
    patience: int = _option(6, "epochs without gain before the run stops; 0: never")


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Where and how the run is computed. May change between a run and its resumption."""

    device: str = _option("auto", "auto, cpu, cuda or cuda:N")
    workers: int = _option(
        4, "processes that decode and augment, per training process, a core each at most; 0: none"
    )
    log_every: int = _option(10, "steps between lines of metrics.jsonl")
    save_every: int = _option(500, "steps between checkpoints, besides those at epoch ends")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """All options of a run."""

    seed: int = _option(0, "every draw follows from it")
    init: str = _option("", "checkpoint to start from; empty: from scratch")
    layers: int = _option(0, "keep so many of the encoder's first blocks; 0: all")
    whiten: bool = _option(False, "train the patch projection in whitened coordinates")
    precision: str = _option(
        "float32", "float32, or autocast to bfloat16 or float16",
        "float32", "bfloat16", "float16",
    )  # fmt: skip
    data: DataOptions = field(default_factory=DataOptions)
    equalise: EqualiseOptions = field(default_factory=EqualiseOptions)
    views: ViewOptions = field(default_factory=ViewOptions)
    reconstruct: ReconstructOptions = field(default_factory=ReconstructOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)


_TABLES = ("data", "equalise", "views", "reconstruct", "loss", "schedule", "probe", "runtime")


def to_toml(config: TrainConfig) -> str:
    """Write a configuration as TOML, each option with its note as a comment."""
    lines: list[str] = []
    for table in ("", *_TABLES):
        if table:
            lines += ["", f"[{table}]"]
        part = getattr(config, table) if table else config
        for option in fields(part):
            if option.name not in _TABLES or table:
                # a TOML basic string, number, boolean or array is written as JSON writes it
                value = json.dumps(getattr(part, option.name), ensure_ascii=False)
                lines.append(f"{option.name} = {value}  # {option.metadata['note']}")
    return "\n".join(lines) + "\n"


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file; options that it does not name keep their defaults.

    Raises:
        ConfigError: The file cannot be read, or names something unknown or out of range.
    """
    try:
        return from_toml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", "name a readable TOML file") from error


def from_toml(text: str, origin: str, base: TrainConfig | None = None) -> TrainConfig:
    """Read TOML text over a base configuration (the defaults where none is given).

    Raises:
        ConfigError: The text is no TOML, or names something unknown or out of range.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin} is not TOML: {error}") from error
    config = base or TrainConfig()
    for name, value in document.items():
        if name in _TABLES:
            if not isinstance(value, dict):
                raise ConfigError(f"{origin}: {name} is a table of options, not a value")
            part = _overlay(getattr(config, name), value, f"{origin}: [{name}]")
            config = replace(config, **{name: part})
        else:
            config = _overlay(config, {name: value}, origin)
    _check(config, origin)
    return config


def _overlay(part: Any, values: dict[str, Any], where: str) -> Any:
    known = {option.name: option for option in fields(part) if option.name not in _TABLES}
    changes = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"{where}: unknown option {name!r}", "code-train --print-config lists all options"
            )
        default = getattr(part, name)
        if known[name].metadata["many"] and isinstance(value, list):
            default = (default[:1] or ("",)) * len(value)
        changes[name] = _convert(default, value, f"{where} {name}")
        choices = known[name].metadata["choices"]
        if choices and value not in choices:
            raise ConfigError(f"{where} {name} = {value!r}: expected one of {', '.join(choices)}")
    return replace(part, **changes)


def _convert(default: Any, value: Any, where: str) -> Any:
    if isinstance(default, tuple):
        if not isinstance(value, list) or (default and len(value) != len(default)):
            size = f" of {len(default)} values" if default else ""
            raise ConfigError(f"{where} = {value!r}: expected a list{size}")
        samples = default or ("",) * len(value)
        return tuple(_convert(s, v, where) for s, v in zip(samples, value, strict=True))
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise ConfigError(f"{where} = {value!r}: expected a {type(default).__name__}")
    return value


def _check(config: TrainConfig, origin: str) -> None:
    """Refuse what would fail later, or silently do something else."""
    schedule, loss = config.schedule, config.loss
    shares = (config.reconstruct.share, config.data.holdout_share,
              config.equalise.earlier, config.equalise.blurred, config.equalise.ramp)  # fmt: skip
    rules = (
        (config.seed >= 0, "seed is at least 0"),
        (min(schedule.epochs, schedule.steps, schedule.accumulate) >= 1,
         "schedule.epochs, steps and accumulate are at least 1"),
        (schedule.batch >= (2 if loss.positives == "class" else 1),
         "schedule.batch is at least 2 with loss.positives = 'class', and at least 1 in any case"),
        (config.data.resident == 0 or loss.objective == "supervised",
         "data.resident goes with loss.objective = 'supervised'"),
        (config.data.resident == 0 or schedule.batch % max(config.data.group, 1) == 0,
         "schedule.batch is a multiple of data.group"),
        (config.data.resident > 0 or config.data.balance != "root",
         "data.balance = 'root' goes with data.resident"),
        (config.views.sides == (CROP,)
         or (config.data.resident > 0 and len(config.views.sides) > 0
             and all(side in range(16, CROP + 1, 16) for side in config.views.sides)),
         "views.sides is [224], or with data.resident multiples of 16 up to 224"),
        (min(loss.head, loss.patches, loss.contrast) >= 0 < max(loss.head, loss.contrast),
         "loss.head, patches and contrast are at least 0, and head and contrast not both 0"),
        (0 < schedule.layer_decay <= 1 and schedule.head_lr > 0 and config.layers >= 0,
         "schedule.layer_decay lies in (0, 1], head_lr is above 0, layers at least 0"),
        (loss.temperature > 0, "loss.temperature is above 0"),
        (schedule.lr > 0 and schedule.clip >= 0 and schedule.warmup_epochs >= 0,
         "schedule.lr is above 0, clip and warmup_epochs at least 0"),
        (0 <= schedule.ema < 1, "schedule.ema lies in [0, 1)"),
        (all(0 <= share <= 1 for share in shares),
         "reconstruct.share, data.holdout_share, equalise.earlier, blurred and ramp lie in [0, 1]"),
        (not config.reconstruct.fresh or config.data.resident > 0,
         "reconstruct.fresh goes with data.resident"),
        (0 < config.reconstruct.before[0] <= config.reconstruct.before[1],
         "reconstruct.before is a range above 0"),
        (0 < config.views.keep <= 1, "views.keep lies above 0 and up to 1"),
        (0 <= config.views.augmentations <= 19, "views.augmentations lies in 0 to 19"),
        (all(0 < low <= high <= 1 for low, high in (config.views.global_scale,
                                                     config.views.local_scale)),
         "views.global_scale and local_scale are ranges within (0, 1]"),
        (min(config.data.resident, config.reconstruct.each) >= 0 and config.data.group >= 1,
         "data.resident and reconstruct.each are at least 0, data.group at least 1"),
        (0 < config.equalise.blur[0] <= config.equalise.blur[1],
         "equalise.blur is a range above 0"),
        (1 <= config.equalise.quality[0] <= config.equalise.quality[1] <= 100,
         "equalise.quality is a range within 1 to 100"),
        (0 < config.equalise.scale[0] <= config.equalise.scale[1],
         "equalise.scale is a range above 0"),
        (min(config.equalise.side, config.data.max_side, config.reconstruct.side) >= 32,
         "equalise.side, data.max_side and reconstruct.side are at least 32"),
        (min(config.runtime.log_every, config.runtime.save_every, config.reconstruct.batch) >= 1,
         "runtime.log_every, save_every and reconstruct.batch are at least 1"),
        (min(config.runtime.workers, config.probe.images, config.probe.patience) >= 0
         and config.probe.references >= 2,
         "runtime.workers, probe.images and patience are at least 0, probe.references at least 2"),
    )  # fmt: skip
    for kept, rule in rules:
        if not kept:
            raise ConfigError(f"{origin}: {rule}")
