"""Verify: each kind of damage is found; what can be made again is, and the rest remains."""

import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.results import FileResult, Status
from code_forensics.index.errors import UnusableWorkspaceError
from code_forensics.index.leases import Leases
from code_forensics.index.seals import seal
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.workspace import Workspace

from tests.cli.test_scan import _run, run
from tests.index.stored import (
    ENCODER,
    begin_scan,
    content_of,
    file_of,
    make_workspace,
    record_one,
    record_scan,
    references,
    vector_of,
)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(10))
    workspace.galleries.open(workspace.galleries.info("g"))
    (collection,) = workspace.scanned.collections()
    workspace.scanned.search(collection, vector_of(0)[None], 1)
    yield workspace
    workspace.close()


def findings(space: Workspace, files: bool = False) -> list[tuple[str, Outcome]]:
    results = space.verify(lambda folder: ENCODER, files)
    return [(finding.what, finding.outcome) for result in results for finding in result.findings]


def execute(space: Workspace, statement: str, *values: object) -> None:
    space._database.conn.execute(statement, values)


def test_a_sound_workspace(space: Workspace) -> None:
    results = list(space.verify(lambda folder: ENCODER))
    assert [(result.name, result.examined) for result in results if result.examined] == [
        ("database pages", results[0].examined),
        ("tables and indexes", results[1].examined),
        ("scans", 1),
        ("encoders", 1),
        ("vectors of embeddings", 10),
        ("vectors of references", 20),
        ("generations of galleries", 1),
        ("FAISS files", 3),
    ]
    assert all(not result.findings for result in results)


@pytest.mark.parametrize("table", ["embeddings", '"references"'])
@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (np.full(16, np.nan, "<f4").tobytes(), "holds a value that is not finite"),
        (np.full(16, 0x7FA00001, "<u4").tobytes(), "holds a value that is not finite"),
        (np.zeros(16, "<f4").tobytes(), "is zero"),
        (b"1234", "has 4 bytes instead of 64"),
    ],
    ids=["nan", "signalling", "zero", "short"],
)
def test_vectors_that_cannot_be_compared(
    space: Workspace, table: str, blob: bytes, problem: str
) -> None:
    execute(space, f"UPDATE {table} SET vector = ? WHERE id = 3", blob)
    kind = table.strip('"')[:-1]
    assert (f"{kind} 3 {problem}", Outcome.REMAINS) in findings(space)


def test_a_gallery_that_was_changed_behind_its_back(space: Workspace) -> None:
    space.galleries.add(space.galleries.info("g"), references(2, seed=1), "add")
    assert findings(space)  # the FAISS files were stale
    execute(space, "UPDATE \"references\" SET label = 'fake' WHERE ordinal = 1")
    found = findings(space)
    for generation in (1, 2):
        what = f"gallery g is not what it was when generation {generation} was made"
        assert (what, Outcome.REMAINS) in found


def test_seals_of_old_generations_can_be_computed_again(space: Workspace) -> None:
    first = space.galleries.info("g")
    space.galleries.add(space.galleries.info("g"), references(2, seed=1, source="new"), "add")
    second = space.galleries.info("g")
    space.galleries.withdraw("g", "remove", sources=["new"])
    third = space.galleries.info("g")
    seals = [seal(space._database.conn, 1, generation) for generation in (1, 2, 3)]
    assert [s.sha256 for s in seals] == [i.sha256 for i in (first, second, third)]
    assert first.sha256 == third.sha256 != second.sha256
    assert [(s.reals, s.fakes) for s in seals] == [(10, 10), (12, 12), (10, 10)]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", "was missing: rebuilt"),
        ("cut", "was damaged or not its own: rebuilt"),
        ("swapped", "was damaged or not its own: rebuilt"),
        ("stale", "was stale: brought up to date"),
        ("other", "held other vectors than the database: rebuilt"),
    ],
)
@pytest.mark.parametrize("name", ["gallery-1-fake", "scanned"])
def test_faiss_files_are_repaired(space: Workspace, name: str, damage: str, said: str) -> None:
    (file,) = (space.folder / "faiss").glob(f"{name}*.faiss")
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "swapped":
        file.write_bytes((space.folder / "faiss" / "gallery-1-real.faiss").read_bytes())
    elif damage == "stale":
        record_scan(space, "b", [77])
        space.galleries.add(space.galleries.info("g"), references(1, seed=9), "add")
    else:  # sound in itself, and of the right state, but of other vectors
        loaded = space._files.load(file.stem, 16)
        assert loaded is not None
        keys = loaded.index.keys[:1].copy()
        loaded.index.remove(keys.tolist())
        loaded.index.add(keys, vector_of(4711)[None])
        space._files.save(file.stem, loaded.index, loaded.watermark)
    assert (f"the FAISS file {file.stem} {said}", Outcome.REPAIRED) in findings(space)
    assert findings(space) == []


