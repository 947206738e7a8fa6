"""The results page: what was measured, on what, as Markdown."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .contest import Run, median

_PACKAGES = (
    "code-forensics",
    "torch",
    "faiss-cpu",
    "pillow",
    "nvidia-nvimgcodec-cu12",
    "numpy",
    "scikit-learn",
    "transformers",
)


@dataclass(slots=True)
class SetResult:
    """One set of photos.

    Attributes:
        name: Of the set.
        count: Photos in it.
        decode: Photos a second of reading, hashing, decoding and provenance alone.
        published: Runs of the published pipeline.
        ours: Runs of ``code-scan``, by precision.
    """

    name: str
    count: int
    decode: float = 0.0
    published: list[Run] = field(default_factory=list)
    ours: dict[str, list[Run]] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """Everything that the page says.

    Attributes:
        command: How to do it again.
        references: Size of the gallery.
        threads: Of the stages alone.
        encode: Images a second of the encoder alone, by precision.
        search: Queries a second, by way of searching.
        startup: Runs on one image, by program.
        sets: The sets.
        load: Load average when it began; None where the system does not tell.
    """

    command: str
    references: int
    threads: int
    encode: Mapping[str, float]
    search: Mapping[str, float]
    startup: Mapping[str, list[Run]]
    sets: Sequence[SetResult]
    load: float | None


def page(results: Results) -> str:
    """The page."""
    lines = [
        "# Throughput",
        "",
        f"Made by `{results.command}` on {datetime.now(UTC):%Y-%m-%d}.",
        "",
        *_machine(results),
        "",
        "Both programs run as whole processes, from start to exit, on the same files, in turns; the",
        f"figures are medians. The gallery holds {results.references:,} vectors spread like the",
        "encoder's own. `code-scan` hashes every file, reads its provenance and stores every result",
        "durably; the published pipeline writes a CSV of labels.",
        "",
        *_whole(results),
        "",
        *_stages(results),
        "",
        *_search(results),
    ]
    return "\n".join(lines) + "\n"


def _machine(results: Results) -> list[str]:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    load = "unknown" if results.load is None else f"{results.load:.1f}"
    return [
        f"- processor: {_processor()}, {os.cpu_count()} cores; load average at the start {load}",
        f"- {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"- {', '.join(versions)}",
    ]


def _processor() -> str:
    try:
        said = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        said = None
    return said[1].strip() if said else platform.processor() or "unknown"


def _whole(results: Results) -> list[str]:
    lines = [
        "| photos | program | images/s | times published | CPU ms/image | peak MiB | labels |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results.sets:
        theirs = _rate(one.count, one.published)
        lines.append(_row(one, "published", one.published, 1.0, ""))
        for precision, runs in one.ours.items():
            same = _identical(one.published, runs)
            labels = f"{same} of {one.count} identical"
            ratio = _rate(one.count, runs) / theirs
            lines.append(_row(one, f"code-scan, {precision}", runs, ratio, labels))
    for name, runs in results.startup.items():
        seconds, cpu = (median([getattr(r, what) for r in runs]) for what in ("seconds", "cpu"))
        lines.append(
            f"| one of 512 px ({len(runs)} runs) | {name} | {seconds:.2f} s |"
            f" {median([r.seconds for r in results.startup['published']]) / seconds:.1f} |"
            f" {1000 * cpu:.0f} | {_peak(runs):.0f} | |"
        )
    return lines


def _row(one: SetResult, program: str, runs: list[Run], ratio: float, labels: str) -> str:
    cpu = 1000 * median([run.cpu for run in runs]) / one.count
    return (
        f"| {one.name}, {one.count} files ({len(runs)} runs) | {program} |"
        f" {_rate(one.count, runs):.1f} | {ratio:.1f} | {cpu:.1f} | {_peak(runs):.0f} | {labels} |"
    )


def _stages(results: Results) -> list[str]:
    lines = [
        f"Our stages alone, with {results.threads} threads, in images/s. `shared` is what decoding",
        "and encoding reach on the same cores one after the other, 1 / (1/decode + 1/encode): on a",
        "CPU no pipeline can beat it. `steady` leaves out the seconds of start and exit, as the scan",
        "of one image takes them.",
        "",
        "| photos | precision | decode | encode | whole / min(decode, encode) | whole / shared"
        " | steady / shared |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in results.sets:
        for precision, runs in one.ours.items():
            encode = results.encode[precision]
            seconds = median([run.seconds for run in runs])
            idle = median([run.seconds for run in results.startup["code-scan"]])
            whole = one.count / seconds
            shared = 1 / (1 / one.decode + 1 / encode)
            # A set that takes hardly longer than one image says nothing of what comes after start.
            working = seconds - idle
            steady = f"{one.count / working / shared:.2f}" if working > idle else "too few files"
            lines.append(
                f"| {one.name} | {precision} | {one.decode:.1f} | {encode:.1f} |"
                f" {whole / min(one.decode, encode):.2f} | {whole / shared:.2f} |"
                f" {steady} |"
            )
    return lines


def _search(results: Results) -> list[str]:
    lines = ["| search alone | queries/s |", "| --- | ---: |"]
    return lines + [f"| {kind} | {speed:.0f} |" for kind, speed in results.search.items()]


def _rate(count: int, runs: list[Run]) -> float:
    return count / median([run.seconds for run in runs])


def _peak(runs: list[Run]) -> float:
    return max(run.peak for run in runs) / 2**20


def _identical(theirs: list[Run], ours: list[Run]) -> int:
    """Files that every run of both programs gives the same label."""
    first = theirs[0].labels
    return sum(all(run.labels.get(path) == label for run in (*theirs, *ours))
               for path, label in first.items())  # fmt: skip
