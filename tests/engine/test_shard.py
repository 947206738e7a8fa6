"""Shards: every file in exactly one, the same one everywhere, and keys that sort like the walk."""

import hashlib
import os
import random
from itertools import chain
from pathlib import Path

import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.shard import Shard, place_in_walk
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Names that sort one way as text and another way as components, and undecodable ones."""
    for name in ("a/x", "a/y/z", "a.b", "a-", "b/0", "b0", "\ue000", "\U00010400", "ä/ö", "A"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/a/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    os.close(os.open(os.fsencode(tmp_path) + b"/\xed", os.O_CREAT | os.O_WRONLY))
    (tmp_path / "link").symlink_to(tmp_path / "b")
    return tmp_path


def paths(root: Path, **options: object) -> list[str]:
    return [file.path for file in walk([root], WalkOptions(**options))]


def shuffled(found: list[str]) -> list[str]:
    return random.Random(0).sample(found, len(found))


@pytest.mark.parametrize("follow", [False, True])
def test_shards_part_the_walk(tree: Path, follow: bool) -> None:
    whole = paths(tree, follow_symlinks=follow)
    parts = [paths(tree, follow_symlinks=follow, shard=Shard(n, 3)) for n in (1, 2, 3)]
    assert sorted(chain(*parts)) == sorted(whole)
    assert all(part == [path for path in whole if path in part] for part in parts)
    assert all(parts)


def test_a_shard_is_said_by_the_hash_of_the_relative_path(tree: Path) -> None:
    for path in paths(tree):
        below = os.fsencode(os.path.relpath(path, tree))
        number = int.from_bytes(hashlib.sha256(below).digest()[:8], "big") % 5 + 1
        assert [n for n in range(1, 6) if Shard(n, 5).holds(path, str(tree))] == [number]


def test_given_files_are_parted_by_name(tree: Path) -> None:
    given_files = [tree / name for name in ("A", "a-", "a.b", "b0")]
    parts = [
        [file.path for file in walk(given_files, WalkOptions(shard=Shard(n, 2)))] for n in (1, 2)
    ]
    assert sorted(chain(*parts)) == sorted(map(str, given_files))
    assert parts[0] == [str(f) for f in given_files if Shard(1, 2).holds(f"/r/{f.name}", "/r")]


def test_left_out_files_are_counted_once(tree: Path) -> None:
    def left_out(shard: Shard | None) -> int:
        found = walk([tree], WalkOptions(exclude=("a*", "b0"), shard=shard))
        list(found)
        return found.left_out

    assert sum(left_out(Shard(n, 4)) for n in range(1, 5)) == left_out(None) > 2


def test_keys_sort_like_the_walk(tree: Path) -> None:
    for root in (str(tree), os.path.relpath(tree)):
        key = place_in_walk([root], recurse=True)
        found = paths(Path(root))
        assert sorted(shuffled(found), key=key) == found
    key = place_in_walk([str(tree), str(tree / "a")], recurse=False)
    found = [f.path for f in walk([tree, tree / "a"], WalkOptions(recurse=False))]
    assert sorted(shuffled(found), key=key) == found
    assert found.index(str(tree / "a" / "x")) > found.index(str(tree / "b0"))


names = st.text(st.characters(exclude_characters="\0/", codec=None), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(st.lists(names, min_size=1, max_size=3).map(tuple), max_size=6))
def test_keys_sort_as_components_do(found: list[tuple[str, ...]]) -> None:
    key = place_in_walk(["r"], recurse=True)
    joined = sorted(("/".join(("r", *parts)) for parts in found), key=key)
    assert joined == ["/".join(("r", *parts)) for parts in sorted(found)]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/2/3", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Shard.parse(text)
    assert str(Shard.parse("2/16")) == "2/16"
