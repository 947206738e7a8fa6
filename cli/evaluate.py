"""``code-index evaluate``: how good a gallery's verdicts are on labelled images."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.evaluation.layout import Layout
from ..engine.interrupt import interruptible
from . import judging
from . import options as opt
from .running import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..engine.decoding.views import ViewPlan
    from ..engine.evaluation.full import FullEvaluation
    from ..engine.evaluation.gather import Gallery
    from ..engine.evaluation.labelled import LabelledFiles
    from ..engine.files.discover import WalkOptions
    from ..engine.judging.judge import Judge
    from ..engine.pipeline.options import PipelineOptions
    from ..engine.results import FileResult
    from ..index.gallery_records import GalleryInfo
    from ..index.workspace import Workspace
    from .encoders import EncoderChoice

PANEL = "Evaluation"


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(
        epilog="Example: [bold]code-index evaluate desk ./labelled --json result.json"
        " --plots plots[/]"
    )(evaluate)


def evaluate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The gallery.")],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR", help="Labelled folders.", parser=opt.named_path),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="How the folders are labelled: real/ fake/[generator/]; 0_real/ 1_fake/;"
            " nature/ ai/; or augm|no_augm/ with real/ gen_0/ ... gen_3/.",
            rich_help_panel=PANEL,
        ),
    ] = Layout.AUTO,
    csv_labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Labels instead of a layout: CSV of path,label[,generator,source]; paths are"
            " relative to DIR, or to the file.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write JSON.", rich_help_panel=PANEL),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=opt.named_path,
            help="Write ROC, DET, Tippett and reliability plots, PNG and SVG.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Of the bootstrap; 0: no intervals.", rich_help_panel=PANEL
        ),
    ] = 1000,
    keep_gallery: Annotated[
        bool,
        typer.Option(
            "--keep-gallery", help="Count images that the gallery holds.", rich_help_panel=PANEL
        ),
    ] = False,
    k: judging.K = None,
    target_fpr: judging.TargetFpr = 0.01,
    target_fnr: judging.TargetFnr = 0.01,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.ExactPrecision = opt.PrecisionChoice.AUTO,
    crops: judging.CropsOption = None,
    workers: opt.Workers = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Evaluate a gallery on labelled images, none of which it should hold.

    The images are scanned as by code-scan, and that scan stays on record. Intervals are 95 %, of
    a bootstrap over sources. Images that the gallery holds are left out, and counted.
    """
    from ..engine.decoding.layout import Crops
    from ..engine.decoding.views import ViewPlan
    from ..engine.errors import InputError
    from ..engine.evaluation.full import evaluate_fully
    from ..engine.evaluation.gather import gather
    from ..engine.evaluation.labelled import find_labelled, read_labels
    from ..engine.evaluation.plots import make_folder, require_matplotlib, write_plots
    from ..engine.evaluation.targets import TARGETS
    from ..engine.files.discover import WalkOptions
    from ..engine.pipeline.options import PipelineOptions
    from ..index.workspace import default_folder
    from . import outputs
    from .console import say
    from .encoders import EncoderChoice
    from .evaluation_tables import show, warn
    from .session import assessment_of_gallery, judge_of_gallery
    from .starter import gallery_named, workspace_of

    if csv_labels is not None and layout not in (Layout.AUTO, Layout.CSV):
        raise InputError(f"--layout {layout} and --csv-labels exclude each other", "give one")
    if plots is not None:
        require_matplotlib()
        make_folder(plots)
    outputs.check_targets([json_file] if json_file else [])
    labelled = (
        find_labelled(folders or [], layout)
        if csv_labels is None
        else read_labels(csv_labels, _base(folders or []))
    )
    folder = workspace or default_folder()
    written = [path for path in (json_file, plots) if path is not None and path != outputs.STDOUT]
    options = WalkOptions(omit=(folder, *written))
    with workspace_of(folder, name) as space, space.guarded():
        info = gallery_named(space, name)
        judge = judge_of_gallery(space, info, judging.judge_options(k, target_fpr, target_fnr, 0.5))
        asked = [str(path) for path in (csv_labels, *(folders or [])) if path is not None]
        choice = EncoderChoice(weights, device, precision)
        plan = ViewPlan(crops or Crops(space.crops_of_gallery(info.name)))
        pipeline = PipelineOptions(workers).looking_at(plan)
        scan, results = _scan(space, info, judge, choice, labelled, options, asked, pipeline, quiet)
        gathered = gather(results, labelled.truth, _gallery(space, info), keep_gallery=keep_gallery)
        full = evaluate_fully(
            gathered,
            assessment_of_gallery(space, info, judge.k),
            labelled.layout,
            targets=sorted({*TARGETS, target_fpr}),
            target_fnr=target_fnr,
            resamples=resamples,
        )
    if json_file != outputs.STDOUT:
        show(full, scan)
    warn(full)
    if json_file is not None:
        with outputs.whole(json_file) as stream:
            json.dump(_document(full, info, judge, plan, scan), stream, indent=2, allow_nan=False)
            stream.write("\n")
        outputs.say_written([json_file])
    if plots is not None:
        write_plots(gathered.outcomes, plots)
        say(f"plots are in {plots}")


