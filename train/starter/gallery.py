"""The starter's gallery: references balanced over classes, generators and sources."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...engine.judging.assessment import Assessment, assess
from ...engine.judging.held_out_search import unit_vectors
from ..catalogue import Catalogue, Label
from ..split import spread
from .conditions import Condition
from .embedding import Embedded, Item
from .roles import Patterns, Role


@dataclass(frozen=True, slots=True)
class References:
    """M references.

    Attributes:
        vectors: Shape (M, D), float32, of unit length up to the float16 that they are stored in.
        labels: Shape (M,), int64: 0 real, 1 fake.
        generators: M names; empty for reals.
        sources: M names.
        trained: Whether the encoder was trained on the source, shape (M,).
        compared: Whether queries are compared with it, shape (M,); the others calibrate alone.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    generators: tuple[str, ...]
    sources: tuple[str, ...]
    trained: NDArray[np.bool_]
    compared: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def without(self, source: str) -> "References":
        """The references of all sources but one."""
        rows = [row for row, name in enumerate(self.sources) if name != source]
        return References(
            self.vectors[rows],
            self.labels[rows],
            tuple(self.generators[row] for row in rows),
            tuple(self.sources[row] for row in rows),
            self.trained[rows],
            self.compared[rows],
        )

    def assess(self, k: int = 1) -> Assessment:
        """What the references say of scores, as a workspace computes it."""
        return assess(
            self.vectors,
            self.labels,
            self.sources,
            self.generators,
            k,
            self.trained.tolist(),
            self.compared.tolist(),
        )


def choose_items(
    catalogue: Catalogue,
    usable: NDArray[np.int64],
    patterns: Patterns,
    conditions: Sequence[Condition],
    per_class: int,
    seed: int,
) -> list[Item]:
    """Choose equally many references of both classes.

    Reals are spread evenly over sources and fakes over generators, as far as there are as many;
    within one, images and conditions are drawn.

    Args:
        catalogue: All images.
        usable: Numbers of those that can be embedded, ascending.
        patterns: Which sources did not train; those left out give no reference.
        conditions: In which images may become references.
        per_class: References of a class, at most.
        seed: Of the draws.
    """
    roles = np.array([patterns.role(name) for name in catalogue.sources], dtype=np.object_)
    images = usable[roles[catalogue.source[usable]] != Role.LEFT_OUT]
    count = len(images)
    candidates = np.arange(count * len(conditions))  # image and condition as one number
    labels, owner = catalogue.label[images][candidates % count], images[candidates % count]
    size = min(per_class, *(int((labels == label).sum()) for label in Label))
    chosen = []
    for label in Label:
        own = labels == label
        groups = catalogue.source if label is Label.REAL else catalogue.generator
        chosen.append(spread(candidates[own], groups[owner[own]], size, seed))
    return [
        (int(images[place % count]), conditions[place // count])
        for place in np.concatenate(chosen).tolist()
    ]


def as_references(
    catalogue: Catalogue,
    embedded: Embedded,
    items: Sequence[Item],
    patterns: Patterns,
    compare_unseen: bool,
) -> References:
    """Make references of chosen items, as far as they could be embedded.

    Args:
        catalogue: All images.
        embedded: The items' embeddings.
        items: Which.
        patterns: Which sources did not train.
        compare_unseen: Whether queries are compared with images of such sources too.
    """
    rows = embedded.rows()
    found = [item for item in items if item in rows]
    images = np.array([number for number, _ in found], dtype=np.int64)
    raw = np.stack([embedded.views[rows[item]][0] for item in found])
    sources = tuple(catalogue.sources[s] for s in catalogue.source[images].tolist())
    trained = np.array([patterns.role(name) is Role.TRAINED for name in sources], dtype=np.bool_)
    return References(
        unit_vectors(raw).astype(np.float16).astype(np.float32),
        catalogue.label[images].astype(np.int64),
        tuple(catalogue.generators[g] for g in catalogue.generator[images].tolist()),
        sources,
        trained,
        trained | compare_unseen,
    )
