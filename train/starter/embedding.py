"""Embed images of a catalogue as a scan would, each in the conditions that are wanted of it."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...engine.decoding.decode import Decoded, DecodeOptions
from ...engine.decoding.decode import decode as decode_views
from ...engine.decoding.views import SIZE, ViewPlan
from ...engine.embedding.contracts import KnownEncoder
from ...engine.evaluation.file_facts import FileFacts, read_facts
from ..catalogue import Catalogue
from .conditions import Condition, apply

_LOG = logging.getLogger(__name__)

Item = tuple[int, Condition]
"""An image's number in the catalogue, and its condition."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors and headers of M items.

    Attributes:
        items: In the order asked for; what cannot be decoded is missing.
        views: Of each item the embeddings of its views, shape (V, D), float32, not of unit
            length; the centre crop's first.
        facts: What each file says before a pixel is decoded.
    """

    items: tuple[Item, ...]
    views: tuple[NDArray[np.float32], ...]
    facts: tuple[FileFacts, ...]

    def rows(self) -> dict[Item, int]:
        """Where each item stands."""
        return {item: row for row, item in enumerate(self.items)}


def usable_images(catalogue: Catalogue) -> NDArray[np.int64]:
    """Find the images that a scan would decide: those whose header says at least 224 pixels.

    Returns:
        Their numbers, ascending.
    """
    usable = []
    for number in range(len(catalogue)):
        facts = facts_of(catalogue, (number, Condition.NATIVE))
        if facts is None:
            _LOG.warning("passed over %s: no decoder opens it", catalogue.describe(number))
        elif min(facts.width, facts.height) >= SIZE:
            usable.append(number)
    return np.array(usable, dtype=np.int64)


def facts_of(catalogue: Catalogue, item: Item) -> FileFacts | None:
    """What the file of an item says; None where it cannot be read."""
    number, condition = item
    try:
        return read_facts(apply(condition, catalogue.read(number)))
    except OSError:
        return None


def embed_items(
    catalogue: Catalogue,
    items: Sequence[Item],
    embedder: KnownEncoder,
    say: Callable[[str], None],
    plan: ViewPlan | None = None,
) -> Embedded:
    """Decode and embed.

    Args:
        catalogue: The images.
        items: Which, in which condition; none twice.
        embedder: The encoder, as scans use it.
        say: Takes lines of progress.
        plan: Which views of each; None is the centre crop alone.
    """
    options = DecodeOptions(views=plan or ViewPlan())
    torch.set_num_threads(1)  # as in a scan: threads of our own embed
    parts = [items[i : i + embedder.batch] for i in range(0, len(items), embedder.batch)]
    done: list[Item] = []
    views: list[NDArray[np.float32]] = []
    facts: list[FileFacts] = []

    def work(part: Sequence[Item]) -> list[tuple[Item, NDArray[np.float32], FileFacts]]:
        looks = list(_looks(catalogue, part, options))
        if not looks:
            return []
        embedded = embedder.embed(np.concatenate([crops for _, crops, _ in looks]))
        ends = np.cumsum([len(crops) for _, crops, _ in looks])[:-1]
        return [
            (item, own, known)
            for (item, _, known), own in zip(looks, np.split(embedded, ends), strict=True)
        ]

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for number, looked in enumerate(pool.map(work, parts), 1):
            for item, own, known in looked:
                done.append(item)
                views.append(own)
                facts.append(known)
            if number % max(1, len(parts) // 10) == 0:
                say(f"embedded {len(done)} of {len(items)}")
    return Embedded(tuple(done), tuple(views), tuple(facts))


def _looks(
    catalogue: Catalogue, part: Sequence[Item], options: DecodeOptions
) -> Iterator[tuple[Item, NDArray[np.uint8], FileFacts]]:
    for number, condition in part:
        try:
            data = apply(condition, catalogue.read(number))
        except OSError as error:
            _LOG.warning("passed over %s: %s", catalogue.describe(number), error)
            continue
        decoded, facts = decode_views(data, options), read_facts(data)
        if not isinstance(decoded, Decoded) or facts is None:
            _LOG.warning("passed over %s: it cannot be decoded", catalogue.describe(number))
            continue
        yield (number, condition), decoded.views, facts
