"""Embed labelled folders, as references for a gallery."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .contracts import Content, Store
from .embedding.contracts import Embeds
from .files.discover import WalkOptions, walk
from .files.found import FoundFile
from .ledger import COMMIT_ROWS, COMMIT_SECONDS
from .pipeline.contracts import Cluster, Source
from .pipeline.identify import EmbedOnly
from .pipeline.options import PipelineOptions, StageTimes
from .pipeline.pipeline import Pipeline
from .results import Label


class LearningStore(Store, Protocol):
    """A store that keeps what a build learns."""

    def remember(self, learnt: Sequence[tuple[FoundFile, Content]]) -> None:
        """Store files and contents in one durable transaction."""


@dataclass(frozen=True, slots=True)
class LabelledFolder:
    """A directory, or one file, whose images all have one label.

    Attributes:
        path: The directory.
        label: Class of all images below it.
        generator: What made them, where they are fakes; None takes the name of the sub-directory.
    """

    path: Path
    label: Label
    generator: str | None = None

    def attribute(self, file: str) -> tuple[str, str]:
        """Generator and source of a file below this directory.

        Sub-directories name what they hold: the source is the innermost of the first two levels,
        the generator of an unnamed fake is the first level. Without sub-directories the source
        is the directory's own name, and the generator is unknown (empty). A single file is as one
        of its directory's: files that are named one by one are no sources of their own.
        """
        is_folder = self.path.is_dir()
        below = Path(file).relative_to(self.path).parts[:-1] if is_folder else ()
        own = _text((self.path if is_folder else self.path.parent).resolve().name)
        folders = [_text(name) for name in below[:2]]
        if self.label is Label.REAL:
            return "", folders[0] if folders else own
        if self.generator is not None:
            return _text(self.generator), folders[0] if folders else own
        return folders[0] if folders else "", folders[-1] if folders else own


@dataclass(frozen=True, slots=True)
class ReferenceFile:
    """One file of a build.

    Attributes:
        path: As found.
        label: Its class.
        generator: What made it; empty for reals and where unknown.
        source: The collection that it comes from.
        sha256: Of the content; None where it was not read.
        reason: Why it cannot be a reference; None where it can.
        detail: The words behind the reason.
    """

    path: str
    label: Label
    generator: str
    source: str
    sha256: str | None
    reason: str | None
    detail: str | None


def embed_folders(
    folders: Sequence[LabelledFolder],
    store: LearningStore,
    embedder: Embeds,
    walk_options: WalkOptions | None = None,
    options: PipelineOptions | None = None,
    times: StageTimes | None = None,
    stop: Callable[[], bool] = lambda: False,
    cluster: Cluster | None = None,
) -> Iterator[ReferenceFile]:
    """Embed every image below some folders, keeping the vectors in a store.

    What is in the store already is not embedded again, so that a build that was interrupted goes
    on where it stopped.

    Args:
        folders: What to embed; files come in their order.
        store: Takes the embeddings.
        embedder: The encoder.
        walk_options: Which files belong.
        options: How the pipeline runs.
        times: Filled with the seconds that each stage took.
        stop: Asked several times a second; once true, what is finished is stored and it ends.
        cluster: What reads, decodes and embeds, by the same encoder; None is this machine.

    Yields:
        One record a file, after its embedding has been stored.
    """
    options, times = options or PipelineOptions(), times or StageTimes()
    pipeline: Source
    if cluster is not None:
        pipeline = cluster.pipeline(store, options, times)
    else:
        pipeline = Pipeline(store, EmbedOnly(embedder), options, times)
    origins: deque[LabelledFolder] = deque()
    walks = [(folder, walk([folder.path], walk_options)) for folder in folders]

    def files() -> Iterator[FoundFile]:
        for folder, found in walks:
            for file in found:
                origins.append(folder)
                yield file

    learnt: list[tuple[FoundFile, Content]] = []
    done: list[ReferenceFile] = []
    committed = time.monotonic()
    try:
        for burst in pipeline.run(files(), stop):
            for item in burst:
                done.append(_describe(origins.popleft(), item.file, item.content))
                if item.content is not None:
                    learnt.append((item.file, item.content))
            if len(done) >= COMMIT_ROWS or (
                done and time.monotonic() - committed >= COMMIT_SECONDS
            ):
                store.remember(learnt)
                learnt, ready, done, committed = [], done, [], time.monotonic()
                yield from ready
    finally:
        store.remember(learnt)
    yield from done


def _text(name: str) -> str:
    """A folder's name as a label: bytes that are no text are written out in hexadecimal."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _describe(folder: LabelledFolder, file: FoundFile, content: Content | None) -> ReferenceFile:
    generator, source = folder.attribute(file.path)
    return ReferenceFile(
        file.path,
        folder.label,
        generator,
        source,
        content.sha256 if content else None,
        file.reason or (content.reason if content else None),
        file.detail or (content.detail if content else None),
    )
