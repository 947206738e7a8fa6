"""Walking: against ``sorted`` over :mod:`pathlib`, deep trees, and many paths given at once."""

import errno
import os
import sys
from pathlib import Path

import pytest
from code_forensics.engine.files import discover
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.found import Reason


def paths_of(*given: Path, options: WalkOptions | None = None) -> list[str]:
    return [file.path for file in walk(given, options)]


def test_the_order_is_that_of_the_components(tmp_path: Path) -> None:
    names = ["b.jpg", "a/b/c.jpg", "a/b.jpg", "a/bb/x.jpg", "a-/y.jpg", "a.jpg", "c/d/e/f.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    every = sorted((tmp_path / name for name in names), key=lambda path: path.parts)
    assert paths_of(tmp_path) == list(map(str, every))
    assert paths_of(tmp_path, options=WalkOptions(exclude=("b",))) == [
        str(path) for path in every if "b" not in path.parts
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="paths end at some 250 characters there")
def test_a_tree_deeper_than_recursion(tmp_path: Path) -> None:
    depth = 700
    (tmp_path / "z.jpg").touch()
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=handle)
        inner = os.open("a", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("x.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle))
    os.close(handle)
    deep = os.path.join(tmp_path, *["a"] * depth, "x.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        found = list(walk([tmp_path]))
    finally:
        sys.setrecursionlimit(limit)
    assert [file.path for file in found] == [deep, str(tmp_path / "z.jpg")]
    assert found[0].reason is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_a_loop_of_links_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "c.jpg").touch()
    found = list(walk([tmp_path], WalkOptions(follow_symlinks=True)))
    assert [(Path(file.path).name, file.reason) for file in found] == [
        ("up", Reason.SYMLINK_LOOP),
        ("c.jpg", None),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_beside_each_other_do_not_multiply_a_tree(tmp_path: Path) -> None:
    for depth in range(12):
        (tmp_path / f"{depth:02}").mkdir()
        for link in ("x", "y"):
            (tmp_path / f"{depth:02}" / link).symlink_to(tmp_path / f"{depth + 1:02}")
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "a.jpg").touch()
    found = list(walk([tmp_path], WalkOptions(follow_symlinks=True)))
    names = [Path(file.path).name for file in found]
    assert names.count("a.jpg") == 2  # by the first links, and where it lies
    assert {file.reason for file in found if Path(file.path).name != "a.jpg"} == {
        Reason.SYMLINK_LOOP
    }
    assert len(found) < 50


def test_what_cannot_be_looked_at_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, hidden = tmp_path / "good.jpg", str(tmp_path / "locked" / "a.jpg")
    good.touch()
    stat = os.stat

    def locked(path: str, **options: bool) -> os.stat_result:
        if str(path) == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", locked)
    listed = [str(good), hidden, str(tmp_path / ("n" * 300)), "a\0b.jpg", str(tmp_path / "gone")]
    reasons = {file.path: file.reason for file in walk([], listed=listed)}
    assert list(map(reasons.get, listed)) == [
        None, Reason.UNREADABLE, Reason.UNREADABLE, Reason.UNREADABLE, Reason.VANISHED
    ]  # fmt: skip


@pytest.mark.parametrize("folders", [False, True])
def test_many_paths_are_not_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: bool
) -> None:
    given = [tmp_path / f"{number:04}" for number in range(500)]
    for path in given:
        path.mkdir() if folders else path.touch()
    calls = []
    absolute = os.path.abspath
    monkeypatch.setattr(os.path, "abspath", lambda path: calls.append(path) or absolute(path))
    assert len(walk(given).roots) == len(given)
    assert len(calls) < 10 * len(given)


def test_what_lies_under_another_path_is_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/b/c.jpg", "a/d.jpg", "ab/e.jpg", "f.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    given = ["a", "a/b", "a/b/c.jpg", "ab", "f.jpg", "a/d.jpg"]
    assert walk(given).roots == ["a", "ab", "f.jpg"]
    above = str(tmp_path / "a")
    assert walk([above, *given]).roots == [above, "ab", "f.jpg"]
    assert walk(["a", "ab/e.jpg"], listed=["a/b", "a/x", "l/y", "ab"]).roots == ["a", "ab", "l/y"]
    assert len(walk(given[:3], WalkOptions(recurse=False)).roots) == 3
    given = ["s3://b/d/", "s3://b/d/e.jpg", "s3://b/de.jpg", "s3://b/d/e/"]
    monkeypatch.setattr(discover, "_require_readers", lambda roots: None)
    assert walk(given).roots == ["s3://b/d/", "s3://b/de.jpg"]
