"""A scan from its request to its reports: set up, run, recorded, written, summed up."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from ..engine.arguments import Case, scan_arguments
from ..engine.cluster.on_processes import Processes, ProcessOptions
from ..engine.cluster.on_ray import RayCluster, RayOptions
from ..engine.contracts import Gallery
from ..engine.decoding.decode import PREPROCESSING
from ..engine.decoding.layout import Crops
from ..engine.decoding.views import ViewPlan
from ..engine.embedding.contracts import KnownEncoder
from ..engine.errors import InputError
from ..engine.files.discover import Walk, WalkOptions, walk
from ..engine.files.found import FoundFile
from ..engine.files.lists import FileList
from ..engine.interrupt import interruptible
from ..engine.isolation.decoders import Decoders
from ..engine.judging.judge import Judge, JudgeOptions
from ..engine.pipeline.options import PipelineOptions, StageTimes
from ..engine.report.as_json import jsonl_line
from ..engine.report.tally import Tally
from ..engine.results import FileResult, Summary
from ..engine.run import run_record
from ..engine.scan import ScanOptions, scan
from ..index.content_records import Recall
from ..index.gallery_records import GalleryInfo
from ..index.scan_recorder import ScanRecorder
from ..index.workspace import Workspace
from . import outputs, render
from .clusters import encoder_beside, started
from .console import say, working
from .encoders import EncoderChoice, checkpoint_of_gallery
from .formats import Wanted
from .judging import Classifier
from .options import PrecisionChoice
from .precision import embedders_of_gallery, if_it_pays
from .progress import Busiest, Meter, meter
from .running import EXIT_INTERRUPTED
from .session import head_of_gallery, identity_of, judge_of_gallery
from .starter import chosen_gallery


@dataclass(frozen=True, slots=True)
class Showing:
    """What the terminal shows.

    Attributes:
        quiet: Neither progress nor summary.
        verbose: One line a file.
        stats: The time of each stage.
    """

    quiet: bool = False
    verbose: bool = False
    stats: bool = False


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """Everything that a user asks of a scan.

    Attributes:
        paths: Files and directories, or addresses.
        workspace: Folder of the workspace.
        encoder: Which encoder, where and how precise.
        gallery: Name; None for the workspace's choice, or the embedded starter.
        walking: Which files under the paths.
        judging: How verdicts are reached.
        classifier: What gives them.
        exact_search: Whether large classes too are compared reference by reference.
        crops: What of a picture is looked at; None is what the gallery was made for.
        probe: Whether the middle is judged under harmless changes too.
        pipeline: Threads, bounds, and what of a file's inside counts; its views are those above.
        recall: How much of what is known may be used.
        helpers: The cluster, or the processes, that read, decode and embed; None is this process.
        case: What the examiner says.
        reports: Written once the scan is complete.
        lines: JSON lines, written while it runs; None for none.
        showing: What the terminal shows.
        lists: What names further ones.
        watch: Go on with what arrives, each file once it has not changed for so many seconds;
            None for a scan that ends.
    """

    paths: tuple[str, ...]
    workspace: Path
    encoder: EncoderChoice
    gallery: str | None = None
    walking: WalkOptions = field(default_factory=WalkOptions)
    judging: JudgeOptions = field(default_factory=JudgeOptions)
    classifier: Classifier = Classifier.KNN
    exact_search: bool = False
    crops: Crops | None = None
    probe: bool = False
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    recall: Recall = field(default_factory=Recall)
    helpers: RayOptions | ProcessOptions | None = None
    case: Case = field(default_factory=Case)
    reports: Wanted = field(default_factory=Wanted)
    lines: Path | None = None
    showing: Showing = field(default_factory=Showing)
    lists: tuple[FileList, ...] = ()
    watch: float | None = None

    @property
    def targets(self) -> list[Path]:
        """Files that are written."""
        return [*self.reports.targets, *([self.lines] if self.lines else [])]

    def files(self) -> Walk:
        """The files under the paths and in the lists, without what the scan itself writes."""
        written = (target for target in self.targets if target != outputs.STDOUT)
        listed = chain.from_iterable(named.entries for named in self.lists)
        return walk(self.paths, replace(self.walking, omit=(self.workspace, *written)), listed)

    def to_count(self) -> Walk:
        """The same to be counted: no server is asked about a file."""
        return replace(self.files(), look=False)

    def arguments(self) -> dict[str, Any]:
        """For the run record."""
        lists = [named.record() for named in self.lists]
        return scan_arguments(self.paths, self.walking, self.pipeline, self.case, lists, self.watch)


@dataclass(slots=True)
class ScanSession:
    """A scan that is set up in a workspace: whoever feeds it with files gets recorded rows.

    Attributes:
        space: The workspace.
        gallery: What is compared with.
        embedder: The gallery's encoder.
        opened: The gallery, to be searched.
        judge: Decides.
        run: The run record.
        recorder: Keeps the rows.
        options: Of the pipeline.
        tally: Counts over the rows so far.
        times: Seconds of each stage so far.
    """

    space: Workspace
    gallery: GalleryInfo
    embedder: KnownEncoder
    opened: Gallery
    judge: Judge
    run: dict[str, Any]
    recorder: ScanRecorder
    options: ScanOptions
    tally: Tally = field(default_factory=Tally)
    times: StageTimes = field(default_factory=StageTimes)

    @classmethod
    def begin(
        cls,
        request: ScanRequest,
        space: Workspace,
        helpers: RayCluster | Processes | None = None,
    ) -> "ScanSession":
        """Choose the gallery, load its encoder, and begin the scan's record.

        Args:
            request: What the user asked for.
            space: The workspace.
            helpers: What reads, decodes and embeds, where the request says so.

        Raises:
            WorkspaceError: There is no such gallery, or none to be preferred.
            EngineError: The encoder cannot be used.
        """
        info = chosen_gallery(space, request.gallery)
        k = request.judging.k or space.k_of_gallery(info.name)
        head = head_of_gallery(space, info, request.classifier)
        encoder = encoder_beside(request.helpers, request.encoder)
        if head is not None:  # how far less precision moves its answers is not known
            encoder = replace(encoder, precision=PrecisionChoice.FLOAT32)
        embedder, safeguard = embedders_of_gallery(space, info, encoder, k)
        judge = judge_of_gallery(space, info, request.judging, head)
        embedder, safeguard = if_it_pays(embedder, safeguard, judge)
        plan = ViewPlan(request.crops or Crops(space.crops_of_gallery(info.name)), request.probe)
        on_gpu = embedder.device == "cuda"
        opened = space.galleries.open(info, request.exact_search, on_gpu)
        identity = identity_of(opened)
        bands = [safeguard.audit.band] if safeguard else []
        run = run_record(request.arguments(), identity, embedder, PREPROCESSING, judge, plan, bands)
        workers = None
        if helpers is not None:
            workers = helpers.workers(checkpoint_of_gallery(space, info, encoder))
            run["encoder"]["device"] = helpers.options.device
            run["encoder"]["backend"] = helpers.options.backend
            run[helpers.name] = helpers.record()
        enough = tuple(dict.fromkeys(("float32", embedder.precision)))
        recall = replace(request.recall, precisions=enough)
        recorder = space.recorder(info, run, recall, plan.id)
        options = ScanOptions(safeguard, request.pipeline.looking_at(plan), workers)
        return cls(space, info, embedder, opened, judge, run, recorder, options)

    def results(
        self, files: Iterable[FoundFile], stopped: Callable[[], bool]
    ) -> Iterator[FileResult]:
        """Scan files; each row is recorded and counted when it comes out."""
        for result in scan(
            files,
            self.opened,
            self.judge,
            self.recorder,
            self.embedder,
            self.options,
            self.times,
            stopped,
        ):
            self.tally.add(result)
            yield result

    def finish(self, state: str, left_out: int = 0) -> None:
        """End the scan's record.

        Args:
            state: ``finished``, ``interrupted`` or ``failed``.
            left_out: Files that the user's globs left out.
        """
        self.tally.summary.left_out = left_out
        self.recorder.finish(state, self.summary())

    def summary(self) -> dict[str, Any]:
        """As the report's ``summary`` object."""
        safeguard = self.options.safeguard
        audit = {"precision": safeguard.audit.as_dict()} if safeguard else {}
        return {**self.tally.as_dict(), **audit}


