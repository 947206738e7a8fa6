"""What a scan was asked, as its run record keeps it: to be shown, compared, and done again."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import fspath
from pathlib import Path
from typing import Any

from .archives.limits import ArchiveLimits
from .decoding.decode import LONGEST, DecodeOptions
from .decoding.views import ViewPlan
from .files.addresses import is_address
from .files.discover import WalkOptions
from .pipeline.options import PipelineOptions


@dataclass(frozen=True, slots=True)
class Case:
    """What an examiner says of a scan; kept with it."""

    case: str = ""
    examiner: str = ""
    note: str = ""


def scan_arguments(
    paths: Sequence[str | Path],
    walking: WalkOptions,
    pipeline: PipelineOptions,
    case: Case,
    lists: Sequence[Mapping[str, Any]] = (),
    watch: float | None = None,
) -> dict[str, Any]:
    """The run record's ``arguments``: which files are opened, how, and what is said of them.

    Args:
        paths: Files, directories and addresses that were given.
        walking: Which files under them.
        pipeline: Bounds, and what of a file's inside counts.
        case: What the examiner says.
        lists: Records of the lists that name further paths.
        watch: Seconds for which what arrives has to stay unchanged; None for a scan that ends,
            whose record does not name it.
    """
    decode = pipeline.decode
    return {
        "paths": [fspath(path) for path in paths],
        "directory": directory(),
        "lists": [dict(one) for one in lists],
        "recurse": walking.recurse,
        "follow_symlinks": walking.follow_symlinks,
        "include": list(walking.include),
        "exclude": list(walking.exclude),
        "shard": str(walking.shard) if walking.shard else None,
        "max_pixels": decode.max_pixels,
        "max_bytes": decode.max_bytes,
        "decode_timeout": decode.timeout,
        "archives": pipeline.archives.record() if pipeline.archives else None,
        "frames": pipeline.frames,
        "provenance": pipeline.provenance,
        "case": case.case,
        "examiner": case.examiner,
        "note": case.note,
        **({} if watch is None else {"watch": watch}),
    }


def directory() -> str | None:
    """The directory that relative paths start from; None where it was deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:
        return None


def located(path: str, run: Mapping[str, Any]) -> str:
    """Where a path of a scan on record leads from anywhere.

    Args:
        path: As found, or an address; relative to the directory that the scan was started in.
        run: The run record; of an older one that names no directory, paths stay as they are.
    """
    start = run["arguments"].get("directory")
    return path if start is None or is_address(path) else os.path.join(start, path)  # noqa: PTH118


def recorded_as(path: str, run: Mapping[str, Any]) -> list[str]:
    """Ways in which a scan on record may have written down a path that is named here and now.

    Args:
        path: Absolute, or relative to this directory.
        run: The run record; of an older one that names no directory, relative paths are taken as
            if it had been this one.
    """
    here, start = directory(), run["arguments"].get("directory")
    ways = [os.path.normpath(path)]
    if here is not None:
        ways.append(os.path.normpath(os.path.join(here, path)))  # noqa: PTH118 - as in the rows
    if start is not None and Path(ways[-1]).is_absolute():
        with suppress(ValueError):  # another drive
            ways.append(os.path.relpath(ways[-1], start))
    return ways


def pipeline_of(run: Mapping[str, Any], workers: int) -> PipelineOptions:
    """How the pipeline of a scan on record ran; what an older record does not say is the default.

    Args:
        run: The run record.
        workers: Threads of this run, which change no result.
    """
    arguments, usual = run["arguments"], DecodeOptions()
    limits = arguments.get("archives")
    return PipelineOptions(
        workers,
        decode=DecodeOptions(
            arguments.get("max_pixels", usual.max_pixels),
            arguments.get("max_bytes", usual.max_bytes),
            min(arguments.get("decode_timeout", usual.timeout), LONGEST),  # older ones had no bound
            views=ViewPlan.of(run.get("views")),
        ),
        archives=ArchiveLimits(**limits) if limits else None,
        frames=arguments.get("frames", 1),
        provenance=arguments.get("provenance", True),
    )
