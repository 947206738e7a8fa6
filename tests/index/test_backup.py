"""Backups: consistent while a scan runs, restored byte by byte, and never trusted."""

import hashlib
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from code_forensics.index.errors import FileFormatError, UnusableWorkspaceError, WorkspaceError
from code_forensics.index.upkeep.backup import read_backup
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.workspace import Workspace
from filelock import FileLock

from tests.cli.test_scan import run
from tests.index.stored import (
    ENCODER,
    begin_scan,
    content_of,
    make_workspace,
    record_one,
    record_scan,
    vector_of,
)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(10))
    yield workspace
    workspace.close()


@pytest.fixture
def backup(space: Workspace, tmp_path: Path) -> Path:
    space.backup(tmp_path / "backup.zip")
    return tmp_path / "backup.zip"


def test_a_backup_while_a_scan_runs_is_of_one_moment(space: Workspace, tmp_path: Path) -> None:
    recorder = begin_scan(space, "b")
    record_one(recorder, "b/1.png", content_of(1))
    with Workspace(space.folder) as other:
        made = other.backup(tmp_path / "backup.zip")
    record_one(recorder, "b/2.png", content_of(2))
    recorder.finish("finished", {})
    assert (made.scans, made.galleries, made.encoders, made.missing) == (2, 1, 1, 0)
    found = read_backup(tmp_path / "backup.zip", tmp_path / "new")
    assert (found.scans, found.galleries, found.encoders) == (2, 1, 1)
    with Workspace(tmp_path / "new") as restored:
        assert list(restored.scans.rows(restored.scans.info("1"))) == list(
            space.scans.rows(space.scans.info("1"))
        )
        info = restored.scans.info("2")
        assert info.state == "interrupted"  # whoever wrote it writes elsewhere
        assert [row["path"] for row in restored.scans.rows(info)] == ["b/1.png"]
        kept = restored.encoders.find(ENCODER).folder
        assert (kept / "model.safetensors").read_bytes() == b"weights"
        assert restored.galleries.info("g") == space.galleries.info("g")
        (collection,) = restored.scanned.collections()
        found = restored.scanned.search(collection, vector_of(3)[None], 1)
        assert found[0][0].path == "a/3.png"
        findings = [f for r in restored.verify(lambda folder: ENCODER) for f in r.findings]
        assert [f for f in findings if f.outcome is not Outcome.NOTED] == []
        record_scan(restored, "c", range(3))


def test_what_a_killed_backup_left_goes_with_the_next(space: Workspace, tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from code_forensics.index.upkeep import backup\n"
        "from code_forensics.index.workspace import Workspace\n"
        "backup._pack = lambda *_: os.kill(os.getpid(), 9)\n"
        "Workspace(sys.argv[1]).backup(Path(sys.argv[2]))\n"
    )
    folder = tmp_path / "backups"
    folder.mkdir()
    target = folder / "case[1].zip"
    subprocess.run([sys.executable, "-c", program, space.folder, target], check=False)
    (left,) = folder.glob(".*.sqlite")
    others = [f".{target.name}.sqlite", left.name.replace("case[1]", "case1"), f"{left.name}.bak"]
    for name in others:
        (folder / name).touch()
    space.backup(target)
    assert sorted(path.name for path in folder.iterdir()) == sorted([target.name, *others])


def test_a_backup_that_is_being_written_is_left_alone(space: Workspace, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".case.zip.lock"),
        pytest.raises(UnusableWorkspaceError, match="another process is writing"),
    ):
        space.backup(tmp_path / "case.zip")
    space.backup(tmp_path / "case.zip")


def test_a_backup_is_a_plain_zip_with_a_plain_database(backup: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(backup) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            f"encoders/{ENCODER}/config.json",
            f"encoders/{ENCODER}/model.safetensors",
            "manifest.json",
            "workspace.sqlite",
        ]
        archive.extractall(tmp_path / "plain")
        manifest = json.loads(archive.read("manifest.json"))
    data = (tmp_path / "plain" / "workspace.sqlite").read_bytes()
    stated = manifest["members"]["workspace.sqlite"]
    assert stated == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    connection = sqlite3.connect(tmp_path / "plain" / "workspace.sqlite")
    assert connection.execute("SELECT COUNT(*) FROM verdicts").fetchone() == (10,)
    connection.close()
    assert sorted(p.name for p in backup.parent.iterdir()) == ["backup.zip", "plain", "ws"]


