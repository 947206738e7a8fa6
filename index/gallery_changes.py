"""A change of a gallery, within the transaction of whoever makes it: references, then the seal."""

import sqlite3
from collections.abc import Iterable

from .clock import now
from .errors import GalleryError
from .gallery_records import NewReference
from .paths import store_path
from .seals import seal


def insert_references(
    connection: sqlite3.Connection,
    key: int,
    generation: int,
    dimension: int,
    references: Iterable[NewReference],
) -> int:
    """Put references into force, numbered on from those that the gallery has ever held.

    Args:
        connection: In a transaction.
        key: Of the gallery.
        generation: From which on they are in force.
        dimension: Length D of the vectors of its encoder.
        references: What is added.

    Returns:
        How many.

    Raises:
        GalleryError: A vector is not of that length.
    """
    (ordinal,) = connection.execute(
        'SELECT COALESCE(MAX(ordinal), 0) FROM "references" WHERE gallery_id = ?', (key,)
    ).fetchone()
    cursor = connection.executemany(
        'INSERT INTO "references" (gallery_id, ordinal, label, generator, source, path,'
        " sha256, vector, trained, compared, added) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                key,
                number,
                r.label,
                r.generator,
                r.source,
                None if r.path is None else store_path(r.path),
                r.sha256,
                _stored(r, dimension),
                int(r.trained),
                int(r.compared),
                generation,
            )
            for number, r in enumerate(references, ordinal + 1)
        ),
    )
    return max(cursor.rowcount, 0)


def seal_generation(connection: sqlite3.Connection, key: int, generation: int, action: str) -> None:
    """Close a change: hash what is in force, and count it.

    Args:
        connection: In the transaction of the change.
        key: Of the gallery.
        generation: Its new one.
        action: What the user did, for the record.

    Raises:
        GalleryError: A class would be left empty.
    """
    sealed = seal(connection, key, generation)
    for label, count in (("real", sealed.reals), ("fake", sealed.fakes)):
        if not count:
            raise GalleryError(
                f"the gallery would hold no {label} reference",
                "a gallery needs images of both classes",
            )
    connection.execute(
        "INSERT INTO gallery_generations VALUES (?, ?, ?, ?, ?, ?, ?)",
        (key, generation, sealed.sha256, sealed.reals, sealed.fakes, action, now()),
    )
    connection.execute("UPDATE galleries SET generation = ? WHERE id = ?", (generation, key))


def _stored(reference: NewReference, dimension: int) -> bytes:
    if reference.vector.shape != (dimension,):
        raise GalleryError(
            f"a vector of shape {reference.vector.shape} is none of the gallery's encoder,"
            f" which gives {dimension} numbers",
            "embed with the encoder that code-index info shows",
        )
    return reference.vector.astype("<f4").tobytes()
