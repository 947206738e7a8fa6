"""The seal of a gallery: a digest over everything that is in force at one generation."""

import hashlib
import sqlite3
from dataclasses import dataclass

from .gallery_records import LABELS


@dataclass(frozen=True, slots=True)
class Seal:
    """What a gallery is at one generation.

    Attributes:
        sha256: Over encoder, preprocessing and every reference in force.
        reals: References labelled real that queries are compared with.
        fakes: The same of those labelled fake.
    """

    sha256: str
    reals: int
    fakes: int


def seal(connection: sqlite3.Connection, key: int, generation: int) -> Seal:
    """Compute the seal of a gallery from the references in force at a generation."""
    digest = hashlib.sha256()
    encoder, preprocessing = connection.execute(
        "SELECT e.sha256, g.preprocessing FROM galleries g"
        " JOIN encoders e ON e.id = g.encoder_id WHERE g.id = ?",
        (key,),
    ).fetchone()
    digest.update(f"{encoder}\n{preprocessing}\n".encode())
    counts = dict.fromkeys(LABELS, 0)
    for row in connection.execute(
        'SELECT ordinal, label, generator, source, vector, trained, compared FROM "references"'
        " WHERE gallery_id = ? AND added <= ? AND (removed IS NULL OR removed > ?)"
        " ORDER BY ordinal",
        (key, generation, generation),
    ):
        # Nothing where neither is said, so that older seals stay as they were.
        mark = ("\x1ftrained" if row[5] else "") + ("" if row[6] else "\x1fcalibrates")
        digest.update(("\x1f".join(map(str, row[:4])) + mark).encode() + b"\n" + row[4])
        counts[row[1]] += row[6]
    return Seal(digest.hexdigest(), counts["real"], counts["fake"])
