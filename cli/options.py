"""Options that several commands share."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..engine.errors import InputError


class DeviceChoice(StrEnum):
    """Where the encoder runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class PrecisionChoice(StrEnum):
    """Arithmetic of the encoder; ``auto`` is float32, for only that is certain."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def reduced(self) -> bool:
        """Whether it is less than float32."""
        return self in (PrecisionChoice.BFLOAT16, PrecisionChoice.FLOAT16)


def _exact(precision: PrecisionChoice) -> PrecisionChoice:
    if precision.reduced:
        raise typer.BadParameter(f"{precision} is for code-scan; references are float32")
    return precision


class IsolationChoice(StrEnum):
    """What is decoded in processes of their own."""

    AUTO = "auto"
    ALL = "all"


class FramesChoice(StrEnum):
    """Which pictures of a file."""

    FIRST = "first"
    ALL = "all"


def finite(number: float | None) -> float | None:
    """Refuse what is not a number, which lies in every range."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


def require(option: str, value: object, other: str, there: bool) -> None:
    """Refuse an option that has no effect without another.

    Args:
        option: Its name.
        value: What the user gave; None where it was not given.
        other: What it is for.
        there: Whether that was asked for.

    Raises:
        InputError: It was given, and the other was not.
    """
    if value is not None and not there:
        raise InputError(
            f"{option} has no effect without {other}", f"add {other}, or drop {option}"
        )


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"code-forensics {version('code-forensics')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
    ),
]


def named_path(text: str) -> Path:
    """A path; an empty one, as of a variable that is not set, does not mean this directory."""
    if not text:
        raise typer.BadParameter("it is empty (this directory is '.')")
    return Path(text)


Jsonl = Annotated[
    Path | None,
    typer.Option("--jsonl", metavar="FILE", help="Write a JSON object a line; - is stdout."),
]
Workspace = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        metavar="DIR",
        parser=named_path,
        help="Where galleries and scans lie; default: $CODE_WORKSPACE, else the user's data.",
        rich_help_panel="Workspace",
    ),
]


def _weights(default: str) -> Any:
    return typer.Option(
        "--weights",
        metavar="W",
        help="Encoder: a folder with model.safetensors and config.json, or a hub id"
        f" (owner/name\\[@revision]). Default: {default}.",
        rich_help_panel="Encoder",
    )


Weights = Annotated[str | None, _weights("the gallery's")]
NewWeights = Annotated[
    str | None, _weights("the pulled one, the only other one, or the embedded starter's")
]
"""The encoder of a gallery that is there, and of a new one."""

