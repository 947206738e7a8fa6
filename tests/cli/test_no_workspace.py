"""A mistyped --workspace: commands that need one say that there is none, and make none."""

from pathlib import Path

import pytest
from code_forensics.index.errors import UnusableWorkspaceError
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.mark.parametrize(
    "command",
    [
        "code-report list",
        "code-report show latest",
        "code-report export latest --csv -",
        "code-report rejudge latest",
        "code-report diff 1 2",
        "code-report verify latest",
        "code-index verify",
        "code-index backup q.zip",
        "code-index purge --scan 1 -y",
        "code-index export desk q.npz",
        "code-index heads",
        "code-index search labelled/real/0.png",
        "code-index search labelled/real/0.png --in desk",
        "code-index evaluate desk labelled",
        "code-index doctor desk",
        "code-index add desk --real labelled/real",
        "code-index info desk",
        "code-index remove desk",
        "code-index default desk",
    ],
)
@pytest.mark.parametrize("there", [False, True], ids=["no folder", "another folder"])
def test_a_command_that_needs_a_workspace_makes_none(
    command: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for label in ("real", "fake"):
        draw_photo(tmp_path / "labelled" / label / "0.png", 1)
    if there:
        (tmp_path / "typo").mkdir()
    before = sorted(tmp_path.rglob("*"))
    refused = run(*command.split(), "--workspace", "typo", code=2)
    (line,) = refused.stderr.splitlines()
    assert f"there is no workspace at {tmp_path / 'typo'}" in line
    assert "--workspace" in line
    assert refused.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_the_list_of_galleries_makes_none_either(tmp_path: Path) -> None:
    listed = run("code-index", "list", "--workspace", tmp_path / "typo")
    assert listed.stderr == f"there is no workspace at {tmp_path / 'typo'} yet\n"
    assert "starter" in listed.stdout and "embedded" in listed.stdout
    assert listed.stdout.startswith("no gallery but the embedded starter\n")
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_folder_can_have_is_one_of_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(UnusableWorkspaceError, match="there is no workspace"):
        Workspace.existing(tmp_path / ("a" * 300))


def test_shards_are_not_merged_into_a_mistyped_workspace(
    small_checkpoint: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        draw_photo(photos / f"{number}.png", number)
    space = ("--workspace", tmp_path / "shard")
    folders = ("--real", photos, "--fake", f"g={photos}", "--weights", small_checkpoint)
    run("code-index", "build", "g", *folders, "-q", *space)
    run("code-scan", photos, "--shard", "1/1", "-q", *space)
    typo = tmp_path / "typo"
    refused = run("code-index", "merge", tmp_path / "shard", "--workspace", typo, code=2)
    assert f"there is no workspace at {typo}" in refused.stderr
    assert not typo.exists()


def test_the_default_workspace_may_be_missing_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODE_WORKSPACE", str(tmp_path / "none"))
    with pytest.raises(UnusableWorkspaceError, match="there is no workspace"):
        Workspace.existing()
    Workspace().close()
    Workspace.existing().close()
