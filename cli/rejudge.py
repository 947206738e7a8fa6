"""``code-report rejudge``: judge a scan on record by another gallery or other thresholds."""

from contextlib import ExitStack
from typing import Annotated

import typer

from . import judging
from . import options as opt
from .running import EXIT_INTERRUPTED, interruptible


def register(app: typer.Typer) -> None:
    """Add the command to ``code-report``."""
    app.command(epilog="Example: [bold]code-report rejudge latest --gallery other[/]")(rejudge)


def rejudge(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
    ],
    gallery: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare with this gallery; default: as code-scan."),
    ] = None,
    k: judging.K = None,
    target_fpr: judging.TargetFpr = 0.01,
    target_fnr: judging.TargetFnr = 0.01,
    prior: judging.Prior = 0.5,
    classifier: judging.ClassifierOption = judging.Classifier.KNN,
    exact_search: judging.ExactSearch = False,
    workspace: opt.Workspace = None,
) -> None:
    """Judge a scan again from the vectors that the workspace keeps: no image is opened.

    The result is a scan of its own; the earlier one stays as it is.
    """
    from ..engine.decoding.views import ViewPlan
    from ..engine.errors import InputError
    from ..engine.rejudge import rejudge as run_rejudge
    from ..engine.report.tally import Tally
    from ..engine.results import FileResult
    from ..engine.run import rejudge_record
    from ..index.contents import ANY_PRECISION, Recall
    from ..index.workspace import Workspace
    from . import render
    from .precision import bands_for_rejudging
    from .session import head_of_gallery, identity_of, judge_of_gallery
    from .starter import chosen_gallery

    with ExitStack() as stack:
        space = stack.enter_context(Workspace.existing(workspace))
        stack.enter_context(space.guarded())
        earlier = space.scans.info(scan)
        info = chosen_gallery(space, gallery)
        if earlier.run["encoder"]["sha256"] != info.encoder_sha256:
            raise InputError(
                f"scan {earlier.key} was embedded by another encoder than gallery {info.name}",
                f"scan the files again with: code-scan PATH... --gallery {info.name}",
            )
        options = judging.judge_options(k, target_fpr, target_fnr, prior)
        judge = judge_of_gallery(space, info, options, head_of_gallery(space, info, classifier))
        opened = space.galleries.open(info, exact_search)
        identity = identity_of(opened)
        bands = bands_for_rejudging(space, info, space.scans.precisions(earlier), judge.k)
        record = rejudge_record(earlier.run, earlier.key, earlier.uuid, identity, judge, bands)
        plan = ViewPlan.of(earlier.run.get("views"))
        recorder = space.recorder(info, record, Recall(precisions=ANY_PRECISION), plan.id)
        tally = Tally()
        stopped = stack.enter_context(interruptible())
        state = "failed"
        try:
            widths = {band.precision: band.width for band in bands}
            rows = map(FileResult.from_row, space.scans.rows(earlier))
            for result in run_rejudge(rows, opened, judge, recorder, plan, widths, stop=stopped):
                tally.add(result)
            # What an interrupted scan left out is missing here too.
            state = "interrupted" if stopped() or earlier.state != "finished" else "finished"
        finally:
            tally.summary.left_out = (earlier.summary or {}).get("left_out", 0)
            recorder.finish(state, tally.as_dict())
    if stopped():
        render.interrupted(tally.summary, recorder.key)
        raise typer.Exit(EXIT_INTERRUPTED)
    render.summary(tally, info, recorder.key, record, False)
