"""Workspaces of earlier schemas: they open, say what they said, and go on."""

import csv
import io
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import UnusableWorkspaceError
from code_forensics.index.migrations import KNOWN
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.workspace import Workspace

from tests.cli.test_scan import run
from tests.conftest import draw_photo

FIXTURES = Path(__file__).parent / "fixtures"
SCHEMAS = sorted(FIXTURES.glob("workspace-schema-*.sql"))


@pytest.fixture(params=SCHEMAS, ids=[path.stem for path in SCHEMAS])
def old(request: pytest.FixtureRequest, tmp_path: Path, small_checkpoint: Path) -> Path:
    """A workspace as an earlier version left it, and beside it the report of its first scan."""
    folder = tmp_path / "ws"
    folder.mkdir()
    connection = sqlite3.connect(folder / "workspace.sqlite")
    connection.executescript(request.param.read_text())
    connection.execute("PRAGMA journal_mode = WAL")
    (encoder,) = connection.execute("SELECT sha256 FROM encoders").fetchone()
    connection.close()
    kept = folder / "encoders" / encoder
    kept.mkdir(parents=True)
    for file in small_checkpoint.iterdir():
        (kept / file.name).write_bytes(file.read_bytes())
    (tmp_path / "report.csv").write_bytes(request.param.with_suffix(".csv").read_bytes())
    return folder


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_old_reports_say_what_they_said(old: Path) -> None:
    expected = read((old.parent / "report.csv").read_text())
    found = read(run("code-report", "export", "1", "--csv", "-", "--workspace", old))
    assert len(found) == len(expected) > 0
    kept = expected[0].keys()
    assert [{name: row[name] for name in kept} for row in found] == expected
    assert run("code-report", "list", "--workspace", old).count("photos") == 2


def test_an_old_workspace_is_sound(old: Path) -> None:
    from code_forensics.engine.embedding.checkpoint import read_checkpoint

    with Workspace(old) as space:
        results = list(space.verify(lambda folder: read_checkpoint(folder).sha256))
        assert [f for r in results for f in r.findings if f.outcome is Outcome.REMAINS] == []
        (name,) = space.galleries.names()
        gallery = space.galleries.open(space.galleries.info(name))
        for stored, vector in space.galleries.references(space.galleries.info(name)):
            keys, cosines = gallery.search(stored.label, vector[None], 1)
            assert gallery.describe(keys[0].tolist())[int(keys[0, 0])].id == stored.id
            assert np.isclose(cosines[0, 0], 1.0)


def test_a_new_scan_goes_into_an_old_workspace(old: Path, tmp_path: Path) -> None:
    draw_photo(tmp_path / "new" / "a.png", 1, (60, 50))
    rows = read(run("code-scan", tmp_path / "new", "--csv", "-", "--workspace", old))
    assert [row["status"] for row in rows] == ["scanned"]
    with Workspace(old) as space:
        assert [info.key for info in space.scans.all()] == [1, 2, 3]


def test_the_schema_is_the_one_of_a_new_workspace(old: Path, tmp_path: Path) -> None:
    def schema(folder: Path) -> set[tuple[str, str, str]]:
        with Workspace(folder) as space:
            return {
                (table, column[1], column[2])
                for (table,) in space._database.conn.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                ).fetchall()
                for column in space._database.conn.execute(f'PRAGMA table_info("{table}")')
            }

    assert schema(old) == schema(tmp_path / "fresh")


def test_every_migration_is_known(old: Path) -> None:
    with Workspace(old) as space:
        applied = {
            name for (name,) in space._database.conn.execute("SELECT name FROM _sqlite_migrations")
        }
    assert applied == KNOWN


def test_a_migration_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = old / "workspace.sqlite"
    connection = sqlite3.connect(path)
    before = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    from code_forensics.index import migrations

    monkeypatch.setattr(migrations, "_SCHEMA_2", migrations._SCHEMA_2 + ";\nSELECT * FROM nowhere")
    with pytest.raises(UnusableWorkspaceError, match="nowhere"):
        Workspace(old)
    connection = sqlite3.connect(path)
    assert (
        connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before
    )
    connection.close()
    monkeypatch.undo()
    with Workspace(old) as space:
        assert len(space.scans.all()) == 2
