"""A change of a gallery, within the transaction of whoever makes it: references, then the seal."""

import re
import sqlite3
from collections.abc import Iterable, Sequence

from .clock import now
from .errors import GalleryError
from .gallery_records import GalleryInfo, NewReference
from .paths import store_path
from .seals import seal

MIN_DIGITS = 6
"""Hexadecimal digits by which a reference's file may be named at least."""

_DIGEST = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},64}}")


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


def withdraw_references(
    connection: sqlite3.Connection,
    info: GalleryInfo,
    sources: Sequence[str],
    generators: Sequence[str],
    sha256s: Sequence[str],
) -> int:
    """Take references out of force by what each kind of choice leaves; at least one is made.

    Args:
        connection: Within a transaction.
        info: The gallery as it is now.
        sources: Names of sources; empty is no choice, as for the others.
        generators: Names of generators, of fakes.
        sha256s: Digests of files, or beginnings of them that fit no other file of the gallery.

    Returns:
        How many were withdrawn.

    Raises:
        GalleryError: A digest is unusable.
    """
    clauses: list[str] = []
    values: list[str] = []
    for named, clause in (
        (sources, "source IN"),
        (generators, "label = 'fake' AND generator IN"),
        ([_whole_digest(connection, info, text) for text in sha256s], "sha256 IN"),
    ):
        if named:
            clauses.append(f"{clause} ({', '.join('?' * len(named))})")
            values += named
    return connection.execute(
        'UPDATE "references" SET removed = ?'  # noqa: S608
        f" WHERE gallery_id = ? AND removed IS NULL AND {' AND '.join(clauses)}",
        (info.generation + 1, info.key, *values),
    ).rowcount


def _whole_digest(connection: sqlite3.Connection, info: GalleryInfo, text: str) -> str:
    """The digest of a reference in force that begins so; of none, what was given.

    Raises:
        GalleryError: It is too short or not hexadecimal, or several files' digests begin so.
    """
    beginning = text.lower()
    if not _DIGEST.fullmatch(beginning):
        raise GalleryError(
            f"{text!r} is not a SHA-256, nor the beginning of one",
            f"give at least {MIN_DIGITS} of its hexadecimal digits",
        )
    rows = connection.execute(
        'SELECT DISTINCT sha256 FROM "references"'
        " WHERE gallery_id = ? AND removed IS NULL AND substr(sha256, 1, ?) = ?"
        " ORDER BY sha256",
        (info.key, len(beginning), beginning),
    ).fetchall()
    if len(rows) > 1:
        named = ", ".join(f"{digest[: len(text) + 6]}..." for (digest,) in rows[:3])
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise GalleryError(
            f"{len(rows)} files of gallery {info.name!r} begin with {text}: {named}{more}",
            "give more digits",
        )
    return str(rows[0][0]) if rows else beginning
