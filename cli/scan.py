"""``code-scan``: scan files and directories for AI-generated images."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..engine.results import Status, Summary
from . import formats, judging, outputs
from . import options as opt
from .console import working
from .help import arrange
from .running import EXIT_MATCHED, run

app = typer.Typer(add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

SETTLE = 2.0
"""Default of ``--settle``, in seconds."""


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
    "[bold]code-scan ./photos --jsonl - | jq .verdict[/]   "
    "[bold]code-scan --watch ./incoming --jsonl log.jsonl[/]"
)
def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Files and directories; s3://, gs://, http:// and https:// addresses of files,"
            " and of all below s3://BUCKET/PREFIX/ (extra remote).",
        ),
    ] = None,
    lists: opt.Lists = None,
    gallery: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Compare with this gallery; default: the workspace's default, its only own one,"
            " the pulled one, or the embedded starter.",
            rich_help_panel="Judging",
        ),
    ] = None,
    k: judging.K = None,
    target_fpr: judging.TargetFpr = 0.01,
    target_fnr: judging.TargetFnr = 0.01,
    prior: judging.Prior = 0.5,
    classifier: judging.ClassifierOption = judging.Classifier.KNN,
    exact_search: judging.ExactSearch = False,
    crops: judging.CropsOption = None,
    probe: judging.Probe = False,
    csv: formats.Csv = None,
    json_file: formats.Json = None,
    html: formats.Html = None,
    no_thumbnails: formats.NoThumbnails = False,
    thumbnail_mb: formats.ThumbnailMb = None,
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
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="A line for each file.", rich_help_panel="Reports"),
    ] = False,
    stats: Annotated[
        bool, typer.Option(help="Show the time of each stage.", rich_help_panel="Reports")
    ] = False,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    no_recurse: opt.NoRecurse = False,
    follow_symlinks: opt.FollowSymlinks = False,
    shard: opt.Shard = None,
    max_pixels: opt.MaxPixels = opt.MAX_PIXELS,
    max_bytes: opt.MaxBytes = opt.MAX_BYTES,
    decode_timeout: opt.DecodeTimeout = opt.DECODE_TIMEOUT,
    isolate: opt.Isolate = opt.IsolationChoice.AUTO,
    archives: opt.Archives = False,
    archive_limits: opt.ArchiveBounds = "",
    frames: opt.Frames = opt.FramesChoice.FIRST,
    max_frames: opt.MaxFrames = None,
    provenance: opt.Provenance = True,
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
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on with what arrives, one JSON line each (--jsonl FILE, else stdout), until"
            " Ctrl-C (extra watch).",
            rich_help_panel="Watching",
        ),
    ] = False,
    settle: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0.0,
            callback=opt.finite,
            help="Seconds for which a file has to stay unchanged before it is read, with --watch;"
            f" default: {SETTLE:g}.",
            rich_help_panel="Watching",
        ),
    ] = None,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.Precision = opt.PrecisionChoice.AUTO,
    workers: opt.SharedWorkers = 0,
    processes: opt.Processes = 0,
    ray: opt.Ray = "",
    ray_workers: opt.RayWorkers = "",
    ray_gpus: opt.RayGpus = 0.0,
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
    _version: opt.Version = False,
) -> None:
    """Scan images and say which look generated.

    Every file under the paths gets one row: a verdict, or the reason why there is none. Results
    are kept in the workspace as they come; run the same command again to go on after an
    interruption. Nothing under the paths is ever written to, but for reports that you name there.
    """
    wanted = _fail_on(fail_on)
    every_frame = frames is opt.FramesChoice.ALL
    opt.require("--max-frames", max_frames, "--frames all", every_frame)
    opt.require("--settle", settle, "--watch", watch)
    with working("starting", quiet):
        from ..engine.archives.limits import ArchiveLimits
        from ..engine.arguments import Case
        from ..engine.decoding.decode import DecodeOptions, Isolation
        from ..engine.errors import InputError
        from ..engine.files.addresses import fault, is_address
        from ..engine.files.discover import WalkOptions
        from ..engine.files.lists import read_list
        from ..engine.files.shard import Shard
        from ..engine.pipeline.options import PipelineOptions
        from ..index.content_records import Recall
        from ..index.workspace import default_folder
        from .clusters import helpers, ray_options
        from .encoders import EncoderChoice
        from .scanning import ScanRequest, Showing, perform

    if "" in (paths or ()):
        raise InputError("a PATH is empty", "for this directory write .")
    if not paths and not lists:
        raise InputError(
            "no PATH is given", "name files or directories, or --list FILE; see code-scan --help"
        )
    request = ScanRequest(
        paths=tuple(
            path if is_address(path) or fault(path) else str(Path(path)) for path in paths or ()
        ),
        lists=tuple(map(read_list, lists or ())),
        workspace=workspace or default_folder(),
        encoder=EncoderChoice(weights, device, precision),
        gallery=gallery,
        walking=WalkOptions(
            recurse=not no_recurse,
            follow_symlinks=follow_symlinks,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            shard=Shard.parse(shard) if shard else None,
        ),
        judging=judging.judge_options(k, target_fpr, target_fnr, prior),
        classifier=classifier,
        exact_search=exact_search,
        crops=crops,
        probe=probe,
        pipeline=PipelineOptions(
            workers,
            decode=DecodeOptions(max_pixels, max_bytes, decode_timeout, Isolation(isolate.value)),
            archives=ArchiveLimits.parse(archive_limits) if archives or archive_limits else None,
            frames=(max_frames or opt.MAX_FRAMES) if every_frame else 1,
            provenance=provenance,
        ),
        recall=Recall(rehash, retry_failed, reembed),
        helpers=helpers(processes, device, ray_options(ray, ray_workers, ray_gpus, device)),
        case=Case(case, examiner, note),
        reports=formats.Wanted(
            csv, json_file, html, thumbnails=not no_thumbnails, thumbnail_mb=thumbnail_mb
        ),
        lines=jsonl or (outputs.STDOUT if watch else None),
        watch=(SETTLE if settle is None else settle) if watch else None,
        showing=Showing(quiet, verbose, stats),
    )
    summary = perform(request)
    if any(what.matches(summary) for what in wanted):
        raise typer.Exit(EXIT_MATCHED)


arrange(app)


def main() -> None:
    """Entry point of ``code-scan``."""
    run(app)
