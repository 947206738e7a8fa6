"""Summaries and tables for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from ..engine.inert import for_terminal
from ..engine.judging.in_words import limits_in_words
from ..engine.pipeline.options import StageTimes
from ..engine.report.interface import Report
from ..engine.report.tally import FEW, Tally, summarise
from ..engine.results import FileResult, Status, Summary
from ..index.gallery_records import GalleryInfo
from ..index.scans import ScanInfo, Scans
from .console import WIDE, counted, prose, say, stderr, stdout

if TYPE_CHECKING:
    from ..engine.embedding.precision import Audit


def counts(summary: Summary) -> str:
    """The counts that a progress bar shows."""
    parts = [f"{verdict} {count}" for verdict, count in sorted(summary.by_verdict.items())]
    parts += [
        f"{status} {summary.by_status[status]}"
        for status in ("failed", "skipped")
        if status in summary.by_status
    ]
    return "  ".join(parts)


def file_line(result: FileResult) -> None:
    """Print one row on stderr: what it says, how surely, of which file, and why."""
    why = f" ({result.reason})" if result.reason else ""
    say(_in_a_line(result) + why, _style(result))


def _in_a_line(result: FileResult) -> str:
    answer = str(result.verdict or result.status)
    sure = "     " if result.p_fake is None else f"{result.p_fake:.3f}"
    return f"{answer:12} {sure} {result.path}"


def _why(result: FileResult) -> str:
    """The reason, with the decoder's or the system's own words where they say more."""
    if result.reason is None:
        return ""
    detail = result.detail if result.reason != "not_an_image" else None
    return f" ({result.reason}{f': {for_terminal(detail, 100)}' if detail else ''})"


def _style(result: FileResult) -> str:
    return STYLES.get(str(result.verdict), "")


def report(scans: Scans, info: ScanInfo) -> Report:
    """A scan on record, ready to be written."""
    run = {
        "id": info.uuid,
        "scan": info.key,
        "state": info.state,
        "started": info.started,
        "finished": info.finished,
        **info.run,
    }
    rows = map(FileResult.from_row, scans.rows(info))
    return Report(run, summary_of(scans, info), rows)


def summary_of(scans: Scans, info: ScanInfo) -> Mapping[str, Any]:
    """The counts of a scan on record; of one that was killed, or runs, those of its rows."""
    return info.summary or summarise(scans.rows(info))


def summary(
    tally: Tally,
    gallery: GalleryInfo,
    scan: int,
    run: Mapping[str, Any],
    to_stderr: bool,
) -> None:
    """Print what a scan found; `run` is its record."""
    found, worst = tally.summary, tally.worst.rows()
    console = stderr() if to_stderr else stdout()
    table = Table(
        title=f"scan {scan}: {counted(found.files, 'file')}", title_justify="left", box=None
    )
    table.add_column("")
    table.add_column("files", justify="right")
    table.add_column("")
    for verdict in ("fake", "inconclusive", "real"):
        if count := found.by_verdict.get(verdict, 0):
            table.add_row(verdict, str(count), "", style=STYLES[verdict])
    for status in ("skipped", "failed"):
        if count := found.by_status.get(status, 0):
            table.add_row(status, str(count), "")
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(found.by_reason.items()))
    if found.files:
        console.print(table)
    else:
        why = _why_none(found, run["arguments"])
        prose(console, f"scan {scan}: no file was scanned: {why}")
    if reasons:
        prose(console, f"reasons: {reasons}")
    if tally.closed_archives:
        prose(console, _closed_archives(tally.closed_archives, found.by_reason["not_an_image"]))
    if found.files and found.left_out:
        prose(console, f"left out by --include and --exclude: {found.left_out}")
    reused = [
        f"{status} {found.by_status[status]}"
        for status in ("cached", "duplicate")
        if status in found.by_status
    ]
    if found.files <= FEW:
        for result in tally.first:
            line = for_terminal(_in_a_line(result)) + _why(result)
            console.print(line, style=_style(result))
    else:
        _failures(tally, scan, console)
    if reused:
        prose(console, f"not embedded again: {', '.join(reused)}")
    prose(
        console, f"gallery {gallery.name}: {gallery.reals} real and {gallery.fakes} fake references"
    )
    for sentence in limits_in_words(run["judging"], run.get("views")):
        prose(console, sentence, "dim")
    if worst:
        _most_suspicious(worst, to_stderr)


def _closed_archives(count: int, no_images: int) -> str:
    """How many of the files that are no images can be opened, and with what."""
    what = "is an archive or mail" if count == 1 else "are archives or mail"
    return f"of {no_images} not_an_image {count} {what}: code-scan --archives scans what they hold"


def _failures(tally: Tally, scan: int, console: Console) -> None:
    """Name the first files that failed, and say where the others are."""
    for result in tally.failed:
        console.print(f"failed: {for_terminal(result.path)}{_why(result)}")
    more = tally.summary.by_status.get(Status.FAILED, 0) - len(tally.failed)
    if more:
        prose(
            console,
            f"and {more} more failed: code-report export {scan} --csv -"
            f"; one of them: code-report show {scan} FILE",
        )


def _why_none(found: Summary, arguments: Mapping[str, Any]) -> str:
    """Why a scan met no file at all, by what it was asked."""
    globs = [f"--{name}" for name in ("include", "exclude") if arguments.get(name)]
    asked = f"{' and '.join(globs)} (case counts)"
    if found.left_out:
        return f"{found.left_out} left out by {asked}"
    if arguments.get("shard"):
        return f"none belongs to part {arguments['shard']}"
    if globs:
        return f"there is none but for what {asked} leave out"
    if not arguments.get("recurse", True):
        return "there is none outside of sub-directories, where --no-recurse does not look"
    return "the folder holds no file" if len(arguments["paths"]) == 1 else "there is none"


def _most_suspicious(worst: Sequence[FileResult], to_stderr: bool) -> None:
    console = stderr() if to_stderr else stdout()
    whole = console.width >= WIDE  # else there is no room but for what they are, and which
    table = Table(title="most suspicious", title_justify="left", box=None)
    table.add_column("verdict")
    table.add_column("p_fake", justify="right")
    table.add_column("score", justify="right")
    by_classifier = any(result.classifier_score is not None for result in worst)
    if by_classifier:  # what they are ordered by
        table.add_column("classifier", justify="right")
    if whole:
        table.add_column("attribution")
        table.add_column("nearest")
    table.add_column("file", overflow="fold")
    for result in worst:
        named, nearest = result.attribution or "", result.neighbour or ""
        table.add_row(
            str(result.verdict),
            "" if result.p_fake is None else f"{result.p_fake:.3f}",
            _signed(result.score),
            *([_signed(result.classifier_score)] if by_classifier else []),
            *((for_terminal(named, 30), for_terminal(nearest, 40)) if whole else ()),
            for_terminal(result.path),
        )
    console.print(table)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


STYLES = {"fake": "bold red", "inconclusive": "yellow", "real": "green"}


def interrupted(
    found: Summary, scan: int, then: str = "run the same command again to go on"
) -> None:
    """Print what an interruption has kept, and what to do then."""
    done = counted(found.files, "file is", "files are")
    say(f"interrupted: {done} done and kept as scan {scan}; {then}", "yellow")


def precision(name: str, audit: "Audit", to_stderr: bool) -> None:
    """Print what reduced precision rests on, and whether that has held."""
    console = stderr() if to_stderr else stdout()
    prose(
        console,
        f"{name}: what cosines off by {audit.width:.4f} could turn was embedded again in float32;"
        f" {audit.images} images audited, largest error {audit.largest:.4f}",
        "dim",
    )
    if not audit.held:
        prose(
            console,
            f"An audited error left the measured band of {audit.band.width:.4f}: answers from"
            " before it was widened may not be float32's. Scan again with --precision float32.",
            "bold red",
        )


def stage_times(times: StageTimes, to_stderr: bool) -> None:
    """Print the seconds of each stage."""
    console = stderr() if to_stderr else stdout()
    table = Table(title="stages", title_justify="left", box=None)
    table.add_column("")
    table.add_column("seconds", justify="right")
    rows: Mapping[str, float] = {
        "read and hash": times.read,
        "decode": times.decode,
        "load the encoder": times.load,
        "embed": times.embed,
        "search and judge": times.search,
        "record": times.record,
        "waiting for the pool": times.wait,
    }
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.2f}")
    console.print(table)
    prose(console, f"decoded {times.decoded}, embedded {times.embedded}; summed over threads")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout, every cell inert."""
    drawn = Table(title=title, title_justify="left", box=None)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(for_terminal(str(cell)) for cell in row))
    stdout().print(drawn)


def table_width(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    """Columns of a terminal that :func:`table` needs so that no cell is folded."""
    cells = [[for_terminal(str(cell)) for cell in row] for row in (columns, *rows)]
    return sum(max(map(cell_len, column)) + 2 for column in zip(*cells, strict=True))
