"""Embed images to look something up with them, without keeping anything."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .embedding.contracts import Embeds
from .files.discover import Walk
from .pipeline.identify import EmbedOnly
from .pipeline.memory import Unknowing
from .pipeline.options import PipelineOptions, StageTimes
from .pipeline.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Query:
    """One image.

    Attributes:
        path: As found.
        sha256: Of the file; None where it was not read.
        vector: Embedding, shape (D,), float32; None where there is none.
        reason: Why there is none.
    """

    path: str
    sha256: str | None
    vector: NDArray[np.float32] | None
    reason: str | None


def embed_queries(
    files: Walk,
    embedder: Embeds,
    options: PipelineOptions | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Query]:
    """Embed files, in order.

    Args:
        files: From :func:`code_forensics.engine.files.discover.walk`.
        embedder: The encoder.
        options: How the pipeline runs.
        stop: Asked several times a second; once true, what is not ready is dropped.
    """
    pipeline = Pipeline(
        Unknowing(), EmbedOnly(embedder), options or PipelineOptions(), StageTimes()
    )
    for burst in pipeline.run(files, stop):
        for item in burst:
            content = item.content
            yield Query(
                item.file.path,
                content.sha256 if content else None,
                content.vector if content else None,
                item.file.reason or (content.reason if content else None),
            )
