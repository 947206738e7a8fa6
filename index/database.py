"""The SQLite connection: durable, patient with other processes, and clear when it fails."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from .errors import UnusableWorkspaceError
from .migrations import KNOWN, MIGRATIONS
from .sqlite import Database

BUSY_SECONDS = 60.0
"""How long a write waits for another process before it gives up."""

_PARAMETERS = 900  # of a statement; SQLite has long allowed 999


def connect(path: Path, sealed: bool = False) -> Database:
    """Open the database of a workspace, making or migrating it where needed.

    Args:
        path: The file.
        sealed: Whether it lies where nothing can be written, as on a disc: then it is read as it
            is, and nothing beside it is touched.

    Raises:
        UnusableWorkspaceError: It cannot be opened, is damaged, or is newer than this program; or
            it is sealed and would have to be written to before it could be read.
    """
    if sealed:
        _refuse_unfinished(path)
    where = f"{path.as_uri()}?immutable=1" if sealed else str(path)
    with explained(path):
        connection = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None, uri=sealed)
        try:
            return _prepare(connection, path, sealed)
        except BaseException:
            connection.close()
            raise


def is_sealed(folder: Path) -> bool:
    """Whether a folder lies on a file system that nobody can write to, as on a disc."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except (AttributeError, OSError):  # Windows has no such call
        return False


def _refuse_unfinished(path: Path) -> None:
    """What was committed last may stand in a file beside the database."""
    beside = path.with_name(f"{path.name}-wal")
    if beside.exists() and beside.stat().st_size:
        raise _sealed(path, "was not closed")


def _sealed(path: Path, why: str) -> UnusableWorkspaceError:
    return UnusableWorkspaceError(
        f"the workspace {path.parent} cannot be written to, and {why}",
        "copy it to where it can be written to, and name that with --workspace",
    )


def _prepare(connection: sqlite3.Connection, path: Path, sealed: bool) -> Database:
    database = Database(connection)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # purged rows leave no bytes behind
    connection.execute("PRAGMA trusted_schema = OFF")  # a restored database may be a stranger's
    _refuse_code(connection, path)
    applied = {migration.name for migration in MIGRATIONS.applied(database)}
    if not applied and any(path.parent.glob("encoders/*/model.safetensors")):
        raise UnusableWorkspaceError(
            f"the database of the workspace {path.parent} is empty, though it was in use",
            "restore a backup (code-index restore), or name another folder with --workspace",
        )
    if newer := sorted(applied - KNOWN):
        raise UnusableWorkspaceError(
            f"the workspace {path.parent} was made by a newer version of code-forensics"
            f" (schema {newer[-1]})",
            "update code-forensics, or name another folder with --workspace",
        )
    if MIGRATIONS.pending(database):
        if sealed:
            raise _sealed(path, "was made by an earlier version")
        connection.execute("PRAGMA journal_mode = WAL")
        with writing(database):
            MIGRATIONS.apply(database)
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
    return database


def _refuse_code(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that acts by itself: a trigger could rewrite every verdict unseen.

    SQLite obeys the text of each entry and not its stated type, and writes the beginnings itself.
    """
    row = connection.execute(
        "SELECT name FROM sqlite_master WHERE sql NOT LIKE 'CREATE TABLE %'"
        " AND sql NOT LIKE 'CREATE INDEX %' AND sql NOT LIKE 'CREATE UNIQUE INDEX %' LIMIT 1"
    ).fetchone()
    if row is not None:
        raise UnusableWorkspaceError(
            f"the workspace {path.parent} holds {str(row[0])[:40]!r}, a trigger or a view, which"
            " no workspace has: what it says may be made up",
            "do not trust it; restore it from a backup of your own",
        )


def strange_tables(database: Database) -> list[str]:
    """Names of the tables and indexes that are not as the migrations make them, or are missing."""
    with closing(sqlite3.connect(":memory:")) as connection:
        MIGRATIONS.apply(Database(connection))
        ours = _definitions(connection)
    theirs = _definitions(database.conn)
    return sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))


def _definitions(connection: sqlite3.Connection) -> dict[str, tuple[str, ...]]:
    """What defines each table and index, but for those of SQLite and of the migrations' package."""
    rows = connection.execute(
        "SELECT name, type, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> '_sqlite_migrations'"
    )
    return {name: tuple(" ".join(str(part).split()) for part in rest) for name, *rest in rows}


@contextmanager
def writing(database: Database) -> Iterator[sqlite3.Connection]:
    """One transaction that holds the write lock from its beginning; waits for other writers."""
    connection: sqlite3.Connection = database.conn
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")  # this too fails where the disk is full
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def insert_rows(
    connection: sqlite3.Connection,
    into: str,
    rows: Sequence[Sequence[object]],
    known: str = "",
) -> None:
    """Insert many rows with few statements.

    Each statement lets go of Python's lock, and where many threads want it a statement a row
    costs more in waiting than in work.

    Args:
        connection: In a transaction.
        into: The statement up to ``VALUES``.
        rows: All of one length.
        known: What follows the values: an ``ON CONFLICT`` clause.
    """
    if not rows:
        return
    width = len(rows[0])
    row = f"({', '.join('?' * width)})"
    most = max(_PARAMETERS // width, 1)
    for first in range(0, len(rows), most):
        part = rows[first : first + most]
        values = ", ".join([row] * len(part))
        connection.execute(f"{into} VALUES {values}{known}", list(chain.from_iterable(part)))


@contextmanager
def reading(database: Database) -> Iterator[sqlite3.Connection]:
    """One transaction that only reads, so that all it sees is of one moment."""
    connection: sqlite3.Connection = database.conn
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one line that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise UnusableWorkspaceError(*_explain(error, path)) from error


def _explain(error: sqlite3.DatabaseError, path: Path) -> tuple[str, str]:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"another process has held the workspace {path.parent} for {BUSY_SECONDS:.0f} s",
            "wait for it to finish and run the command again; nothing is lost",
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return (
            f"the workspace {path.parent} cannot be written to",
            "check its permissions, or name another folder with --workspace",
        )
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return (
            f"the disk under the workspace {path.parent} is full or failing ({error})",
            "free some space and run the command again; what was committed is kept",
        )
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"the workspace database {path} is damaged ({error})",
            "restore it from a backup, or name another folder with --workspace",
        )
    return f"the workspace database {path} failed: {error}", ""
