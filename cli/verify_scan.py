"""``code-report verify``: do a scan on record again and say which verdicts come out the same."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.interrupt import interruptible
from . import options as opt
from .running import EXIT_INTERRUPTED, EXIT_MATCHED

if TYPE_CHECKING:
    from ..engine.reproduce import Reproduction
    from ..engine.results import FileResult
    from ..index.scans import ScanInfo
    from ..index.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command to ``code-report``."""
    app.command(epilog="Example: [bold]code-report verify latest --sample 100[/]")(verify)


def verify(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
    ],
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only so many files, drawn at random; default: all."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Of the draw, with --sample; default: 0."),
    ] = None,
    jsonl: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a JSON object a row while it runs; - is stdout."),
    ] = None,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    workers: opt.Workers = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Read, decode, embed and judge the files of a scan again, as if nothing were known.

    The gallery is taken in the state in which the scan met it. Each row is then reproduced (every
    figure bit for bit), agrees (the same answer, figures within the tolerance of another
    platform, or within the band of reduced precision, for this is always float32; a copy within
    it of its bound may withhold the verdict or not), or differs; or its file has changed or is
    gone; or it is unread: the scan did not read the file either (an empty one, a special one, one
    beyond a bound), so that there is nothing to reproduce. Rows that were purged are counted, not
    looked for. Exits with 1 if any row differs, has changed or is gone, or if the rows on record
    are not those that the scan wrote.
    """
    from ..engine.reproduce import Outcome
    from ..index.workspace import Workspace
    from . import outputs, render
    from .console import counted, say
    from .progress import meter

    opt.require("--seed", seed, "--sample N", sample is not None)
    outputs.check_targets([jsonl] if jsonl else [])
    with ExitStack() as stack:
        space = stack.enter_context(Workspace.existing(workspace))
        stack.enter_context(space.guarded())
        info = space.scans.info(scan)
        intact = _check_digest(space, info)
        chosen = _chosen(space, info, sample, seed or 0)
        stopped = stack.enter_context(interruptible())
        lines = stack.enter_context(outputs.Lines(jsonl)) if jsonl else None
        progress = stack.enter_context(meter("verifying", [], quiet))
        found: Counter[Outcome] = Counter()
        odd: list[Reproduction] = []
        for one in _reproduce(space, info, chosen, weights, device, workers, stopped):
            found[one.outcome] += 1
            if lines is not None:
                lines.write(json.dumps(_line(one)) + "\n")
            if one.outcome not in (Outcome.REPRODUCED, Outcome.UNREAD, Outcome.AGREES):
                odd.append(one)
            progress.advance(" ".join(f"{outcome} {n}" for outcome, n in found.items()))
        if stopped():
            say("interrupted", "yellow")
            raise typer.Exit(EXIT_INTERRUPTED)
    if jsonl != outputs.STDOUT:
        if odd:
            render.table(
                "not the same", ("outcome", "verdict", "what differs", "file"), [*map(_row, odd)]
            )
        counts = [(str(outcome), found[outcome]) for outcome in Outcome if found[outcome]]
        render.table(
            f"scan {info.key}: {counted(found.total(), 'row')} verified", ("", "rows"), counts
        )
    if not intact or any(found[o] for o in (Outcome.DIFFERS, Outcome.CHANGED, Outcome.GONE)):
        raise typer.Exit(EXIT_MATCHED)


def _check_digest(space: "Workspace", info: "ScanInfo") -> bool:
    """Whether the rows on record are those that the scan wrote, as far as it can be told.

    Where rows were purged since, those that are left are looked at; the run record keeps whether
    all were right before.
    """
    from ..engine.report.purges import purges_in_words
    from ..engine.report.tally import ResultsDigest
    from ..engine.results import FileResult
    from .console import say

    purges = info.run.get("purged", ())
    intact = all(purge["intact"] is not False for purge in purges)
    for phrase in purges_in_words(info.run):
        say(f"note: {phrase}", "yellow" if intact else "bold red")
    stated = (info.summary or {}).get("results_sha256")
    if stated is None:
        say(f"scan {info.key} ended without a digest of its rows: they cannot be checked", "yellow")
        return intact
    digest = ResultsDigest()
    for row in space.scans.rows(info):
        digest.add(FileResult.from_row(row))
    written = f"the last purge left of scan {info.key}" if purges else f"scan {info.key} wrote"
    if digest.hexdigest() == stated:
        say(f"the rows on record are those that {written} ({stated[:12]})")
        return intact
    say(f"the rows on record are NOT those that {written} ({stated[:12]})", "bold red")
    return False


def _chosen(
    space: "Workspace", info: "ScanInfo", sample: int | None, seed: int
) -> "Iterator[FileResult]":
    """The rows to look at, in order."""
    from ..engine.results import FileResult

    rows: Iterable[Mapping[str, Any]] = space.scans.rows(info)
    if sample is not None:
        count = space.scans.count(info)
        wanted = set(random.Random(seed).sample(range(count), min(sample, count)))  # noqa: S311
        rows = (row for position, row in enumerate(rows) if position in wanted)
    return map(FileResult.from_row, rows)


def _reproduce(
    space: "Workspace",
    info: "ScanInfo",
    rows: "Iterator[FileResult]",
    weights: str | None,
    device: opt.DeviceChoice,
    workers: int,
    stopped: Any,
) -> "Iterator[Reproduction]":
    """Set everything up as it was for the scan, and say what is not."""
    from ..engine.arguments import located, pipeline_of
    from ..engine.embedding.precision import PrecisionBand
    from ..engine.errors import InputError
    from ..engine.judging.judge import JudgeOptions
    from ..engine.judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY
    from ..engine.judging.scores import SCORE
    from ..engine.reproduce import reproduce
    from ..engine.run import environment, environment_changes
    from ..engine.scan import ScanOptions
    from .console import say
    from .encoders import EncoderChoice, embedder_of_gallery
    from .session import head_of_record, judge_of_gallery

    if info.gallery_key is None or info.generation is None:
        raise InputError(f"the gallery of scan {info.key} was purged", "")
    gallery = space.galleries.info_at(info.gallery_key, info.generation)
    if gallery.sha256 != info.run["gallery"]["sha256"]:
        say(f"gallery {gallery.name} is not what it was when scan {info.key} ran", "bold red")
    embedder = embedder_of_gallery(
        space, gallery, EncoderChoice(weights, device, opt.PrecisionChoice.FLOAT32)
    )
    judging = info.run["judging"]
    if judging.get("score") != SCORE:
        raise InputError(
            f"scan {info.key} was judged by another score ({judging.get('score', 'margin')})",
            f"judge it again by this version's, then verify that:"
            f" code-report rejudge {info.key} --gallery {gallery.name}",
        )
    if judging.get("copy_similarity") != NEAR_DUPLICATE_SIMILARITY:
        say(
            f"when scan {info.key} ran a copy of the other class withheld no verdict: rows that are"
            " contradicts_copy now differ",
            "yellow",
        )
    head = head_of_record(space, judging)
    judge = judge_of_gallery(space, gallery, JudgeOptions.of(judging), head)
    for name, before, now in environment_changes(info.run, environment(embedder)):
        say(f"{name} was {before} then and is {now} now", "yellow")
    searched = info.run["gallery"].get("search", {})
    exact = bool(searched) and all(way["kind"] == "exact" for way in searched.values())
    opened = space.galleries.open(gallery, exact)
    options = ScanOptions(pipeline=pipeline_of(info.run, workers))
    measured = info.run.get("precision_bands", {})
    bands = {precision: PrecisionBand.of(band).width for precision, band in measured.items()}
    return reproduce(
        rows,
        opened,
        judge,
        embedder,
        options,
        bands=bands,
        stop=stopped,
        where=partial(located, run=info.run),
    )


def _line(one: "Reproduction") -> dict[str, object]:
    from ..engine.inert import for_json

    return {
        "path": for_json(one.before.path),
        "outcome": str(one.outcome),
        "differs": list(one.fields),
        "verdict": [one.before.verdict, one.after and one.after.verdict],
        "score": [one.before.score, one.after and one.after.score],
        "reason": [one.before.reason, one.after and one.after.reason],
    }


def _row(one: "Reproduction") -> tuple[str, str, str, str]:
    before, after = one.before, one.after
    now = (after.verdict or after.reason or after.status) if after else "-"
    answers = f"{before.verdict or before.reason or before.status} -> {now}"
    return str(one.outcome), answers, ", ".join(one.fields), before.path
