"""Backups: one ZIP file with a consistent copy of the database and the encoders it names.

A ZIP, so that it can be looked into and unpacked without this program; nothing is compressed,
because vectors and weights do not shrink, so that nothing can blow up when it is read either.
FAISS files are derived and left out.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from filelock import FileLock, Timeout

from ..clock import now
from ..database import connect, explained, writing
from ..errors import FileFormatError, UnusableWorkspaceError
from ..leases import Leases
from ..paths import workspace_folder
from ..scans import Scans
from ..sqlite import Database
from ..whole_files import sync_folder

DATABASE_NAME: Final = "workspace.sqlite"
ENCODERS_NAME: Final = "encoders"
MANIFEST_NAME: Final = "manifest.json"
_FORMAT: Final = "code-forensics workspace backup 1"
_MEMBER: Final = re.compile(
    rf"{DATABASE_NAME}|{ENCODERS_NAME}/[0-9a-f]{{64}}/(model\.safetensors|config\.json)"
)
_UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MANIFEST_LIMIT: Final = 1 << 24
_BLOCK: Final = 1 << 20
_OF_THE_COPY: Final = (
    "SQLITE_CANTOPEN",
    "SQLITE_READONLY",
    "SQLITE_PERM",
    "SQLITE_FULL",
    "SQLITE_IOERR",
)
"""Beginnings of the names of errors that a copy's folder or disk causes: the workspace is open."""
_OF_THE_SOURCE: Final = ("SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ")
"""Those of reading, which the workspace's disk causes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a backup."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds.

    Attributes:
        bytes: Size of the file, or of what was restored.
        scans: Scans.
        galleries: Galleries in force.
        encoders: Encoders with their weights.
        missing: Encoders whose weights the workspace has lost.
    """

    bytes: int
    scans: int
    galleries: int
    encoders: int
    missing: int = 0


def write_backup(database: Database, encoders: Path, target: Path) -> BackedUp:
    """Write a backup; scans may go on meanwhile.

    Args:
        database: Of the workspace. What is committed when the copy begins is in it.
        encoders: Folder of the encoders' copies.
        target: The file to make; it appears under its name when it is complete. What a process
            that was killed has left of it, a copy of the whole case, is deleted.

    Raises:
        UnusableWorkspaceError: The file exists, cannot be written, or is being written; or the
            database is damaged.
    """
    if target.exists():
        raise UnusableWorkspaceError(f"{target} exists", "name a new file for the backup")
    if not target.absolute().parent.is_dir():
        raise UnusableWorkspaceError(
            f"cannot write the backup {target}: there is no such folder", "make the folder first"
        )
    with _alone(target):
        return _write(database, encoders, target)


def _write(database: Database, encoders: Path, target: Path) -> BackedUp:
    token = uuid4()
    snapshot = target.with_name(f".{target.name}.{token}.sqlite")
    temporary = target.with_name(f".{target.name}.{token}.tmp")
    try:
        with (
            explained(encoders.with_name(DATABASE_NAME)),
            _unwritable_as(target),
            closing(sqlite3.connect(snapshot)) as copy,
        ):
            database.conn.backup(copy)
            said = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise UnusableWorkspaceError(
                    f"the workspace database is damaged ({said})",
                    "see what is with: code-index verify",
                )
            scans, galleries = _counts(copy)
            kept = [row[0] for row in copy.execute("SELECT sha256 FROM encoders ORDER BY id")]
        found = _pack(snapshot, encoders, kept, temporary)
        temporary.replace(target)
        sync_folder(target.absolute().parent)
    except OSError as error:
        raise _unwritable(target, str(error.strerror)) from error
    finally:
        for path in (
            temporary,
            *(Path(f"{snapshot}{end}") for end in ("", "-journal", "-wal", "-shm")),
        ):
            with suppress(OSError):  # as on a disk that cannot be written to
                path.unlink(missing_ok=True)
    return BackedUp(target.stat().st_size, scans, galleries, found, len(kept) - found)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Within it, nobody else writes a backup or workspace here; nothing of a killed one is left."""
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnusableWorkspaceError(
            f"another process is writing {target}", "wait for it, or name another place"
        ) from error
    except OSError as error:
        raise _unwritable(target, str(error.strerror)) from error
    try:
        name = rf"\.{re.escape(target.name)}\.{_UUID}\.(tmp|sqlite(-journal|-wal|-shm)?)"
        for left in target.absolute().parent.iterdir():
            if re.fullmatch(name, left.name):
                with suppress(OSError):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _unwritable_as(target: Path) -> Iterator[None]:
    """Within it, SQLite's errors of writing a copy speak of the backup, not of the workspace."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorname", "")
        if not code.startswith(_OF_THE_COPY) or code in _OF_THE_SOURCE:
            raise
        raise _unwritable(target, str(error)) from error


def _unwritable(target: Path, why: str) -> UnusableWorkspaceError:
    return UnusableWorkspaceError(
        f"cannot write {target}: {why}",
        "name one in a folder that can be written to, on a disk with room",
    )


