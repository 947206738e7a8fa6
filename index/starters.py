"""Which galleries of a workspace are the starter that a package embeds, and which starter it is."""

from dataclasses import dataclass

from .origins import begun_by
from .sqlite import Database

ACTION = "starter"
"""Begins the first action of a starter's gallery; no other command's action does."""

CENTER = "center"
"""The layout of crops that galleries are for where they say nothing: the middle alone."""

NAME = "starter"
"""What its gallery is called, unless the user has one of that name."""


@dataclass(frozen=True, slots=True)
class InstalledStarter:
    """A starter's gallery in force.

    Attributes:
        name: As the user calls it.
        sha256: Identity of the starter, which the gallery had when it was installed.
        generation: Number of changes so far; 1 is as it was installed.
        k: References of each class behind a score that it was made for.
        crops: Name of the layout of crops that it was made for.
    """

    name: str
    sha256: str
    generation: int
    k: int = 1
    crops: str = CENTER


def starter_action(sha256: str, k: int = 1, crops: str = CENTER) -> str:
    """What a gallery's first generation says of its origin: which starter, and made for what."""
    return (
        f"{ACTION} {sha256}"
        + (f" k={k}" if k != 1 else "")
        + (f" crops={crops}" if crops != CENTER else "")
    )


class Starters:
    """The starters of a workspace. A package brings one; those of earlier packages stay."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[InstalledStarter]:
        """Those in force, the latest last."""
        every = []
        for found in begun_by(self._database, f"{ACTION} "):
            sha256, *words = found.action.removeprefix(f"{ACTION} ").split(" ")
            said = dict(word.split("=", 1) for word in words)
            k, crops = int(said.get("k", 1)), said.get("crops", CENTER)
            every.append(InstalledStarter(found.name, sha256, found.generation, k, crops))
        return every

    def current(self) -> InstalledStarter | None:
        """The latest one in force, if there is any."""
        return next(reversed(self.all()), None)