Device = Annotated[
    DeviceChoice, typer.Option("--device", help="Where it runs.", rich_help_panel="Encoder")
]
Precision = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        help="Arithmetic; auto is float32. bfloat16 is several times faster where the processor"
        " has it; what lies near a threshold is embedded again in float32. float16 is for CUDA.",
        rich_help_panel="Encoder",
    ),
]
ExactPrecision = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        metavar="[auto|float32]",
        callback=_exact,
        help="Arithmetic; auto is float32.",
        rich_help_panel="Encoder",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        metavar="GLOB",
        help="Only files that match; again for more. A glob without a slash is matched against the"
        " name, one with a slash against the whole path below the given folder; case counts, and"
        " * spans slashes.",
        rich_help_panel="Files",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        metavar="GLOB",
        help="Not the files and folders that match, as for --include; again for more.",
        rich_help_panel="Files",
    ),
]
NoRecurse = Annotated[
    bool,
    typer.Option("--no-recurse", help="Stay out of sub-directories.", rich_help_panel="Files"),
]
FollowSymlinks = Annotated[
    bool,
    typer.Option("--follow-symlinks", help="Follow symbolic links.", rich_help_panel="Files"),
]
Lists = Annotated[
    list[str] | None,
    typer.Option(
        "--list",
        metavar="FILE",
        help="Scan also what a file lists: text with a path or an address a line, or each ended by"
        " NUL (find -print0), or Parquet with a column path or url; - is stdin. Nothing else is"
        " ever taken for a list.",
        rich_help_panel="Files",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts of the files, as code-index merge puts together again.",
        rich_help_panel="Files",
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        help="Pictures with more pixels are skipped (too_many_pixels).",
        rich_help_panel="Files",
    ),
]
MaxBytes = Annotated[
    int,
    typer.Option(
        "--max-bytes",
        metavar="N",
        min=1,
        help="Larger files are skipped (too_large).",
        rich_help_panel="Files",
    ),
]
DecodeTimeout = Annotated[
    float,
    typer.Option(
        "--decode-timeout",
        metavar="S",
        min=1.0,
        max=86_400.0,
        callback=finite,
        help="Seconds after which a decoder is stopped (decode_timeout).",
        rich_help_panel="Files",
    ),
]
Isolate = Annotated[
    IsolationChoice,
    typer.Option(
        "--isolate",
        help="What is decoded in processes that may be lost: what could crash or hang (auto), or"
        " every file (all).",
        rich_help_panel="Files",
    ),
]
Archives = Annotated[
    bool,
    typer.Option(
        "--archives",
        help="Also scan images inside zip, tar and compressed files and e-mail; nothing is unpacked"
        " to disk.",
        rich_help_panel="Files",
    ),
]
Provenance = Annotated[
    bool,
    typer.Option(
        "--provenance/--no-provenance",
        help="Read what files say of their origin (C2PA, XMP, EXIF, PNG text).",
        rich_help_panel="Files",
    ),
]
ArchiveBounds = Annotated[
    str,
    typer.Option(
        "--archive-limits",
        metavar="NAME=N,...",
        help="Bounds on each archive: depth=3, members=100000, total (bytes unpacked), ratio=200"
        " (unpacked to packed), nested (bytes of an archive in another), packed (bytes of one on"
        " disk), seconds=600 (of processor time, and one more for each MiB). Turns --archives on.",
        rich_help_panel="Files",
    ),
]
Frames = Annotated[
    FramesChoice,
    typer.Option(
        "--frames",
        help="Of a file with several pictures (GIF, TIFF, HEIC, ...): the first, or each, with a"
        " row of its own.",
        rich_help_panel="Files",
    ),
]
MAX_FRAMES = 1000
"""Default of ``--max-frames``."""

MaxFrames = Annotated[
    int | None,
    typer.Option(
        "--max-frames",
        metavar="N",
        min=1,
        help=f"Pictures of one file with --frames all; default: {MAX_FRAMES}. The others are one"
        " row (too_many_frames).",
        rich_help_panel="Files",
    ),
]

MAX_PIXELS, MAX_BYTES, DECODE_TIMEOUT = 1 << 28, 1 << 30, 60.0
"""Defaults of the bounds, those of the engine's ``DecodeOptions``."""


def _workers(more: str = "") -> Any:
    return typer.Option(
        "--workers",
        min=0,
        max=1024,
        help=f"Threads; 0: one a core.{more}",
        rich_help_panel="Speed",
    )


Workers = Annotated[int, _workers()]
SharedWorkers = Annotated[
    int,
    _workers(
        " With --processes those of each process, 0: its share of the cores; with --ray those of"
        " each worker, 0: one."
    ),
]
"""Threads of a command that works alone, and of one with ``--processes`` and ``--ray``."""

Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        metavar="N",
        min=0,
        max=256,
        help="Extra processes that read, decode and, without a GPU, embed. Helps on many cores,"
        " where Python's lock limits one process. 0: none.",
        rich_help_panel="Speed",
    ),
]
Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Read, decode and embed on a Ray cluster (extra ray): local starts one here, auto is"
        " the one that this machine belongs to, else HOST:PORT.",
        rich_help_panel="Cluster",
    ),
]
RayWorkers = Annotated[
    str,
    typer.Option(
        "--ray-workers",
        metavar="N|MIN:MAX",
        help="How many workers, or between which numbers Ray scales; default: as many as the"
        " cluster has room for.",
        rich_help_panel="Cluster",
    ),
]
RayGpus = Annotated[
    float,
    typer.Option(
        "--ray-gpus",
        metavar="N",
        min=0.0,
        help="GPUs of each worker, or a fraction, such as 0.25; 0: workers compute on CPUs.",
        rich_help_panel="Cluster",
    ),
]