def test_nothing_is_overwritten(space: Workspace, backup: Path, tmp_path: Path) -> None:
    with pytest.raises(UnusableWorkspaceError, match="exists"):
        space.backup(backup)
    with pytest.raises(UnusableWorkspaceError, match="not empty"):
        read_backup(backup, space.folder)
    (tmp_path / "empty").mkdir()
    read_backup(backup, tmp_path / "empty")
    assert (tmp_path / "empty" / "workspace.sqlite").is_file()


def test_where_it_cannot_be_written(space: Workspace, backup: Path, tmp_path: Path) -> None:
    with pytest.raises(UnusableWorkspaceError, match="cannot write "):
        space.backup(tmp_path / "nowhere" / "backup.zip")
    (tmp_path / "file").touch()
    with pytest.raises(UnusableWorkspaceError, match=r"cannot (restore|write)"):
        read_backup(backup, tmp_path / "file" / "ws")
    with pytest.raises(UnusableWorkspaceError, match=r"cannot (restore|write)"):
        read_backup(tmp_path / "nowhere.zip", tmp_path / "new")


def test_a_target_that_cannot_be_written_is_not_the_workspace(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def closed(path: Path) -> sqlite3.Connection:
        return connect(path / "no" / "folder")

    def full(path: Path) -> sqlite3.Connection:
        copy = connect(path)
        copy.execute("PRAGMA max_page_count = 2")
        return copy

    for opening, why in ((closed, "unable to open"), (full, "full")):
        monkeypatch.setattr(sqlite3, "connect", opening)
        with pytest.raises(UnusableWorkspaceError) as caught, space.guarded():
            space.backup(tmp_path / "backup.zip")
        assert str(caught.value).startswith(f"cannot write {tmp_path / 'backup.zip'}: ")
        assert why in str(caught.value)
        assert "folder that can be written to" in caught.value.hint
        assert "--workspace" not in caught.value.hint
        assert [path.name for path in tmp_path.iterdir()] == ["ws"]


def test_a_damaged_workspace_is_not_the_targets_fault(space: Workspace, tmp_path: Path) -> None:
    (size,) = space._database.conn.execute("PRAGMA page_size").fetchone()
    (page,) = space._database.conn.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'verdicts'"
    ).fetchone()
    space.close()
    with (space.folder / "workspace.sqlite").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with (
        Workspace(space.folder) as damaged,
        pytest.raises(UnusableWorkspaceError, match=r"the workspace database .* damaged"),
    ):
        damaged.backup(tmp_path / "backup.zip")


def _flip(data: bytes) -> bytes:
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    return bytes(damaged)