def perform(request: ScanRequest) -> Summary:
    """Do what was asked.

    Returns:
        The counts.

    Raises:
        typer.Exit: With 130, where the user interrupted.
        WorkspaceError: The workspace cannot be used.
        EngineError: The request cannot be met.
    """
    outputs.check_targets(request.targets)
    if isinstance(request.helpers, RayOptions) and request.watch is not None:
        raise InputError("--watch works on this machine alone", "drop --ray or --watch")
    if request.walking.shard and request.lists and not request.walking.recurse:
        raise InputError(
            "--shard, --list and --no-recurse do not go together",
            "drop --no-recurse, or list the files themselves: the merge of such shards would"
            " not know in which order a single run walks",
        )
    encoder_beside(request.helpers, request.encoder)  # before anything is started
    files = request.files()
    with ExitStack() as stack:
        space = stack.enter_context(Workspace(request.workspace))
        stack.enter_context(space.guarded())
        quiet = request.showing.quiet
        helpers = None
        if request.helpers is not None:
            with working("starting helpers", quiet):
                helpers = stack.enter_context(started(request.helpers))
        with working("opening the gallery", quiet):
            session = ScanSession.begin(request, space, helpers)
        if request.watch is not None:  # each time that something arrives is a scan of its own
            decoders = stack.enter_context(Decoders(session.options.pipeline.decode))
            session.options = replace(session.options, decoders=decoders)
        stopped = stack.enter_context(interruptible())
        state = "failed"
        try:
            lines = None
            if request.lines:
                lines = stack.enter_context(outputs.Lines(request.lines, request.watch is not None))
            with _meter(request, session) as progress:
                for result in _results(request, session, files, stopped):
                    if lines is not None:
                        lines.write(jsonl_line(result))
                    if request.showing.verbose:
                        render.file_line(result)
                    if result.container is None:  # what lies in files was not counted before
                        progress.advance(render.counts(session.tally.summary))
            state = "interrupted" if stopped() and request.watch is None else "finished"
        finally:
            session.finish(state, files.left_out)
        if state == "interrupted":
            render.interrupted(session.tally.summary, session.recorder.key)
            raise typer.Exit(EXIT_INTERRUPTED)
        with working("writing the reports", quiet or not request.reports.targets):
            request.reports.write(space, space.scans.info(str(session.recorder.key)))
    _show(request, session)
    return session.tally.summary


