"""Judge a scan on record again, from stored vectors: no image is opened."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np

from .contracts import Content, Gallery, Recorder
from .decoding.views import ViewPlan
from .embedding.precision import UNKNOWN
from .judging.hits import search_both
from .judging.judge import Judge
from .judging.query import Query, vectors_of
from .ledger import COMMIT_ROWS, Ledger, judged
from .pipeline.options import StageTimes
from .results import FileResult, Status

NOT_EMBEDDED = "not_embedded"
"""Reason of a row whose content has no vector of the wanted encoder any more."""


def rejudge(
    rows: Iterable[FileResult],
    gallery: Gallery,
    judge: Judge,
    recorder: Recorder,
    plan: ViewPlan,
    bands: Mapping[str, float] | None = None,
    times: StageTimes | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[FileResult]:
    """Judge the rows of an earlier scan by another gallery, other thresholds or another prior.

    Rows without a verdict are kept as they are. What is judged is ``cached``, or ``duplicate`` as
    it was; where the content's vectors are gone the row is ``failed`` (``not_embedded``).

    Args:
        rows: Of the earlier scan, in order.
        gallery: What to compare with; of the same encoder as the scan.
        judge: Decides, by that gallery's assessment.
        recorder: Knows the vectors, keeps the results as a scan of their own.
        plan: Which views the earlier scan took.
        bands: How far a score from a vector of each reduced precision may lie from the float32
            one; where that is unknown, the answer is inconclusive.
        times: Filled with the seconds that each stage took.
        stop: Asked after each batch; once true, it ends.

    Yields:
        The new rows in order, each after it has been recorded.
    """
    times = times or StageTimes()
    ledger = Ledger(recorder, times)
    source = iter(rows)
    while not stop() and (batch := list(islice(source, COMMIT_ROWS))):
        started = time.perf_counter()
        contents = [_content(row, recorder, plan) for row in batch]
        known = [(content, vectors_of(content)) for content in contents if content is not None]
        queries: list[Query] = []
        if known:
            found = search_both(gallery, np.concatenate([views for _, views in known]), judge.depth)
            first = 0
            for content, views in known:
                hits = found[first : first + len(views)]
                band = (bands or {}).get(content.precision or "", UNKNOWN)
                queries.append(Query.of(content, hits, plan, band))
                first += len(views)
        judgements = iter(judge.judge(queries, gallery))
        times.search += time.perf_counter() - started
        for row, stored in zip(batch, contents, strict=True):
            if not row.status.judged:
                ledger.copy(row)
            elif stored is None:
                ledger.copy(_lost(row))
            else:
                status = Status.DUPLICATE if row.status is Status.DUPLICATE else Status.CACHED
                facts = replace(row, status=status, precision=stored.precision)
                ledger.copy(judged(facts, next(judgements)))
        yield from ledger.commit()


def _content(row: FileResult, recorder: Recorder, plan: ViewPlan) -> Content | None:
    """What is known of a judged row, where all of its views are."""
    if not row.status.judged or row.sha256 is None:
        return None
    content = recorder.known_content(row.sha256, row.frame or 1)
    if content is None or content.vector is None:
        return None
    whole = plan.complete(content.width, content.height, len(vectors_of(content)))
    return content if whole else None


def _lost(row: FileResult) -> FileResult:
    """The row as a failure, with nothing of the earlier judgement left in it."""
    return FileResult(
        path=row.path,
        sha256=row.sha256,
        bytes=row.bytes,
        format=row.format,
        width=row.width,
        height=row.height,
        status=Status.FAILED,
        reason=NOT_EMBEDDED,
        provenance=row.provenance,
        container=row.container,
        frame=row.frame,
        frames=row.frames,
    )
