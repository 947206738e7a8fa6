"""What is known of one picture when it is judged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contracts import Content
from ..decoding.views import CropPlace, ViewPlan
from .hits import Hits


@dataclass(frozen=True, slots=True)
class Query:
    """What is known of one picture.

    Attributes:
        hits: One row a view, K references of each class: the centre crop first, then further
            crops, then the probe's changes.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        band: How far a cosine, or a difference of two, may lie from the float32 one; 0 for
            float32.
        crops: Places of the crops, the centre first; empty where there is only the centre.
        changes: Names of the probe's changes.
        vector: Embedding of the centre crop, shape (D,); what a head decides on.
    """

    hits: Hits
    width: int
    height: int
    band: float = 0.0
    crops: tuple[CropPlace, ...] = ()
    changes: tuple[str, ...] = ()
    vector: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, content: Content, hits: Hits, plan: ViewPlan, band: float) -> "Query":
        """What is known of a content with an embedding.

        Args:
            content: The content.
            hits: One row a view.
            plan: Which views they are.
            band: Of vectors that are not float32.
        """
        width, height = content.width or 0, content.height or 0
        places = plan.places(width, height) if len(hits) > 1 else ()
        return cls(
            hits,
            width,
            height,
            0.0 if content.precision == "float32" else band,
            places if len(places) > 1 else (),
            plan.changes,
            content.vector,
        )


def vectors_of(content: Content) -> NDArray[np.float32]:
    """All vectors of a content with an embedding, shape (V, D), the centre crop's first."""
    assert content.vector is not None
    if content.views is None:
        return content.vector[None]
    return np.concatenate((content.vector[None], content.views))
