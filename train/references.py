"""A gallery's references: images that an encoder was trained on, embedded as a scan would."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engine.decoding.decode import Undecodable
from ..engine.decoding.decode import decode as decode_crop
from ..engine.embedding.contracts import KnownEncoder
from .catalogue import WHOLE_FILE, Label
from .config import TrainConfig
from .dataset import open_catalogue
from .errors import DataError
from .split import split, spread

_LOG = logging.getLogger(__name__)
_PASS = 256  # crops held at once


@dataclass(frozen=True, slots=True)
class TrainedReference:
    """A training image as a reference.

    Attributes:
        label: Its class.
        generator: What made it; empty for reals.
        source: The collection that it comes from.
        vector: Embedding, shape (D,), float32.
        path: The file; None for a member of a shard.
        sha256: Of the image's bytes.
    """

    label: Label
    generator: str
    source: str
    vector: NDArray[np.float32]
    path: str | None
    sha256: str


def embed_references(
    data: str, config: TrainConfig, embedder: KnownEncoder, per_class: int
) -> Iterator[TrainedReference]:
    """Embed training images, as evenly over sources as there are any.

    Held-out and excluded sources stay out, so that they can judge the gallery too; so do
    reconstructions, which are no images that anybody meets.

    Args:
        data: As given to the training.
        config: Of the training.
        embedder: The trained encoder.
        per_class: Images of each class, at most.

    Raises:
        DataError: A class has no readable image.
    """
    catalogue = open_catalogue(data, config.data.cache)
    share = 0.0 if config.data.validation or not config.probe.images else config.data.holdout_share
    parts = split(catalogue, config.data.holdout, share, config.data.exclude)
    for label in Label:
        inside = parts.training[catalogue.label[parts.training] == label]
        found = 0
        waiting: list[tuple[int, str, NDArray[np.uint8]]] = []
        chosen = spread(inside, catalogue.source[inside], per_class, config.seed)
        for place, number in enumerate(chosen, 1):
            try:
                content = catalogue.read(int(number))
            except OSError as error:
                _LOG.warning("passed over %s: %s", catalogue.describe(int(number)), error)
            else:
                decoded = decode_crop(content)
                if isinstance(decoded, Undecodable):
                    _LOG.warning(
                        "passed over %s: %s", catalogue.describe(int(number)), decoded.reason
                    )
                else:
                    digest = hashlib.sha256(content).hexdigest()
                    waiting.append((int(number), digest, decoded.crop))
            if waiting and (len(waiting) == _PASS or place == len(chosen)):
                vectors = embedder.embed(np.stack([crop for _, _, crop in waiting]))
                for (image, digest, _), vector in zip(waiting, vectors, strict=True):
                    whole = catalogue.offset[image] == WHOLE_FILE
                    yield TrainedReference(
                        label,
                        catalogue.generators[catalogue.generator[image]],
                        catalogue.sources[catalogue.source[image]],
                        vector,
                        catalogue.containers[catalogue.container[image]] if whole else None,
                        digest,
                    )
                found += len(waiting)
                waiting.clear()
        if not found:
            raise DataError(f"no {label.name.lower()} image that trained can be a reference")
