"""A workspace on read-only media: it can be read, and is left as it is."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from code_forensics.index import shard_scans, workspace
from code_forensics.index.errors import UnusableWorkspaceError
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture
def sealed(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A workspace with scan 1 that is taken to lie on a disc."""
    for number in range(3):
        draw_photo(tmp_path / "photos" / f"{number}.png", number)
    space = tmp_path / "ws"
    run(
        *("code-index", "build", "g", "--real", tmp_path / "photos", "--fake", tmp_path / "photos"),
        *("--weights", small_checkpoint, "--workspace", space, "-q"),
    )
    run("code-scan", tmp_path / "photos", "--workspace", space, "-q")
    for module in (workspace, shard_scans):
        monkeypatch.setattr(module, "is_sealed", lambda folder: folder == space)
    yield space


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "command",
    [
        "code-report list",
        "code-report show latest",
        "code-report export latest --csv copy.csv",
        "code-report verify latest -q",
        "code-index list",
        "code-index info g",
        "code-index backup copy.zip",
    ],
)
def test_it_is_read_and_left_as_it_is(
    command: str, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sealed.parent)
    before = state(sealed)
    run(*command.split(), "--workspace", sealed)
    assert state(sealed) == before


def test_what_would_write_says_that_it_cannot(sealed: Path) -> None:
    before = state(sealed)
    refused = run("code-scan", sealed.parent / "photos", "--workspace", sealed, "-q", code=2)
    assert "cannot be written to" in refused.stderr
    assert {name for name in state(sealed) if "leases" not in name} == {
        name for name in before if "leases" not in name
    }


def test_a_shard_is_merged_from_it(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for module in (workspace, shard_scans):
            patch.setattr(module, "is_sealed", lambda folder: False)
        target = Path(shutil.copytree(sealed, sealed.with_name("target")))
        shard = ("--shard", "1/1", "--workspace", sealed, "-q")
        run("code-scan", sealed.parent / "photos", *shard)
    before = state(sealed)
    immutable = mock.Mock(wraps=shard_scans.connect)
    monkeypatch.setattr(shard_scans, "connect", immutable)
    run("code-index", "merge", sealed, "--workspace", target)
    assert all(call.args[1] for call in immutable.call_args_list)
    assert state(sealed) == before


def test_nobody_is_at_work_there(sealed: Path) -> None:
    """A lease that was left behind by a process that died cannot be asked for on a disc."""
    (sealed / "leases").mkdir(exist_ok=True)
    (sealed / "leases" / "scan-x.lock").touch()
    with Workspace(sealed) as space:
        assert not space._leases.held("scan-x")


def test_one_that_was_not_closed_has_to_be_copied(sealed: Path) -> None:
    (sealed / "workspace.sqlite-wal").write_bytes(b"committed last")
    with pytest.raises(UnusableWorkspaceError, match="was not closed") as caught:
        Workspace(sealed)
    assert "copy it" in caught.value.hint