def test_leftovers_are_removed_unless_someone_writes_them(space: Workspace) -> None:
    token = "01234567-89ab-cdef-0123-456789abcdef"
    other = Leases(space.folder / "leases")
    other.take(f"file-{token}")
    written = space.folder / "faiss" / f"x.faiss.{token}.tmp"
    left = space.folder / "encoders" / ENCODER / f"model.safetensors.{token[::-1]}.tmp"
    stranger = space.folder / "faiss" / "gallery-9-real.faiss"
    for path in (written, left, stranger):
        path.write_bytes(b"half")
    assert set(findings(space)) == {
        (f"{written.name} is being written", Outcome.NOTED),
        (f"removed {left.name}", Outcome.REPAIRED),
        ("removed gallery-9-real.faiss, which belongs to nothing", Outcome.REPAIRED),
    }
    assert [path.exists() for path in (written, left, stranger)] == [True, False, False]
    other.close()
    assert findings(space) == [(f"removed {written.name}", Outcome.REPAIRED)]


def test_a_scan_is_interrupted_only_when_its_process_has_died(space: Workspace) -> None:
    recorder = begin_scan(space, "b")
    record_one(recorder, "b/1.png", content_of(1))
    with Workspace(space.folder) as other:
        assert findings(other) == [("scan 2 is running", Outcome.NOTED)]
    program = (
        "import sys, time; from pathlib import Path\n"
        "from tests.index.stored import begin_scan\n"
        "from code_forensics.index.workspace import Workspace\n"
        "recorder = begin_scan(Workspace(Path(sys.argv[1])), 'c')\n"
        "print(recorder.key, flush=True); time.sleep(100)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, space.folder],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"3\n"
        assert ("scan 3 is running", Outcome.NOTED) in findings(space)
        process.send_signal(signal.SIGKILL)
    assert findings(space) == [
        ("scan 3 was killed: marked interrupted", Outcome.REPAIRED),
        ("scan 2 is running", Outcome.NOTED),
    ]
    recorder.finish("finished", {})
    assert [info.state for info in space.scans.all()] == ["finished", "finished", "interrupted"]
    assert findings(space) == []
    assert list((space.folder / "leases").iterdir()) == []


def test_a_lost_row_and_a_damaged_page(space: Workspace) -> None:
    execute(space, "PRAGMA foreign_keys = OFF")
    execute(space, "DELETE FROM contents WHERE id = 1")
    assert ("a row of files points at no row of contents", Outcome.REMAINS) in findings(space)
    space.close()
    path = space.folder / "workspace.sqlite"
    data = bytearray(path.read_bytes())
    data[-4096:] = os.urandom(4096)  # a page that nothing needs to open the database
    path.write_bytes(data)
    with Workspace(space.folder) as damaged:
        (result,) = damaged.verify(lambda folder: ENCODER)
    assert not result.clean
    assert "backup" in result.findings[0].hint


def test_an_encoder_that_is_another_one(space: Workspace) -> None:
    for identity, said in (("f" * 64, f"is {'f' * 12} now"), (None, "cannot be read")):
        results = space.verify(lambda folder, identity=identity: identity)
        (encoders,) = [result for result in results if result.name == "encoders"]
        assert encoders.findings[0].what == f"the copy of encoder {'e' * 12} {said}"
        assert not encoders.clean


def test_a_damaged_classifier(space: Workspace) -> None:
    space.heads.keep("svm", "svm", ENCODER, b"document", "test")
    assert findings(space) == []
    execute(space, "UPDATE heads SET document = ?", b"documenu")
    assert findings(space) == [("the copy of classifier svm is damaged", Outcome.REMAINS)]


def test_files_against_their_hashes(tmp_path: Path, labelled: Path, small_checkpoint: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("rough0.png", "rough1.png", "rough2.png", "rough3.png"):
        (photos / name).write_bytes((labelled / "photos" / name).read_bytes())
    where = ("--workspace", tmp_path / "ws")
    run(
        *("code-index", "build", "mine", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "-q", *where),
    )
    run("code-scan", photos, "-q", *where)
    os.utime(photos / "rough3.png", ns=(0, (photos / "rough3.png").stat().st_mtime_ns))
    run("code-index", "verify", "--files", *where)
    assert (photos / "rough3.png").stat().st_atime_ns == 0  # evidence keeps its access time
    with (photos / "rough0.png").open("ab") as file:
        file.write(b"x")
    (photos / "rough1.png").unlink()
    (photos / "rough2.png").unlink()
    os.mkfifo(photos / "rough2.png")
    run("code-index", "verify", *where)
    done = _run("code-index", "verify", "--files", *where)
    assert done.returncode == 1
    said = re.findall(r"(rough\d)\.png (.*) \(remains\)", done.stderr)
    assert said == [
        ("rough0", "has changed since it was scanned"),
        ("rough1", "is gone"),
        ("rough2", "is not a file any more"),
    ]
    model = tmp_path / "ws" / "encoders"
    (weights,) = model.rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    done = _run("code-index", "verify", *where)
    assert done.returncode == 1
    assert "the copy of encoder" in done.stderr


def test_a_scan_whose_process_has_died_is_shown_as_interrupted(tmp_path: Path) -> None:
    with make_workspace(tmp_path / "ws") as space:
        alive = begin_scan(space, "/photos")
        key = record_scan(space, "/photos", [1], finish=False).key
        space._leases.give_back(f"scan-{space.scans.info(str(key)).uuid}")
        told = {info.key: info.state for info in space.scans.all()}
        assert told == {alive.key: "running", key: "interrupted"}
        assert space.scans.info(str(key)).state == "interrupted"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("DROP INDEX verdicts_by_content", "verdicts_by_content"),
        ("ALTER TABLE verdicts ADD COLUMN more", "verdicts"),
        ("CREATE TABLE more (x)", "more"),
        ("CREATE INDEX more ON scans(state)", "more"),
    ],
)
def test_tables_that_are_not_as_they_are_made(space: Workspace, statement: str, name: str) -> None:
    execute(space, statement)
    what = f"{name} is not the table or index that is made here"
    assert findings(space) == [(what, Outcome.REMAINS)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN DELETE FROM verdicts; END",
        "CREATE VIEW t AS SELECT * FROM verdicts",
        "CREATE VIRTUAL TABLE t USING fts5(x)",
    ],
)
def test_a_database_that_acts_by_itself_is_not_opened(space: Workspace, statement: str) -> None:
    execute(space, statement)
    with pytest.raises(UnusableWorkspaceError, match=r"holds 't'"):
        Workspace(space.folder)