def read_backup(source: Path, folder: Path) -> BackedUp:
    """Put a backup back as a new workspace.

    Every byte is compared with the backup's own hashes before the workspace appears.

    Args:
        source: A file of :func:`write_backup`.
        folder: The new workspace; missing or empty.

    Raises:
        FileFormatError: The file is none, or is damaged.
        UnusableWorkspaceError: The folder holds something, or cannot be written.
    """
    folder = workspace_folder(folder)
    if folder.is_symlink():  # to an empty folder, in whose place the new one comes
        folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnusableWorkspaceError(
            f"{folder} is not empty", "name a new folder with --workspace: nothing is overwritten"
        )
    with suppress(OSError):  # which the next lines say
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        return _restore(source, folder)


def _restore(source: Path, folder: Path) -> BackedUp:
    building = folder.with_name(f".{folder.name}.{uuid4()}.tmp")
    try:
        building.mkdir()
        members = _unpack(source, building)
        try:
            scans, galleries = _reopen(building)
        except UnusableWorkspaceError as error:
            why = str(error).replace(str(building), str(folder))
            raise FileFormatError(f"{source} is not restored: {why}", error.hint) from error
        if folder.exists():
            folder.rmdir()
        building.rename(folder)
        sync_folder(folder.parent)
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise FileFormatError(f"{source} is not a backup, or damaged: {error}") from error
    except OSError as error:
        raise UnusableWorkspaceError(
            f"cannot restore {source} to {folder}: {error.strerror or error}",
            "check that the file is there, and that the disk has room",
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    encoders = {name.split("/")[1] for name in members if name != DATABASE_NAME}
    size = sum(member.bytes for member in members.values())
    return BackedUp(size, scans, galleries, len(encoders))


def _pack(snapshot: Path, encoders: Path, kept: list[str], temporary: Path) -> int:
    """Write the ZIP, durably; the number of encoders that are in it."""
    members: dict[str, Member] = {}
    found = 0
    with temporary.open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            members[DATABASE_NAME] = _add(archive, DATABASE_NAME, snapshot)
            for sha256 in kept:
                paths = sorted(p for p in (encoders / sha256).glob("*") if p.suffix != ".tmp")
                found += len(paths) == 2
                for path in paths:
                    name = f"{ENCODERS_NAME}/{sha256}/{path.name}"
                    if _MEMBER.fullmatch(name):
                        members[name] = _add(archive, name, path)
            manifest = {
                "format": _FORMAT,
                "made": now(),
                "members": {name: asdict(member) for name, member in members.items()},
            }
            archive.writestr(MANIFEST_NAME, json.dumps(manifest, indent=1))
        file.flush()
        os.fsync(file.fileno())
    return found


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> Member:
    info = zipfile.ZipInfo.from_file(path, name)
    with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as sink:
        return _copy(source, sink)


def _unpack(source: Path, folder: Path) -> Mapping[str, Member]:
    with zipfile.ZipFile(source) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        members = _read_manifest(archive, infos)
        if infos.keys() != {*members, MANIFEST_NAME} or DATABASE_NAME not in members:
            raise FileFormatError(f"{source} is incomplete, or holds files that no backup has")
        for name, member in members.items():
            info = infos[name]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != member.bytes:
                raise FileFormatError(f"{source}: {name} is not what the backup says of it")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as packed, path.open("xb") as sink:
                copied = _copy(packed, sink)
                sink.flush()
                os.fsync(sink.fileno())
            if copied != member:
                raise FileFormatError(
                    f"{source} is damaged: the hash of {name} is another one",
                    "use another copy of the backup",
                )
    return members


def _read_manifest(
    archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo]
) -> Mapping[str, Member]:
    """The members by name, every name one that a backup may have."""
    info = infos.get(MANIFEST_NAME)
    hint = "name a file that code-index backup has written"
    if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size > _MANIFEST_LIMIT:
        raise FileFormatError("this is not a backup of a workspace", hint)
    try:
        manifest = json.loads(archive.read(info))
        if manifest["format"] != _FORMAT:
            raise FileFormatError("this backup was made by another version", "update this program")
        members = {
            str(name): Member(int(member["bytes"]), str(member["sha256"]))
            for name, member in manifest["members"].items()
        }
    except (
        ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    ) as error:  # fmt: skip
        raise FileFormatError("this is not a backup of a workspace", hint) from error
    for name in members:
        if not _MEMBER.fullmatch(name):
            raise FileFormatError(f"the backup holds a file {name!r} that none has")
    return members


def _copy(source: IO[bytes], sink: IO[bytes]) -> Member:
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        size += len(block)
        sink.write(block)
    return Member(size, digest.hexdigest())


def _reopen(folder: Path) -> tuple[int, int]:
    """Make a restored database fit its new place: nobody is at work in it, no file is derived."""
    path = folder / DATABASE_NAME
    with closing(connect(path)) as database, explained(path):
        said = database.conn.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise FileFormatError(f"the database in the backup is damaged ({said})")
        with writing(database) as connection:
            connection.execute("DELETE FROM faiss_files")
        Scans(database, Leases(folder / "leases")).close_killed()
        return _counts(database.conn)


def _counts(connection: sqlite3.Connection) -> tuple[int, int]:
    scans, galleries = connection.execute(
        "SELECT (SELECT COUNT(*) FROM scans),"
        " (SELECT COUNT(*) FROM galleries WHERE removed IS NULL)"
    ).fetchone()
    return scans, galleries
