"""What is known of a gallery's references beside their middles, for those who calibrate on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .gallery_records import GalleryInfo
from .sqlite import Database

_KEYS = (
    "SELECT (SELECT v.reference_id FROM reference_views v"
    ' WHERE v.reference_id = r.id AND v.plan = ?) FROM "references" r'
    " WHERE r.gallery_id = ? AND r.added <= ? AND (r.removed IS NULL OR r.removed > ?)"
    " ORDER BY r.ordinal"
)


class KnownViews:
    """The further views of a gallery's references under one plan.

    Attributes:
        known: For which references in force there are any to be had, in their order, shape (N,).
    """

    def __init__(
        self, database: Database, plan: str, dimension: int, keys: list[int | None]
    ) -> None:
        self.known = np.array([key is not None for key in keys], dtype=np.bool_)
        self._database = database
        self._plan = plan
        self._dimension = dimension
        self._keys = keys

    def of(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.float32]]:
        """Embeddings of the further views of some references, (V - 1, D) each."""
        return [self._one(self._keys[row]) for row in rows.tolist()]

    def _one(self, key: int | None) -> NDArray[np.float32]:
        (vectors,) = self._database.conn.execute(
            "SELECT vectors FROM reference_views WHERE reference_id = ? AND plan = ?",
            (key, self._plan),
        ).fetchone()
        return np.frombuffer(vectors, "<f4").reshape(-1, self._dimension)


def known_views(database: Database, info: GalleryInfo, plan: str) -> KnownViews | None:
    """Look for further views of a gallery's references; None where there are none at all."""
    if database.conn.execute("SELECT 1 FROM reference_views LIMIT 1").fetchone() is None:
        return None  # without a walk through a large gallery
    values = (plan, info.key, info.generation, info.generation)
    keys = [key for (key,) in database.conn.execute(_KEYS, values)]
    return KnownViews(database, plan, info.dimension, keys) if any(keys) else None