def _meter(request: ScanRequest, session: ScanSession) -> AbstractContextManager[Meter]:
    busiest = Busiest(session.times)
    if request.watch is None:
        return meter("scanning", [request.to_count()], request.showing.quiet, busiest)
    shown = not request.showing.quiet and request.lines != outputs.STDOUT
    return meter("watching", [], not shown, busiest)


def _results(
    request: ScanRequest, session: ScanSession, files: Walk, stopped: Callable[[], bool]
) -> Iterator[FileResult]:
    if request.watch is None:
        yield from session.results(files, stopped)
        return
    from ..engine.files.watch import watch

    if not request.showing.quiet:
        say(f"watching {', '.join(request.paths)}; Ctrl-C ends it")
    for ready in watch(files, stopped, request.watch):
        yield from session.results(ready, stopped)


def _show(request: ScanRequest, session: ScanSession) -> None:
    if request.showing.quiet:
        return
    to_stderr = outputs.STDOUT in request.targets
    render.summary(session.tally, session.gallery, session.recorder.key, session.run, to_stderr)
    if session.options.safeguard is not None:
        render.precision(session.embedder.precision, session.options.safeguard.audit, to_stderr)
    outputs.say_written(request.targets)
    if request.showing.stats:
        render.stage_times(session.times, to_stderr)
