"""The scan: discover, decode, embed, search, judge, record, report."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from .contracts import Gallery, Recorder
from .embedding.contracts import KnownEncoder
from .embedding.precision import UNKNOWN, Safeguard
from .errors import InputError
from .files.found import FoundFile
from .isolation.decoders import Decoders
from .judging.hits import Hits, search_both
from .judging.judge import Judge
from .judging.judgement import Judgement
from .judging.query import Query, vectors_of
from .ledger import Ledger
from .pipeline.contracts import Cluster, Source
from .pipeline.identify import EmbedAndSearch
from .pipeline.items import Item
from .pipeline.options import PipelineOptions, StageTimes
from .pipeline.pipeline import Pipeline
from .results import FileResult


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a scan runs.

    Attributes:
        safeguard: Where the embedder is of another precision than float32: keeps its answers
            those of float32.
        pipeline: How it runs.
        cluster: What reads, decodes and embeds; None is this machine. In float32 alone.
        decoders: Decode for several scans, one after the other; None for this scan's own.
    """

    safeguard: Safeguard | None = None
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    cluster: Cluster | None = None
    decoders: Decoders | None = None

    @property
    def band(self) -> float:
        """How far a score from a vector that is not float32 may lie from the float32 one."""
        return self.safeguard.audit.width if self.safeguard else UNKNOWN


def scan(
    files: Iterable[FoundFile],
    gallery: Gallery,
    judge: Judge,
    recorder: Recorder,
    embedder: KnownEncoder,
    options: ScanOptions | None = None,
    times: StageTimes | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FileResult]:
    """Scan files against a gallery.

    Results come in the order of `files`, each after it has been recorded durably, at most
    half a second after it was known. Closing the iterator, or an exception, records what is
    finished and drops the rest.

    Args:
        files: Such as :func:`code_forensics.engine.files.discover.walk` finds.
        gallery: What to compare with.
        judge: Decides, by that gallery's assessment.
        recorder: Memory of what is known, and keeper of the results.
        embedder: The encoder that made the gallery.
        options: See there.
        times: Filled with the seconds that each stage took.
        stop: Asked several times a second; once true, what is finished is recorded and it ends.

    Raises:
        InputError: The gallery was made by another encoder.
        ValueError: The embedder is not float32, and there is no safeguard, or a cluster.
    """
    options, times = options or ScanOptions(), times or StageTimes()
    require_same_encoder("", gallery.encoder_sha256, embedder.sha256)
    if (embedder.precision == "float32") != (options.safeguard is None):
        raise ValueError("reduced precision, and that alone, needs a safeguard")
    if options.cluster is not None and options.safeguard is not None:
        raise ValueError("a cluster computes in float32")
    return _scan(files, gallery, judge, recorder, embedder, options, times, stop)


def require_same_encoder(gallery: str, of_gallery: str, given: str) -> None:
    """Refuse to compare vectors of two encoders.

    Args:
        gallery: Name of the gallery, for the message.
        of_gallery: SHA-256 of the encoder that made the gallery.
        given: SHA-256 of the encoder that is to be used.

    Raises:
        InputError: They differ.
    """
    if of_gallery != given:
        name = f"the gallery {gallery}" if gallery else "the gallery"
        raise InputError(
            f"{name} was made by encoder {of_gallery[:12]}, not by {given[:12]}",
            "drop --weights to use the gallery's own, or build a gallery with the other one",
        )


def _scan(
    files: Iterable[FoundFile],
    gallery: Gallery,
    judge: Judge,
    recorder: Recorder,
    embedder: KnownEncoder,
    options: ScanOptions,
    times: StageTimes,
    stop: Callable[[], bool],
) -> Iterator[FileResult]:
    pipeline: Source
    if options.cluster is not None:
        search = partial(search_both, gallery, k=judge.depth)
        pipeline = options.cluster.pipeline(recorder, options.pipeline, times, search)
    else:
        identify = EmbedAndSearch(embedder, gallery, judge, options.safeguard)
        pipeline = Pipeline(recorder, identify, options.pipeline, times, options.decoders)
    ledger = Ledger(recorder, times)
    try:
        for burst in pipeline.run(files, stop):
            judgements = _judge(burst, gallery, judge, options, times)
            for item, judgement in zip(burst, judgements, strict=True):
                ledger.add(item, judgement)
            if ledger.due:
                yield from ledger.commit()
        yield from ledger.commit()
    finally:
        ledger.commit()


def _judge(
    burst: Sequence[Item], gallery: Gallery, judge: Judge, options: ScanOptions, times: StageTimes
) -> list[Judgement | None]:
    """Judge the files of a burst that have a vector; search first where it is a stored one."""
    started = time.perf_counter()
    hits: list[Hits | None] = [item.hits for item in burst]
    stored = [
        (row, vectors_of(item.content))
        for row, item in enumerate(burst)
        if hits[row] is None and item.content is not None and item.content.vector is not None
    ]
    if stored:
        found = search_both(gallery, np.concatenate([views for _, views in stored]), judge.depth)
        first = 0
        for row, views in stored:
            hits[row] = found[first : first + len(views)]
            first += len(views)
    plan = options.pipeline.decode.views
    queries = {
        row: Query.of(item.content, found, plan, options.band)
        for row, (item, found) in enumerate(zip(burst, hits, strict=True))
        if item.content is not None and found is not None
    }
    judgements: list[Judgement | None] = [None] * len(burst)
    for row, judgement in zip(queries, judge.judge(list(queries.values()), gallery), strict=True):
        judgements[row] = judgement
    times.search += time.perf_counter() - started
    return judgements
