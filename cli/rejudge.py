"""``code-report rejudge``: judge a scan on record by another gallery or other thresholds."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engine.interrupt import interruptible
from . import judging
from . import options as opt
from .running import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..engine.judging.heads import NamedHead
    from ..engine.judging.judge import JudgeOptions
    from ..index.gallery_records import GalleryInfo
    from ..index.scans import ScanInfo
    from ..index.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Add the command to ``code-report``."""
    app.command(epilog="Example: [bold]code-report rejudge latest --gallery other[/]")(rejudge)


def rejudge(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN", help="Its number, the beginning of its id, or latest.")
    ],
    gallery: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Compare with this gallery; default: the scan's, as it is now."
        ),
    ] = None,
    k: judging.KeptK = None,
    target_fpr: judging.KeptTargetFpr = None,
    target_fnr: judging.KeptTargetFnr = None,
    prior: judging.KeptPrior = None,
    classifier: judging.KeptClassifier = None,
    exact_search: judging.KeptExactSearch = None,
    workspace: opt.Workspace = None,
) -> None:
    """Judge a scan again from the vectors that the workspace keeps: no image is opened.

    What no option says is as in that scan; a line tells what differs. A classifier answers for
    every row, but for contradicts_copy: where a reference of the other class practically is the
    picture. The result is a scan of its own; the earlier one stays as it is.
    """
    from ..engine.decoding.views import ViewPlan
    from ..engine.errors import InputError
    from ..engine.rejudge import rejudge as run_rejudge
    from ..engine.report.tally import Tally
    from ..engine.results import FileResult
    from ..engine.run import rejudge_record
    from ..index.content_records import ANY_PRECISION, Recall
    from ..index.workspace import Workspace
    from . import render
    from .console import say
    from .precision import bands_for_rejudging
    from .session import identity_of, judge_of_gallery

    with ExitStack() as stack:
        space = stack.enter_context(Workspace.existing(workspace))
        stack.enter_context(space.guarded())
        earlier = space.scans.info(scan)
        if not space.scans.count(earlier):
            raise InputError(
                f"scan {earlier.key} has no rows to be judged again",
                "see the scans with: code-report list",
            )
        info = _gallery(space, earlier, gallery)
        if earlier.run["encoder"]["sha256"] != info.encoder_sha256:
            raise InputError(
                f"scan {earlier.key} was embedded by another encoder than gallery {info.name}",
                f"scan the files again with: code-scan PATH... --gallery {info.name}",
            )
        options = _options(space, earlier, info, (k, target_fpr, target_fnr, prior))
        judge = judge_of_gallery(space, info, options, _head(space, earlier, info, classifier))
        exact = _was_exact(earlier.run) if exact_search is None else exact_search
        opened = space.galleries.open(info, exact)
        identity = identity_of(opened)
        bands = bands_for_rejudging(space, info, space.scans.precisions(earlier), judge.k)
        record = rejudge_record(earlier.run, earlier.key, earlier.uuid, identity, judge, bands)
        say(_what_differs(earlier.key, earlier.run, record))
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
        anew = "the same command begins with the first file again, as another scan"
        render.interrupted(tally.summary, recorder.key, anew)
        raise typer.Exit(EXIT_INTERRUPTED)
    render.summary(tally, info, recorder.key, record, False)


def _gallery(space: "Workspace", earlier: "ScanInfo", name: str | None) -> "GalleryInfo":
    """The gallery that is named, else that of the scan, as it is now.

    Raises:
        GalleryError: There is none of that name.
        InputError: That of the scan is gone.
    """
    from ..engine.errors import InputError
    from ..index.errors import GalleryError
    from .starter import gallery_named

    if name is not None:
        return gallery_named(space, name)
    own = earlier.run["gallery"]["name"]
    try:
        return gallery_named(space, own)
    except GalleryError as error:
        there = ", ".join(space.galleries.names()) or "none"
        raise InputError(
            f"the gallery {own!r} of scan {earlier.key} is gone (there are: {there})",
            "name another one with --gallery",
        ) from error


def _options(
    space: "Workspace",
    earlier: "ScanInfo",
    gallery: "GalleryInfo",
    asked: tuple[int | None, float | None, float | None, float | None],
) -> "JudgeOptions":
    """How verdicts are reached: as asked (k, both rates, the prior), else as in the scan."""
    from ..engine.judging.judge import JudgeOptions

    k, target_fpr, target_fnr, prior = asked
    said = earlier.run.get("judging")
    usual = JudgeOptions.of(said) if said else JudgeOptions()
    if k is None:
        k, own = earlier.run["k"], earlier.run["gallery"]["name"]
        if gallery.name != own and k == space.k_of_gallery(own):
            k = None
    rates = replace(
        usual.thresholds,
        target_fpr=target_fpr or usual.thresholds.target_fpr,
        target_fnr=target_fnr or usual.thresholds.target_fnr,
    )
    return JudgeOptions(k, prior or usual.prior, rates)


def _head(
    space: "Workspace",
    earlier: "ScanInfo",
    gallery: "GalleryInfo",
    classifier: judging.Classifier | None,
) -> "NamedHead | None":
    from .session import head_of_gallery, head_of_record

    if classifier is None:
        return head_of_record(space, earlier.run.get("judging") or {})
    return head_of_gallery(space, gallery, classifier)


def _was_exact(run: Mapping[str, Any]) -> bool:
    """Whether a scan compared with every reference of a class that is searched in cells else."""
    from ..index.searching import large_class

    gallery = run["gallery"]
    return any(
        way["kind"] == "exact" and gallery[f"{label}s"] > large_class.EXACT
        for label, way in gallery.get("search", {}).items()
    )


def _what_differs(scan: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what the judging of two run records differs, as a sentence."""
    old, new = _judged_by(before), _judged_by(now)
    changes = [
        f"{name} {new[name]} (was {old[name]})"
        for name in new
        if name in old and old[name] != new[name]
    ]
    fitted = [(run.get("judging") or {}).get("thresholds") for run in (before, now)]
    if not changes and fitted[0] != fitted[1]:
        changes = ["thresholds as this version fits them"]
    if not changes:
        return f"judged as scan {scan} was: gallery {new['gallery']}"
    return f"judged as scan {scan} was, but for: {'; '.join(changes)}"


def _judged_by(run: Mapping[str, Any]) -> dict[str, str]:
    """What verdicts rest on, in words; what an older record does not say is missing."""
    gallery, said = run["gallery"], run.get("judging") or {}
    head = said.get("classifier")
    search = gallery.get("search", {})
    words = {
        "gallery": f"{gallery['name']}, generation {gallery['generation']},"
        f" {gallery['sha256'][:12]}",
        "search": ", ".join(f"{label} {way['kind']}" for label, way in search.items()),
        "-k": str(run["k"]),
        "--target-fpr": str(said.get("target_fpr", "")),
        "--target-fnr": str(said.get("target_fnr", "")),
        "--prior": str(said.get("prior", "")),
        "novelty rate": str(said.get("novelty_rate", "")),
        "exchangeable with": str((said.get("thresholds") or {}).get("exchangeable", "")),
        "score": said.get("score", "margin"),  # the first one, which had no name
        "a copy withholds a verdict from cosine": str(said.get("copy_similarity", "never")),
        "--classifier": f"{head['kind']}, {head['sha256'][:12]}" if head else "knn",
    }
    return {name: text for name, text in words.items() if text}
