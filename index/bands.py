"""How far reduced precision may move the scores of a gallery, kept as it was measured."""

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from .database import writing
from .gallery_records import GalleryInfo
from .sqlite import Database

_LOG = logging.getLogger(__name__)


class PrecisionBands:
    """Measured bands, opaque here: the engine writes and reads them.

    One is kept for each state of a gallery, k and arithmetic (precision, device, versions), since
    measuring takes as long as embedding some hundred images.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, info: GalleryInfo, k: int, arithmetic: str) -> Mapping[str, Any] | None:
        """What was kept for this generation, k and arithmetic, if anything."""
        row = self._database.conn.execute(
            "SELECT document FROM precision_bands"
            " WHERE gallery_id = ? AND generation = ? AND k = ? AND arithmetic = ?",
            (info.key, info.generation, k, arithmetic),
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def keep(self, info: GalleryInfo, k: int, arithmetic: str, band: Mapping[str, Any]) -> None:
        """Keep a band; those of earlier generations go.

        A workspace that cannot be written to is no error: it is measured again next time. Nor is a
        gallery that was purged meanwhile.
        """
        try:
            with writing(self._database) as connection:
                connection.execute(
                    "DELETE FROM precision_bands WHERE gallery_id = ? AND generation < ?",
                    (info.key, info.generation),
                )
                connection.execute(
                    "INSERT OR REPLACE INTO precision_bands SELECT gallery_id, generation, ?, ?, ?"
                    " FROM gallery_generations"
                    " WHERE gallery_id = ? AND generation = ? AND sha256 = ?",
                    (k, arithmetic, json.dumps(band), info.key, info.generation, info.sha256),
                )
        except sqlite3.OperationalError as error:
            _LOG.warning("cannot keep the precision band of %s (%s)", info.name, error)