def _base(folders: Sequence[Path]) -> Path | None:
    from ..engine.errors import InputError

    if len(folders) > 1:
        raise InputError(
            "--csv-labels takes one folder at most", "name the one that its paths are relative to"
        )
    return folders[0] if folders else None


def _gallery(space: "Workspace", info: "GalleryInfo") -> "Gallery":
    from ..engine.evaluation.gather import Gallery

    references = [reference for reference, _ in space.galleries.references(info)]
    return Gallery(
        frozenset(r.sha256 for r in references if r.sha256),
        frozenset(r.source for r in references if r.source),
    )


def _scan(
    space: "Workspace",
    info: "GalleryInfo",
    judge: "Judge",
    choice: "EncoderChoice",
    labelled: "LabelledFiles",
    options: "WalkOptions",
    paths: list[str],
    pipeline: "PipelineOptions",
    quiet: bool,
) -> "tuple[int, list[FileResult]]":
    """Scan the labelled files as code-scan would; gives the scan's number and its rows."""
    from ..engine.arguments import directory
    from ..engine.decoding.decode import PREPROCESSING
    from ..engine.report.tally import Tally
    from ..engine.run import run_record
    from ..engine.scan import ScanOptions, scan
    from . import render
    from .encoders import embedder_of_gallery
    from .progress import meter
    from .session import identity_of

    embedder = embedder_of_gallery(space, info, choice)
    arguments = {
        "command": "code-index evaluate",
        "paths": paths,
        "directory": directory(),
        "layout": str(labelled.layout),
    }
    opened = space.galleries.open(info)
    plan = pipeline.decode.views
    record = run_record(arguments, identity_of(opened), embedder, PREPROCESSING, judge, plan)
    recorder = space.recorder(info, record, None, plan.id)
    tally, results, state = Tally(), [], "failed"
    with ExitStack() as stack:
        stopped = stack.enter_context(interruptible())
        progress = stack.enter_context(meter("evaluating", [labelled.walk(options)], quiet))
        try:
            for result in scan(
                labelled.walk(options),
                opened,
                judge,
                recorder,
                embedder,
                ScanOptions(pipeline=pipeline),
                stop=stopped,
            ):
                tally.add(result)
                results.append(result)
                progress.advance(render.counts(tally.summary))
            state = "interrupted" if stopped() else "finished"
        finally:
            recorder.finish(state, tally.as_dict())
    if state == "interrupted":
        render.interrupted(tally.summary, recorder.key)
        raise typer.Exit(EXIT_INTERRUPTED)
    return recorder.key, results


def _document(
    full: "FullEvaluation", info: "GalleryInfo", judge: "Judge", plan: "ViewPlan", scan: int
) -> dict[str, Any]:
    from ..engine.run import package_versions

    return {
        "gallery": {
            "name": info.name,
            "sha256": info.sha256,
            "reals": info.reals,
            "fakes": info.fakes,
            "encoder_sha256": info.encoder_sha256,
        },
        "judging": judge.record(),
        "views": plan.record(),
        "packages": package_versions(),
        "scan": scan,
        **full.as_dict(),
    }
