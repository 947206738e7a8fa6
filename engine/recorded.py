"""A scan as a notebook wants it: from paths and a workspace to rows that are on record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from .arguments import Case, scan_arguments
from .contracts import Gallery, Recorder
from .decoding.decode import PREPROCESSING
from .decoding.layout import Crops
from .decoding.views import ViewPlan
from .embedding.checkpoint import read_checkpoint
from .embedding.config import Device
from .embedding.deferred import DeferredEmbedder
from .files.discover import WalkOptions, walk
from .judging.judge import Judge, JudgeOptions
from .judging.kept import Assessed, KeepsAssessments, kept_assessment
from .pipeline.options import PipelineOptions
from .report.tally import Tally
from .results import FileResult, Summary
from .run import GalleryIdentity, run_record
from .scan import ScanOptions, scan


class GalleryFacts(Assessed, Protocol):
    """What a scan records of its gallery."""

    @property
    def sha256(self) -> str:
        """Over encoder, preprocessing and references."""

    @property
    def encoder_sha256(self) -> str:
        """Identity of the encoder."""

    @property
    def encoder_origin(self) -> str:
        """Where the encoder came from."""

    @property
    def generation(self) -> int:
        """Number of changes so far."""


class StoredEncoder(Protocol):
    """An encoder that a workspace keeps."""

    @property
    def folder(self) -> Path:
        """Where its files lie."""


class Encoders(Protocol):
    """The encoders of a workspace."""

    def find(self, sha256: str, /) -> StoredEncoder:
        """One by its identity."""


class OpenedGallery(Gallery, Protocol):
    """A gallery that says how it is searched."""

    def search_record(self) -> Mapping[str, Any]:
        """How each class is searched, JSON-able."""


class Galleries(KeepsAssessments, Protocol):
    """The galleries of a workspace."""

    def open(self, info: Any, /) -> OpenedGallery:
        """One to be searched, in the state that its description is of."""


class ScanRecord(Recorder, Protocol):
    """A recorder whose scan can be closed."""

    @property
    def key(self) -> int:
        """The scan's number in the workspace."""

    def finish(self, state: str, summary: Mapping[str, Any], /) -> None:
        """Close the scan."""


class Space(Protocol):
    """A workspace; the index room's ``Workspace`` is one."""

    @property
    def folder(self) -> Path:
        """Where it lies; what lies there is never scanned."""

    @property
    def encoders(self) -> Encoders:
        """Its encoders."""

    @property
    def galleries(self) -> Galleries:
        """Its galleries."""

    def choose_gallery(self, name: str | None = None, /) -> GalleryFacts:
        """The named gallery, else the default or only one."""

    def k_of_gallery(self, name: str, /) -> int:
        """References of each class behind a score, by default."""

    def crops_of_gallery(self, name: str, /) -> str:
        """Name of the layout of crops, by default."""

    def recorder(
        self, gallery: Any, run: Mapping[str, Any], recall: None = None, plan: str = "", /
    ) -> ScanRecord:
        """Begin a scan."""


@dataclass(frozen=True, slots=True)
class RecordedOptions:
    """What ``code-scan`` takes as options.

    Attributes:
        gallery: Name; None for the workspace's choice.
        walking: Which files under the paths.
        judging: How verdicts are reached.
        crops: What of a picture is looked at; None is what the gallery was made for.
        probe: Whether the middle is judged under harmless changes too.
        pipeline: Threads, bounds, and what of a file's inside counts: archives, further frames,
            provenance. Its views are those above.
        device: Where the encoder runs.
        case: What the examiner says; kept with the scan.
    """

    gallery: str | None = None
    walking: WalkOptions = field(default_factory=WalkOptions)
    judging: JudgeOptions = field(default_factory=JudgeOptions)
    crops: Crops | None = None
    probe: bool = False
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    device: Device = "auto"
    case: Case = field(default_factory=Case)

    def __post_init__(self) -> None:
        if self.pipeline.decode.views != ViewPlan():
            raise ValueError("say crops and probe: the views of the pipeline follow from them")


class RecordedScan:
    """A scan whose rows come out one by one and are kept in a workspace, as by ``code-scan``.

    Iterate over it, once; breaking off leaves the scan on record as interrupted, with what was
    done.

    Attributes:
        key: The scan's number in the workspace.
        run: The run record.
        summary: Counts over the rows so far.
    """

    def __init__(
        self,
        space: Space,
        paths: Sequence[str | Path],
        options: RecordedOptions | None = None,
    ) -> None:
        """Load the gallery and its encoder, and begin the record.

        Args:
            space: An open workspace, from ``code_forensics.index``.
            paths: Files and directories.
            options: See there.

        Raises:
            EngineError: A path does not exist, or the encoder cannot be used.
            WorkspaceError: There is no such gallery, or none at all.
        """
        chosen = options or RecordedOptions()
        omit = (*chosen.walking.omit, space.folder)
        self._files = walk(paths, replace(chosen.walking, omit=omit))
        info = space.choose_gallery(chosen.gallery)
        folder = space.encoders.find(info.encoder_sha256).folder
        self._embedder = DeferredEmbedder(read_checkpoint(folder), chosen.device)
        self._judge = Judge(
            kept_assessment(
                space.galleries, info, chosen.judging.k or space.k_of_gallery(info.name)
            ),
            chosen.judging,
        )
        self._gallery = space.galleries.open(info)
        plan = ViewPlan(chosen.crops or Crops(space.crops_of_gallery(info.name)), chosen.probe)
        self._options = ScanOptions(pipeline=chosen.pipeline.looking_at(plan))
        identity = GalleryIdentity(
            info.name,
            info.sha256,
            info.generation,
            info.reals,
            info.fakes,
            self._gallery.search_record(),
            info.encoder_origin,
        )
        arguments = scan_arguments(paths, chosen.walking, chosen.pipeline, chosen.case)
        self.run = run_record(arguments, identity, self._embedder, PREPROCESSING, self._judge, plan)
        self._recorder = space.recorder(info, self.run, None, plan.id)
        self._tally = Tally()
        self.key = self._recorder.key

    @property
    def summary(self) -> Summary:
        """Counts over the rows so far."""
        return self._tally.summary

    def __iter__(self) -> Iterator[FileResult]:
        """Scan; each row is recorded before it comes out."""
        state = "failed"
        try:
            for result in scan(
                self._files,
                self._gallery,
                self._judge,
                self._recorder,
                self._embedder,
                self._options,
            ):
                self._tally.add(result)
                yield result
            state = "finished"
        except GeneratorExit:
            state = "interrupted"
            raise
        finally:
            self._tally.summary.left_out = self._files.left_out
            self._recorder.finish(state, self._tally.as_dict())
