"""What a purge is asked for, what that comes to, and what went."""

from dataclasses import dataclass, fields

from ..scans import ScanInfo
from .purge_pending import Pending


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What is to go.

    Attributes:
        scans: Numbers, beginnings of ids, or ``latest``.
        paths: Files and directories as they were scanned; what lies below goes too.
        galleries: Names, of galleries in force and of removed ones.
    """

    scans: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    galleries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a request comes to.

    Attributes:
        scans: Scans that go as a whole.
        prefixes: Paths, as they may stand on record; what lies below goes too.
        rows: Rows of other scans that lie there.
        naming: How many other scans were asked for something there, and will not say so any more.
        emptied: Those of the other scans of which nothing is left: they go as a whole too.
        galleries: Keys of galleries.
        references: References in them, withdrawn ones included.
        notes: What stays although it is touched, and why.
        named: What was named, as it stays on record until the purge is through.
        instead_of: The record of an interrupted purge whose place it takes; None where there was
            none.
    """

    scans: tuple[ScanInfo, ...]
    prefixes: tuple[str, ...]
    rows: int
    naming: int
    emptied: tuple[ScanInfo, ...]
    galleries: tuple[int, ...]
    references: int
    notes: tuple[str, ...]
    named: Pending
    instead_of: str | None


@dataclass(slots=True)
class Purged:
    """How much went.

    Attributes:
        scans: Scans.
        rows: Rows of scans.
        mentions: Paths in the run records of scans that stay.
        galleries: Galleries.
        references: References in them.
        files: Paths that were on record.
        contents: Contents, with what was known of them.
        embeddings: Their vectors.
        notes: What is left to do.
    """

    scans: int = 0
    rows: int = 0
    mentions: int = 0
    galleries: int = 0
    references: int = 0
    files: int = 0
    contents: int = 0
    embeddings: int = 0
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "notes"}
