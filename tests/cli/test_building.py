"""Bytes that ``code-index build`` and ``add`` meet again: once a class, and named in both."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from code_forensics.cli import building, scanning
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import SMALL, draw_checkpoint, draw_photo, write_checkpoint


@pytest.fixture
def folder(tmp_path: Path, small_checkpoint: Path) -> Path:
    """A workspace with a gallery of four reals, one of them twice, and four fakes, one thrice."""
    for number in range(4):
        draw_photo(tmp_path / "real" / "one" / f"{number}.png", number)
        draw_photo(tmp_path / "fake" / "gen" / f"{number}.png", 100 + number, smooth=16)
    (tmp_path / "real" / "two").mkdir()
    shutil.copy(tmp_path / "real" / "one" / "0.png", tmp_path / "real" / "two" / "copy.png")
    for name in ("other", "third"):
        (tmp_path / "fake" / name).mkdir()
        shutil.copy(tmp_path / "fake" / "gen" / "0.png", tmp_path / "fake" / name / "copy.png")
    return tmp_path


def build(folder: Path, small_checkpoint: Path) -> str:
    return run(
        *("code-index", "build", "g", "--real", folder / "real", "--fake", folder / "fake"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    ).stderr


def add(folder: Path, *what: str) -> str:
    return run("code-index", "add", "g", *what, "--workspace", folder / "ws", "-q").stderr


def groups(folder: Path) -> list[tuple[str, str, str, str]]:
    shown = run("code-index", "info", "g", "--workspace", folder / "ws").stdout
    return re.findall(r"^ *(real|fake) +(\S+) +(\S+) +(\d+) *$", shown, re.MULTILINE)


def test_a_build_takes_the_same_bytes_once_a_class(folder: Path, small_checkpoint: Path) -> None:
    said = build(folder, small_checkpoint)
    assert "left out 3 of 11 files: their class holds the same bytes already" in said
    assert "built g: 4 real and 4 fake references" in said
    assert "both classes" not in said
    assert groups(folder) == [("real", "-", "one", "4"), ("fake", "gen", "gen", "4")]


def test_an_add_takes_only_bytes_that_its_class_lacks(folder: Path, small_checkpoint: Path) -> None:
    build(folder, small_checkpoint)
    draw_photo(folder / "more" / "new.png", 300, smooth=16)
    shutil.copy(folder / "more" / "new.png", folder / "more" / "again.png")
    shutil.copy(folder / "fake" / "gen" / "1.png", folder / "more" / "held.png")
    said = add(folder, "--fake", f"newgen={folder / 'more'}")
    assert "left out 2 of 3 files: their class holds the same bytes already" in said
    assert "now holds g: 4 real and 5 fake references" in said
    assert ("fake", "newgen", "more", "1") in groups(folder)
    again = add(folder, "--fake", f"newgen={folder / 'more'}")  # as after a kill behind the commit
    assert "left out 3 of 3 files" in again
    assert "now holds g: 4 real and 5 fake references" in again


def test_bytes_of_the_other_class_are_taken_with_a_warning(
    folder: Path, small_checkpoint: Path
) -> None:
    build(folder, small_checkpoint)
    said = add(folder, "--fake", f"bad={folder / 'real'}")
    first = folder / "real" / "one" / "0.png"
    assert f"warning: 4 files stand in both classes, first {first}" in said.replace("\n", "")
    assert "now holds g: 4 real and 8 fake references" in said
    draw_photo(folder / "fine" / "new.png", 300, smooth=16)
    assert "warning" not in add(folder, "--fake", f"bad={folder / 'fine'}")


def test_a_build_warns_of_its_own_files(folder: Path, small_checkpoint: Path) -> None:
    for copy in ("copy.png", "again.png"):
        shutil.copy(folder / "real" / "one" / "1.png", folder / "fake" / "gen" / copy)
    assert "warning: 1 file stands in both classes" in build(folder, small_checkpoint)


def test_a_gallery_that_changes_while_a_scan_starts_is_met_as_it_was(
    folder: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(folder, small_checkpoint)
    draw_photo(folder / "more" / "new.png", 7)
    plain = scanning.judge_of_gallery

    def judge(*arguments: object) -> object:
        made = plain(*arguments)
        add(folder, "--fake", f"more={folder / 'more'}")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(scanning, "judge_of_gallery", judge)
        run("code-scan", folder / "more", "--workspace", folder / "ws", "-q")
    with Workspace(folder / "ws") as space:
        assert space.galleries.info("g").generation == 2
        info = space.scans.info("1")
        assert (info.generation, info.run["gallery"]["generation"]) == (1, 1)
        assert [row["neighbour"] for row in space.scans.rows(info)] != ["g:9"]
    run("code-report", "verify", "1", "--workspace", folder / "ws")


def test_an_add_to_a_gallery_that_was_replaced_meanwhile_is_refused(
    folder: Path, small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other-encoder"
    build(folder, small_checkpoint)
    write_checkpoint(draw_checkpoint(replace(SMALL, hidden_size=2 * SMALL.hidden_size)), other)
    plain = building.embed

    def embed(*arguments: object, **more: object) -> object:
        usable = plain(*arguments, **more)
        monkeypatch.undo()
        run("code-index", "remove", "g", "--workspace", folder / "ws")
        build(folder, other)
        return usable

    monkeypatch.setattr(building, "embed", embed)
    draw_photo(folder / "more" / "new.png", 7)
    refused = run(
        *("code-index", "add", "g", "--real", folder / "more", "--workspace", folder / "ws", "-q"),
        code=2,
    )
    assert "was removed and made anew meanwhile" in refused.stderr
    assert "now holds g: 5 real" in add(folder, "--real", str(folder / "more"))
