"""The scan: discover, decode, embed, search, judge, record, report."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .contracts import Content, Gallery, Recorder
from .discover import FoundFile, Walk
from .embed import Embedder
from .errors import InputError
from .identify import EmbedAndSearch
from .judging.judge import Hits, Judgement, judge, search_both
from .pipeline import Item, Pipeline, PipelineOptions, StageTimes
from .results import FileResult, Status

COMMIT_ROWS = 256
COMMIT_SECONDS = 0.5

SKIPPED = frozenset(
    {
        "empty",
        "not_an_image",
        "special_file",
        "symlink",
        "symlink_loop",
        "too_large",
        "too_many_pixels",
    }
)
"""Reasons that make a file ``skipped``: it is no image, or a bound that the user sets says no."""


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What is asked of a scan.

    Attributes:
        k: References in the vote, and kept as evidence of each class.
        pipeline: How it runs.
    """

    k: int = 1
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)


def scan(
    files: Walk,
    gallery: Gallery,
    recorder: Recorder,
    embedder: Embedder,
    options: ScanOptions | None = None,
    times: StageTimes | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FileResult]:
    """Scan files against a gallery.

    Results come in the order of `files`, each after it has been recorded durably, at most
    half a second after it was known. Closing the iterator, or an exception, records what is
    finished and drops the rest.

    Args:
        files: From :func:`code_forensics.engine.discover.walk`.
        gallery: What to compare with.
        recorder: Memory of what is known, and keeper of the results.
        embedder: The encoder that made the gallery.
        options: See there.
        times: Filled with the seconds that each stage took.
        stop: Asked several times a second; once true, what is finished is recorded and it ends.

    Raises:
        InputError: The gallery was made by another encoder.
    """
    options, times = options or ScanOptions(), times or StageTimes()
    require_same_encoder("", gallery.encoder_sha256, embedder.sha256)
    return _scan(files, gallery, recorder, embedder, options, times, stop)


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
            "leave --weights out to use the gallery's own, or build a gallery with the other one",
        )


def _scan(
    files: Walk,
    gallery: Gallery,
    recorder: Recorder,
    embedder: Embedder,
    options: ScanOptions,
    times: StageTimes,
    stop: Callable[[], bool],
) -> Iterator[FileResult]:
    identify = EmbedAndSearch(embedder, gallery, options.k)
    pipeline = Pipeline(recorder, identify, options.pipeline, times)
    ledger = _Ledger(recorder, times)
    try:
        for burst in pipeline.run(files, stop):
            judgements = _judge(burst, gallery, options.k, times)
            for item, judgement in zip(burst, judgements, strict=True):
                ledger.add(item, judgement)
            if ledger.due:
                yield from ledger.commit()
        yield from ledger.commit()
    finally:
        ledger.commit()


def _judge(
    burst: Sequence[Item], gallery: Gallery, k: int, times: StageTimes
) -> list[Judgement | None]:
    """Judge the files of a burst that have a vector; search first where it is a stored one."""
    hits: list[Hits | None] = [item.hits for item in burst]
    started = time.perf_counter()
    stored = [
        (row, item.content.vector)
        for row, item in enumerate(burst)
        if hits[row] is None and item.content is not None and item.content.vector is not None
    ]
    if stored:
        found = search_both(gallery, np.stack([vector for _, vector in stored]), k)
        for position, (row, _) in enumerate(stored):
            hits[row] = found[position]
    keys = sorted({key for hit in hits if hit is not None for key in hit.keys()})  # noqa: SIM118
    references = gallery.describe(keys)
    judgements = [None if hit is None else judge(hit, references, k) for hit in hits]
    times.search += time.perf_counter() - started
    return judgements


class _Ledger:
    """Turns finished files into rows and commits them in batches."""

    def __init__(self, recorder: Recorder, times: StageTimes) -> None:
        self._recorder = recorder
        self._times = times
        self._rows: list[tuple[FoundFile, Content | None, FileResult]] = []
        self._first: dict[str, str] = {}  # SHA-256 -> path, of the rows not yet committed
        self._committed = time.monotonic()

    @property
    def due(self) -> bool:
        late = time.monotonic() - self._committed >= COMMIT_SECONDS
        return len(self._rows) >= COMMIT_ROWS or (late and bool(self._rows))

    def add(self, item: Item, judgement: Judgement | None) -> None:
        file, content = item.file, item.content
        reason = file.reason or (content.reason if content else None)
        if judgement is None:
            status = Status.SKIPPED if reason in SKIPPED else Status.FAILED
            result = self._row(file, content, status, reason=reason)
        else:
            assert content is not None
            first = self._first.get(content.sha256) or self._recorder.first_path(content.sha256)
            if first is None:
                self._first[content.sha256] = file.path
                status = Status.SCANNED if item.embedded else Status.CACHED
            else:
                status = Status.DUPLICATE if item.opened else Status.CACHED
            result = self._row(file, content, status, judgement=judgement, duplicate_of=first)
        self._rows.append((file, content, result))

    def commit(self) -> list[FileResult]:
        rows, self._rows = self._rows, []
        if rows:
            started = time.perf_counter()
            self._recorder.record(rows)
            self._times.record += time.perf_counter() - started
            self._first.clear()
        self._committed = time.monotonic()
        return [result for _, _, result in rows]

    @staticmethod
    def _row(
        file: FoundFile,
        content: Content | None,
        status: Status,
        reason: str | None = None,
        judgement: Judgement | None = None,
        duplicate_of: str | None = None,
    ) -> FileResult:
        return FileResult(
            path=file.path,
            sha256=content.sha256 if content else None,
            bytes=file.bytes,
            format=content.format if content else None,
            width=content.width if content else None,
            height=content.height if content else None,
            status=status,
            reason=judgement.reason if judgement else reason,
            knn=judgement.knn if judgement else None,
            verdict=judgement.verdict if judgement else None,
            p_fake=judgement.p_fake if judgement else None,
            margin=judgement.margin if judgement else None,
            real_similarity=judgement.real_similarity if judgement else None,
            fake_similarity=judgement.fake_similarity if judgement else None,
            generator=judgement.generator if judgement else None,
            neighbour=(judgement.neighbours[0].id if judgement and judgement.neighbours else None),
            duplicate_of=duplicate_of,
            provenance=content.provenance if content else {},
            detail=file.detail or (content.detail if content else None),
            precision=content.precision if content and judgement else None,
            neighbours=judgement.neighbours if judgement else (),
        )
