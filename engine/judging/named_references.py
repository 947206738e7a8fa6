"""Whether the references that a row names can be the nearest ones of its picture."""

import numpy as np
import numpy.typing as npt

from ..contracts import Gallery
from ..results import FileResult, Label
from .hits import search_both


def can_be_nearest(
    before: FileResult,
    after: FileResult,
    gallery: Gallery,
    vector: npt.NDArray[np.float32],
    depth: int,
    tolerance: float,
) -> bool:
    """Tell whether each reference that a row names lies as near as the row says.

    Only equally near references may thus stand in each other's place. A reference that is not
    among twice as many as were asked for is at most as near as the last of these.

    Args:
        before: The row that is asked about.
        after: The row of now.
        gallery: What was compared with.
        vector: Of the picture's centre crop, shape (D,).
        depth: References of each class that were asked for.
        tolerance: Most that each cosine may differ.
    """
    named = before.neighbours
    if before.neighbour != (named[0].id if named else None):
        return False
    keys = [neighbour.key for neighbour in named]
    if keys == [neighbour.key for neighbour in after.neighbours]:
        return True
    if len(set(keys)) < len(keys):
        return False
    hits = search_both(gallery, vector[None], 2 * depth)
    found = {Label.REAL: (hits.real_keys[0], hits.real[0])}
    found[Label.FAKE] = (hits.fake_keys[0], hits.fake[0])
    for label, (near, cosines) in found.items():
        cosine_of = dict(zip(near.tolist(), cosines.tolist(), strict=True))
        for neighbour in named:
            if neighbour.label is not label:
                continue
            cosine = cosine_of.get(neighbour.key)
            off = neighbour.similarity - (cosines[-1] if cosine is None else cosine)
            if off > tolerance or (cosine is not None and off < -tolerance):
                return False
    return True
