"""Checks everything that a workspace holds, and repairs what is derived or left over."""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..database import strange_tables
from ..encoders import Encoders
from ..errors import UnusableWorkspaceError
from ..galleries import Galleries
from ..leases import Leases, file_lease
from ..scans import Scans
from ..seals import seal
from ..searching.faiss_files import FaissFiles
from ..searching.scanned_vectors import ScannedVectors
from ..searching.vectors import finite, nonzero
from ..sqlite import Database
from .findings import CheckResult, Finding, Outcome
from .purge_pending import GO_ON, PURGE_LEASE, Pending
from .verify_faiss import FaissCheck
from .verify_files import check_files

_TEMPORARY = re.compile(r"\.([0-9a-f-]{36})\.tmp$")
_ROWS = 8192

Identify = Callable[[Path], str | None]
"""Computes the identity of the encoder in a folder; None where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a workspace that are checked."""

    galleries: Galleries
    scans: Scans
    encoders: Encoders
    scanned: ScannedVectors
    files: FaissFiles
    leases: Leases


class Verifier:
    """Checks one workspace."""

    def __init__(self, database: Database, parts: Parts, identify: Identify) -> None:
        self._database = database
        self._connection: sqlite3.Connection = database.conn
        self._parts = parts
        self._identify = identify

    def run(self, files: bool = False) -> Iterator[CheckResult]:
        """Run the checks, one after the other.

        In a database that is damaged nothing is repaired, and nothing else is looked at.

        Args:
            files: Also read every scanned file again and compare its hash.
        """
        database = self._integrity()
        yield database
        if not database.clean:
            return
        yield self._tables()
        yield self._scans()
        yield self._purges()
        yield self._leftovers()
        yield self._encoders()
        yield self._heads()
        embeddings = self._vectors("embeddings", "embedding", "scan its file with --reembed")
        references = self._vectors('"references"', "reference", "build its gallery again")
        yield embeddings
        yield self._views()
        yield references
        yield self._seals()
        yield self._faiss(embeddings.clean and references.clean)
        if files:
            yield check_files(self._connection, self._parts.scans)

    def _integrity(self) -> CheckResult:
        hint = "restore the workspace from a backup"
        try:
            said = [row[0] for row in self._connection.execute("PRAGMA integrity_check")]
            broken = self._connection.execute("PRAGMA foreign_key_check").fetchall()
            (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        except sqlite3.DatabaseError as error:
            return CheckResult("database", 0, (Finding(str(error), Outcome.REMAINS, hint),))
        findings = [Finding(text, Outcome.REMAINS, hint) for text in said if text != "ok"]
        findings += [
            Finding(f"a row of {table} points at no row of {parent}", Outcome.REMAINS, hint)
            for table, _, parent, _ in broken
        ]
        return CheckResult("database pages", pages, tuple(findings))

    def _tables(self) -> CheckResult:
        hint = "what it holds may be made up: restore the workspace from a backup of your own"
        findings = [
            Finding(f"{name} is not the table or index that is made here", Outcome.REMAINS, hint)
            for name in strange_tables(self._database)
        ]
        (count,) = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        return CheckResult("tables and indexes", count, tuple(findings))

    def _scans(self) -> CheckResult:
        findings = [
            Finding(f"scan {info.key} was killed: marked interrupted", Outcome.REPAIRED)
            for info in self._parts.scans.close_killed()
        ]
        findings += [
            Finding(f"scan {info.key} is running", Outcome.NOTED)
            for info in self._parts.scans.alive()
        ]
        (count,) = self._connection.execute("SELECT COUNT(*) FROM scans").fetchone()
        return CheckResult("scans", count, tuple(findings))

    def _purges(self) -> CheckResult:
        name, running = "unfinished purges", bool(self._parts.leases.all_held(PURGE_LEASE))
        try:
            pending = Pending.read(self._connection)
        except UnusableWorkspaceError as error:
            return CheckResult(name, 1, (Finding(str(error), Outcome.REMAINS, error.hint),))
        if pending is None:
            return CheckResult(name, 0)
        if running or self._parts.leases.all_held(PURGE_LEASE):  # it may have begun just now
            note = Finding(f"a purge is running: {pending.in_words()}", Outcome.NOTED)
            return CheckResult(name, 1, (note,))
        text = f"a purge was interrupted, and is not through: {pending.in_words()}"
        return CheckResult(name, 1, (Finding(text, Outcome.REMAINS, GO_ON),))

    def _leftovers(self) -> CheckResult:
        findings, count = [], 0
        for folder in (self._parts.files.folder, self._parts.encoders.folder):
            for path in sorted(folder.rglob("*.tmp")):
                count += 1
                token = _TEMPORARY.search(path.name)
                if token and token[1] and self._parts.leases.held(file_lease(token[1])):
                    findings.append(Finding(f"{path.name} is being written", Outcome.NOTED))
                else:
                    path.unlink(missing_ok=True)
                    findings.append(Finding(f"removed {path.name}", Outcome.REPAIRED))
        strangers = self._parts.files.sweep()
        findings += [
            Finding(f"removed {path.name}, which belongs to nothing", Outcome.REPAIRED)
            for path in strangers
        ]
        self._parts.leases.sweep()
        return CheckResult("temporary files", count + len(strangers), tuple(findings))

    def _encoders(self) -> CheckResult:
        kept = self._parts.encoders.all()
        findings = []
        for encoder in kept:
            found = self._identify(encoder.folder)
            if found != encoder.sha256:
                state = "cannot be read" if found is None else f"is {found[:12]} now"
                findings.append(
                    Finding(
                        f"the copy of encoder {encoder.sha256[:12]} {state}",
                        Outcome.REMAINS,
                        "give scans the original with --weights; a copy of it belongs into"
                        f" {encoder.folder}",
                    )
                )
        return CheckResult("encoders", len(kept), tuple(findings))

    def _heads(self) -> CheckResult:
        rows = self._connection.execute("SELECT name, sha256, document FROM heads ORDER BY id")
        findings, count = [], 0
        for name, sha256, document in rows:
            count += 1
            if hashlib.sha256(document).hexdigest() != sha256:
                hint = "import it again with --replace, or restore the workspace from a backup"
                text = f"the copy of classifier {name} is damaged"
                findings.append(Finding(text, Outcome.REMAINS, hint))
        return CheckResult("classifiers", count, tuple(findings))

    def _vectors(self, table: str, kind: str, hint: str) -> CheckResult:
        owner = "m.encoder_id" if kind == "embedding" else "g.encoder_id"
        join = "" if kind == "embedding" else "JOIN galleries g ON g.id = m.gallery_id "
        rows = self._connection.execute(
            f"SELECT m.id, e.dimension, m.vector FROM {table} m {join}"  # noqa: S608
            f"JOIN encoders e ON e.id = {owner}"
        )
        findings, count = [], 0
        while part := rows.fetchmany(_ROWS):
            count += len(part)
            for key, problem in _bad_vectors(part):
                findings.append(Finding(f"{kind} {key} {problem}", Outcome.REMAINS, hint))
        return CheckResult(f"vectors of {kind}s", count, tuple(findings))

    def _views(self) -> CheckResult:
        rows = self._connection.execute(
            "SELECT v.id, e.dimension, v.vectors FROM views v"
            " JOIN encoders e ON e.id = v.encoder_id"
        )
        hint = "scan its file with --reembed and the same --crops and --probe"
        findings, count = [], 0
        for key, width, blob in rows:
            count += 1
            step = 4 * width
            parts = [blob[at : at + step] for at in range(0, max(len(blob), 1), step)]
            for _, problem in _bad_vectors([(key, width, part) for part in parts]):
                findings.append(Finding(f"views {key}: a vector {problem}", Outcome.REMAINS, hint))
        return CheckResult("pictures with further views", count, tuple(findings))

    def _seals(self) -> CheckResult:
        rows = self._connection.execute(
            "SELECT g.id, g.name, h.generation, h.sha256 FROM gallery_generations h"
            " JOIN galleries g ON g.id = h.gallery_id ORDER BY g.id, h.generation"
        ).fetchall()
        findings = [
            Finding(
                f"gallery {name} is not what it was when generation {generation} was made",
                Outcome.REMAINS,
                "someone has changed the database by hand: restore it from a backup",
            )
            for key, name, generation, sha256 in rows
            if seal(self._connection, key, generation).sha256 != sha256
        ]
        return CheckResult("generations of galleries", len(rows), tuple(findings))

    def _faiss(self, sound: bool) -> CheckResult:
        parts = self._parts
        if not sound:  # nothing can be built from such vectors
            note = Finding("not compared, because vectors are damaged", Outcome.NOTED)
            return CheckResult("FAISS files", 0, (note,))
        return FaissCheck(self._database, parts.files, parts.galleries, parts.scanned).run()


def _bad_vectors(rows: list[tuple[int, int, bytes]]) -> Iterator[tuple[int, str]]:
    """Keys of vectors that nothing can be compared with, and why; rows are key, width, bytes."""
    by_width: dict[int, list[tuple[int, bytes]]] = {}
    for key, width, blob in rows:
        if len(blob) == 4 * width:
            by_width.setdefault(width, []).append((key, blob))
        else:
            yield key, f"has {len(blob)} bytes instead of {4 * width}"
    for width, fitting in by_width.items():
        vectors = np.frombuffer(b"".join(blob for _, blob in fitting), "<f4").reshape(-1, width)
        for row in np.flatnonzero(~finite(vectors)):
            yield fitting[row][0], "holds a value that is not finite"
        for row in np.flatnonzero(~nonzero(vectors)):
            yield fitting[row][0], "is zero"