def _rewrite(change: Callable[[dict[str, bytes]], None]) -> Callable[[bytes, Path], bytes]:
    def make(data: bytes, folder: Path) -> bytes:
        source = folder / "source.zip"
        source.write_bytes(data)
        with zipfile.ZipFile(source) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        with zipfile.ZipFile(folder / "changed.zip", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return (folder / "changed.zip").read_bytes()

    return make


def _state(members: dict[str, bytes], name: str) -> None:
    manifest = json.loads(members["manifest.json"])
    content = members[name]
    manifest["members"][name] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    members["manifest.json"] = json.dumps(manifest).encode()


def _escape(members: dict[str, bytes]) -> None:
    members["../escaped"] = b"x"
    _state(members, "../escaped")


def _other_weights(members: dict[str, bytes]) -> None:
    members[f"encoders/{ENCODER}/model.safetensors"] = b"WEIGHTS"


def _no_database(members: dict[str, bytes]) -> None:
    members["workspace.sqlite"] = b"this is no database" * 1000
    _state(members, "workspace.sqlite")


def _missing(members: dict[str, bytes]) -> None:
    del members[f"encoders/{ENCODER}/config.json"]


def _no_manifest(members: dict[str, bytes]) -> None:
    members["manifest.json"] = b"[1, 2"


def _encrypted(data: bytes, folder: Path) -> bytes:
    locked = bytearray(data)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = 0
        while (at := locked.find(signature, at)) >= 0:
            locked[at + flags] |= 1
            at += 4
    return bytes(locked)


def _endless(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    manifest["members"]["workspace.sqlite"]["bytes"] = float("inf")
    members["manifest.json"] = json.dumps(manifest).encode()


def _deep(members: dict[str, bytes]) -> None:
    members["manifest.json"] = b"[" * 200_000


def _saying(statement: str) -> Callable[[dict[str, bytes]], None]:
    """Change the database of a backup, and state its new hash."""

    def change(members: dict[str, bytes]) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(_without_wal(members["workspace.sqlite"]))
            connection.executescript(statement)
            members["workspace.sqlite"] = connection.serialize()
        _state(members, "workspace.sqlite")

    return change


def _without_wal(data: bytes) -> bytes:
    return data[:18] + b"\1\1" + data[20:]  # a database in memory has no such file


TRIGGER = (
    "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN UPDATE verdicts SET verdict = 'real'"
    " WHERE scan_id = new.scan_id AND position = new.position; END"
)
NO_RECORD = "INSERT INTO scans (uuid, started, state, run) VALUES ('u', 'x', 'running', '{')"


@pytest.mark.parametrize(
    "damage",
    [
        _encrypted,
        _rewrite(_endless),
        _rewrite(_deep),
        _rewrite(_saying(TRIGGER)),
        _rewrite(_saying("CREATE VIEW v AS SELECT 1")),
        _rewrite(_saying(NO_RECORD)),
        lambda data, folder: _flip(data),
        lambda data, folder: data[: len(data) // 2],
        lambda data, folder: b"no zip at all",
        _rewrite(_escape),
        _rewrite(_other_weights),
        _rewrite(_no_database),
        _rewrite(_missing),
        _rewrite(_no_manifest),
    ],
    ids=[
        "locked",
        "endless",
        "deep",
        "trigger",
        "view",
        "record",
        "bit",
        "cut",
        "text",
        "escape",
        "weights",
        "database",
        "missing",
        "manifest",
    ],
)
def test_a_backup_that_is_damaged_or_hostile_restores_nothing(
    backup: Path, tmp_path: Path, damage: Callable[[bytes, Path], bytes]
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = folder / "damaged.zip"
    file.write_bytes(damage(backup.read_bytes(), tmp_path))
    with pytest.raises(WorkspaceError) as caught:
        read_backup(file, folder / "new")
    assert isinstance(caught.value, FileFormatError | UnusableWorkspaceError)
    assert [path.name for path in folder.iterdir()] == ["damaged.zip"]
    assert not (tmp_path / "escaped").exists()


def test_a_compressed_member_is_refused(backup: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(backup) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["workspace.sqlite"] = bytes(1 << 20)
    _state(members, "workspace.sqlite")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(FileFormatError):
        read_backup(tmp_path / "bomb.zip", tmp_path / "new")


def test_the_commands(space: Workspace, tmp_path: Path) -> None:
    run("code-index", "backup", tmp_path / "b.zip", "--workspace", space.folder)
    run("code-index", "backup", tmp_path / "b.zip", "--workspace", space.folder, code=2)
    run("code-index", "restore", tmp_path / "b.zip", "--workspace", tmp_path / "new")
    run("code-index", "restore", tmp_path / "b.zip", "--workspace", tmp_path / "new", code=2)
    assert "1 scan\n" in run("code-report", "list", "--workspace", tmp_path / "new")


def test_a_link_to_an_empty_folder_is_followed(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    read_backup(backup, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "workspace.sqlite").is_file()


def test_the_folder_of_a_user_that_there_is_not(backup: Path) -> None:
    folder = Path("~no such user/ws")
    for make in (lambda: read_backup(backup, folder), lambda: Workspace(folder)):
        with pytest.raises(UnusableWorkspaceError, match="no home folder"):
            make()


def test_what_a_killed_restore_left_is_cleared_away(backup: Path, tmp_path: Path) -> None:
    left = tmp_path / f".again.{uuid4()}.tmp"
    left.mkdir()
    (left / "workspace.sqlite").write_bytes(b"of a case")
    read_backup(backup, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_emptied_database_is_no_new_workspace(tmp_path: Path) -> None:
    with make_workspace(tmp_path):
        pass
    (tmp_path / "workspace.sqlite").write_bytes(b"")
    with pytest.raises(UnusableWorkspaceError, match="is empty, though it was in use"):
        Workspace(tmp_path)