def test_a_faiss_file_of_an_odd_state_is_made_anew(space: Workspace) -> None:
    space._database.conn.execute("UPDATE faiss_files SET watermark = 'x1' WHERE name LIKE 'gal%'")
    assert space.galleries.open(space.galleries.info("g")).search("real", vector_of(1)[None], 1)
    assert [one for one in findings(space) if one[1] is Outcome.REMAINS] == []


def test_a_trigger_by_another_type_is_not_opened(space: Workspace) -> None:
    """SQLite obeys what an entry says, whatever its type is stated to be."""
    space.close()
    connection = sqlite3.connect(space.folder / "workspace.sqlite", isolation_level=None)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN DELETE FROM verdicts; END")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET type = 'table' WHERE name = 't'")
    connection.close()
    with pytest.raises(UnusableWorkspaceError):
        Workspace(space.folder)


def test_files_are_looked_for_where_they_were_scanned(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative ones from the scan's directory; those at addresses are none of the disk's."""
    info = space.galleries.info("g")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"bytes")
        arguments = {"paths": ["."], "directory": str(tmp_path / name)}
        recorder = space.recorder(info, {"arguments": arguments, "gallery": {"name": "g"}})
        content = replace(content_of(1), sha256=hashlib.sha256(b"bytes").hexdigest())
        for path in ("1.png", f"gone-{name}.png", "https://a.org/1.png"):
            record_one(recorder, path, content)
        recorder.finish("finished", {"files": 3})
    lost = space.recorder(info, {"arguments": {"paths": ["."], "directory": "/nowhere"}})
    nothing = FileResult("1.png", None, None, None, None, None, Status.FAILED, reason="vanished")
    lost.record([(file_of("1.png"), None, nothing)])  # it read nothing there
    lost.finish("finished", {"files": 1})
    monkeypatch.chdir("/")
    (tmp_path / "one" / "1.png").write_bytes(b"others")  # met later in the other
    said = findings(space, files=True)
    assert {one for one in said if one[1] is not Outcome.REPAIRED} == {
        ("gone-one.png is gone", Outcome.REMAINS),
        ("gone-two.png is gone", Outcome.REMAINS),
        ("1 files are left out: at addresses, which only a scan reads", Outcome.NOTED),
        (
            "10 files are left out: by relative paths, and no scan tells from where",
            Outcome.NOTED,
        ),  # of the older scan, whose record names no directory
    }
