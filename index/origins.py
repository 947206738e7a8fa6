"""Galleries by what they began with: the first action on record says what made them."""

from dataclasses import dataclass

from .sqlite import Database


@dataclass(frozen=True, slots=True)
class BegunGallery:
    """A gallery in force, and how it began.

    Attributes:
        name: As the user calls it.
        generation: Number of changes so far; 1 is as it was made.
        action: What made it.
    """

    name: str
    generation: int
    action: str


def begun_by(database: Database, begin: str) -> list[BegunGallery]:
    """The galleries in force whose first action begins with some text, the latest last."""
    rows = database.conn.execute(
        "SELECT g.name, g.generation, h.action FROM galleries g"
        " JOIN gallery_generations h ON h.gallery_id = g.id AND h.generation = 1"
        " WHERE g.removed IS NULL AND substr(h.action, 1, ?) = ? ORDER BY g.id",
        (len(begin), begin),
    )
    return [BegunGallery(*row) for row in rows]
