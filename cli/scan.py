"""``code-scan``: scan files and directories for AI-generated images."""

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..engine.decoding.layout import Layout
from ..engine.results import Status, Summary
from . import formats, judging
from . import options as opt
from .running import EXIT_INTERRUPTED, EXIT_MATCHED, interruptible, run

app = typer.Typer(add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


class FailOn(StrEnum):
    """What ``--fail-on`` can name."""

    FAKE = "fake"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    def matches(self, summary: Summary) -> bool:
        """Whether a scan with these counts fails."""
        if self is FailOn.ERROR:
            return summary.by_status.get(Status.FAILED, 0) > 0
        return summary.by_verdict.get(self.value, 0) > 0


def _fail_on(text: str) -> list[FailOn]:
    try:
        return [FailOn(word.strip()) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a list of {', '.join(FailOn)}, separated by commas"
        ) from error


@app.command(
    epilog="Examples: [bold]code-scan ./photos[/]   "
    "[bold]code-scan ./photos --csv report.csv --fail-on fake[/]   "
    "[bold]code-scan ./photos --jsonl - | jq .verdict[/]"
)
def scan(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, directories.")],
    gallery: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Compare with this gallery; default: the workspace's default, or its only one.",
            rich_help_panel="Judging",
        ),
    ] = None,
    k: judging.K = 1,
    target_fpr: judging.TargetFpr = 0.01,
    target_fnr: judging.TargetFnr = 0.01,
    prior: judging.Prior = 0.5,
    crops: judging.Crops = Layout.CENTER,
    probe: judging.Probe = False,
    csv: formats.Csv = None,
    json_file: formats.Json = None,
    html: formats.Html = None,
    no_thumbnails: formats.NoThumbnails = False,
    jsonl: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write JSON lines while it runs.", rich_help_panel="Reports"
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="WHAT,...",
            help="Exit with 1 if there is any of: fake, inconclusive, error.",
            rich_help_panel="Reports",
        ),
    ] = "",
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="No progress, no summary.", rich_help_panel="Reports"),
    ] = False,
    stats: Annotated[
        bool, typer.Option(help="Show the time of each stage.", rich_help_panel="Reports")
    ] = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    no_recurse: opt.NoRecurse = False,
    follow_symlinks: opt.FollowSymlinks = False,
    max_pixels: opt.MaxPixels = opt.MAX_PIXELS,
    max_bytes: opt.MaxBytes = opt.MAX_BYTES,
    decode_timeout: opt.DecodeTimeout = opt.DECODE_TIMEOUT,
    rehash: Annotated[
        bool,
        typer.Option(help="Read files again even if they look unchanged.", rich_help_panel="Files"),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(help="Try files again that failed before.", rich_help_panel="Files"),
    ] = False,
    reembed: Annotated[
        bool,
        typer.Option(help="Embed again what is embedded.", rich_help_panel="Files"),
    ] = False,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.Precision = opt.PrecisionChoice.AUTO,
    workers: opt.Workers = 0,
    workspace: opt.Workspace = None,
    case: Annotated[
        str, typer.Option(metavar="ID", help="Case number.", rich_help_panel="Case")
    ] = "",
    examiner: Annotated[
        str, typer.Option(metavar="NAME", help="Who scans.", rich_help_panel="Case")
    ] = "",
    note: Annotated[
        str, typer.Option(metavar="TEXT", help="Kept with the scan.", rich_help_panel="Case")
    ] = "",
) -> None:
    """Scan images and say which look generated.

    Every file under the paths gets one row: a verdict, or the reason why there is none. Results
    are kept in the workspace as they come; run the same command again to go on after an
    interruption. Nothing under the paths is ever written to.
    """
    wanted = _fail_on(fail_on)
    from ..engine.decoding.decode import PREPROCESSING, DecodeOptions
    from ..engine.decoding.views import ViewPlan
    from ..engine.discover import WalkOptions, walk
    from ..engine.pipeline import PipelineOptions, StageTimes
    from ..engine.report.as_json import jsonl_line
    from ..engine.report.tally import Tally
    from ..engine.run import GalleryIdentity, run_record
    from ..engine.scan import ScanOptions
    from ..engine.scan import scan as run_scan
    from ..index.contents import Recall
    from ..index.workspace import Workspace, default_folder
    from . import outputs, render
    from .progress import meter
    from .session import EncoderChoice, embedder_of_gallery, judge_of_gallery

    reports = formats.Wanted(csv, json_file, html, thumbnails=not no_thumbnails)
    targets = [*reports.targets, *([jsonl] if jsonl else [])]
    outputs.check_targets(targets)
    folder = workspace or default_folder()
    walk_options = WalkOptions(
        recurse=not no_recurse,
        follow_symlinks=follow_symlinks,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        omit=(folder, *(target for target in targets if target != outputs.STDOUT)),
    )
    files = walk(paths, walk_options)
    with ExitStack() as stack:
        space = stack.enter_context(Workspace(folder))
        stack.enter_context(space.guarded())
        info = space.choose_gallery(gallery)
        choice = EncoderChoice(weights, device, precision)
        embedder = embedder_of_gallery(space, info, choice)
        arguments = {
            "paths": [str(path) for path in paths],
            "recurse": not no_recurse,
            "follow_symlinks": follow_symlinks,
            "include": include or [],
            "exclude": exclude or [],
            "max_pixels": max_pixels,
            "max_bytes": max_bytes,
            "decode_timeout": decode_timeout,
            "case": case,
            "examiner": examiner,
            "note": note,
        }
        identity = GalleryIdentity(info.name, info.sha256, info.generation, info.reals, info.fakes)
        judge = judge_of_gallery(
            space, info, judging.judge_options(k, target_fpr, target_fnr, prior)
        )
        plan = ViewPlan(crops, probe)
        decoding = DecodeOptions(max_pixels, max_bytes, decode_timeout, views=plan)
        record = run_record(arguments, identity, embedder, PREPROCESSING, judge, plan)
        recorder = space.recorder(info, record, Recall(rehash, retry_failed, reembed), plan.id)
        tally, times = Tally(), StageTimes()
        lines = stack.enter_context(outputs.growing(jsonl)) if jsonl else None
        stopped = stack.enter_context(interruptible())
        state = "failed"
        try:
            with meter("scanning", [walk(paths, walk_options)], quiet) as progress:
                for result in run_scan(
                    files,
                    space.galleries.open(info.name),
                    judge,
                    recorder,
                    embedder,
                    ScanOptions(pipeline=PipelineOptions(workers, decode=decoding)),
                    times,
                    stopped,
                ):
                    tally.add(result)
                    if lines is not None:
                        lines.write(jsonl_line(result))
                    progress.advance(render.counts(tally.summary))
            state = "interrupted" if stopped() else "finished"
        finally:
            tally.summary.left_out = files.left_out
            recorder.finish(state, tally.as_dict())
        scan_info = space.scans.info(str(recorder.key))
        if state == "interrupted":
            render.interrupted(tally.summary, recorder.key)
            raise typer.Exit(EXIT_INTERRUPTED)
        for target, write in reports.writers(space, stack):
            with outputs.whole(target) as stream:
                write(render.report(space.scans, scan_info), stream)
    if not quiet:
        to_stderr = outputs.STDOUT in targets
        render.summary(tally, info, recorder.key, record["judging"], to_stderr)
        if stats:
            render.stage_times(times, to_stderr)
    if any(what.matches(tally.summary) for what in wanted):
        raise typer.Exit(EXIT_MATCHED)


def main() -> None:
    """Entry point of ``code-scan``."""
    run(app)
