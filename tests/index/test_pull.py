"""Fetching from a server with the hub's layout: whole, broken off, wrong, hostile and offline."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import HubError
from code_forensics.index.importing.stated_hashes import StatedFile, content_hash
from code_forensics.index.pull import Source, fetch

from tests.index.hub_server import Hub, git_sha1, serve

RNG = np.random.default_rng(0)
COMMIT, LATER = "a1" * 20, "b2" * 20
BIG, MEDIUM, CONFIG = RNG.bytes(1_500_000), RNG.bytes(4000), b'{"a": 1}'
NAMES = ("big.bin", "sub/medium.sav", "config.json")
FILES = dict(zip(NAMES, (BIG, MEDIUM, CONFIG), strict=True))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    files = {COMMIT: FILES, LATER: {**FILES, "config.json": b'{"a": 2}'}}
    with serve(Hub("owner/model", files, {"main": COMMIT, "new": LATER})) as server:
        yield server


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def source(hub: Hub, cache: Path, revision: str = "main") -> Source:
    return Source("owner/model", revision, hub.url, cache)


def blobs(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models--owner--model" / "blobs").iterdir()}


def test_fetches_every_file_of_the_commit(hub: Hub, tmp_path: Path) -> None:
    found = fetch(source(hub, tmp_path), NAMES)
    assert found.commit == COMMIT
    assert {file.name: file.data for file in found.files} == FILES
    for file in found.files:
        assert file.sha256 == hashlib.sha256(FILES[file.name]).hexdigest()
    assert found["config.json"].stated == git_sha1(CONFIG)
    assert found["big.bin"].stated == hashlib.sha256(BIG).hexdigest()
    assert fetch(source(hub, tmp_path, "new"), NAMES).commit == LATER
    assert fetch(source(hub, tmp_path, LATER), NAMES)["config.json"].data == b'{"a": 2}'


def test_a_second_fetch_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    fetch(source(hub, tmp_path), NAMES)
    hub.log.clear()
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG
    assert [path for method, path, _ in hub.log if method == "GET"] == [
        "/api/models/owner/model/revision/main"
    ]


def test_a_download_that_breaks_off_is_continued(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks_left = {"big.bin": 600_000}, 2
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG
    assert hub.ranges("big.bin")[0] == ""
    starts = [int(r.removeprefix("bytes=").rstrip("-")) for r in hub.ranges("big.bin")[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] <= 600_000 and starts[0] < starts[1] <= 1_200_000


def test_a_later_process_goes_on_where_the_first_one_was_left(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks_left = {"big.bin": 300_000}, 3
    hub.break_after["sub/medium.sav"] = 0
    digest = hashlib.sha256(BIG).hexdigest()
    part = tmp_path / "models--owner--model" / "blobs" / f"{digest}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[:1_000_000])  # as a killed process leaves it
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG
    assert hub.ranges("big.bin")[0] == "bytes=1000000-"
    assert not [name for name in blobs(tmp_path) if name.endswith(".incomplete")]


def test_what_cannot_be_finished_is_kept_for_the_next_time(hub: Hub, tmp_path: Path) -> None:
    hub.break_after, hub.breaks_left = {"big.bin": 0}, 1000
    with pytest.raises(HubError, match="cannot fetch") as caught:
        fetch(source(hub, tmp_path), NAMES)
    assert "goes on where it stopped" in caught.value.hint
    digest = hashlib.sha256(BIG).hexdigest()
    assert blobs(tmp_path) == {f"{digest}.incomplete"}
    hub.breaks_left = 0
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG


@pytest.mark.parametrize("left", [b"\0" * 1_000_000, b"\0" * 2_000_000], ids=["other", "longer"])
def test_a_wrong_beginning_is_thrown_away(hub: Hub, tmp_path: Path, left: bytes) -> None:
    digest = hashlib.sha256(BIG).hexdigest()
    part = tmp_path / "models--owner--model" / "blobs" / f"{digest}.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(left)
    if len(left) < len(BIG):
        with pytest.raises(HubError, match="not what the hub states"):
            fetch(source(hub, tmp_path), NAMES)
        assert not part.exists()
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["other", "longer", "shorter"])
def test_wrong_bytes_are_refused_and_not_kept(
    hub: Hub, tmp_path: Path, name: str, how: str
) -> None:
    right = FILES[name]
    other = bytes([right[0] ^ 1]) + right[1:]
    hub.wrong[name] = {"other": other, "longer": right + b"x", "shorter": right[:-1]}[how]
    with pytest.raises(HubError) as caught:
        fetch(source(hub, tmp_path), NAMES)
    assert name in str(caught.value) or "cannot fetch" in str(caught.value)
    hub.wrong.clear()
    assert {file.name: file.data for file in fetch(source(hub, tmp_path), NAMES).files} == FILES


def test_an_endless_answer_does_not_fill_the_disk(hub: Hub, tmp_path: Path) -> None:
    hub.wrong["big.bin"] = BIG + b"\0" * 20_000_000
    with pytest.raises(HubError, match=r"more than the hub states|cannot fetch"):
        fetch(source(hub, tmp_path), NAMES)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert max(sizes) <= len(BIG)


def test_bytes_changed_in_the_cache_are_refused_and_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    fetch(source(hub, tmp_path), NAMES)
    blob = tmp_path / "models--owner--model" / "blobs" / hashlib.sha256(BIG).hexdigest()
    blob.write_bytes(b"x" + BIG[1:])
    with pytest.raises(HubError, match="not what the hub states"):
        fetch(source(hub, tmp_path), NAMES)
    assert fetch(source(hub, tmp_path), NAMES).files[0].data == BIG


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"id": "owner/model", "sha": "main", "siblings": []}, "names no commit"),
        ({"id": "owner/model", "sha": COMMIT}, "holds no big.bin"),
        ({"id": "owner/model", "sha": COMMIT, "siblings": [{"rfilename": "big.bin"}]}, "no hash"),
        (
            {
                "id": "owner/model",
                "sha": COMMIT,
                "siblings": [{"rfilename": "big.bin", "size": 9, "blobId": "../" * 13 + "x"}],
            },
            "no hash",
        ),
        (
            {
                "id": "owner/model",
                "sha": COMMIT,
                "siblings": [{"rfilename": "big.bin", "size": 1 << 50, "blobId": "a" * 40}],
            },
            "states 1125899906842624 bytes",
        ),
        ([1, 2], "cannot fetch"),
        ({"id": "owner/model", "sha": COMMIT, "siblings": [{}]}, "cannot fetch"),
    ],
)
def test_hostile_answers_are_refused(
    hub: Hub, tmp_path: Path, answer: object, message: str
) -> None:
    hub.answer = answer
    with pytest.raises(HubError, match=message):
        fetch(source(hub, tmp_path), NAMES)
    assert not list(tmp_path.rglob("*.bin"))


def test_a_hub_without_hashes_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.hidden_hashes = True
    with pytest.raises(HubError, match="states no hash"):
        fetch(source(hub, tmp_path), NAMES)


def test_unknown_names(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="no revision 'nowhere'"):
        fetch(source(hub, tmp_path, "nowhere"), NAMES)
    with pytest.raises(HubError, match="shows no repository owner/none"):
        fetch(Source("owner/none", "main", hub.url, tmp_path), NAMES)
    with pytest.raises(HubError, match=r"holds no absent\.bin"):
        fetch(source(hub, tmp_path), ["absent.bin"])
    with pytest.raises(HubError, match="cannot fetch"):
        fetch(Source("a/b/c", "main", hub.url, tmp_path), NAMES)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="cannot fetch") as caught:
        fetch(Source("owner/model", "main", "http://127.0.0.1:9", tmp_path), NAMES)
    assert "HF_ENDPOINT" in caught.value.hint


def test_offline_gives_what_is_in_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = fetch(source(hub, tmp_path), NAMES)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.log.clear()
    assert fetch(source(hub, tmp_path), NAMES) == online
    assert fetch(source(hub, tmp_path, COMMIT), NAMES) == online
    with pytest.raises(HubError, match="offline mode"):
        fetch(source(hub, tmp_path, "new"), NAMES)
    assert hub.log == []


def test_offline_checks_the_hash_that_the_cache_names(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(source(hub, tmp_path), NAMES)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    blob = tmp_path / "models--owner--model" / "blobs" / hashlib.sha256(MEDIUM).hexdigest()
    blob.write_bytes(b"x" + MEDIUM[1:])
    with pytest.raises(HubError, match="not what the hub states"):
        fetch(source(hub, tmp_path, COMMIT), NAMES)


def test_offline_without_links_needs_what_was_stated_before(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = fetch(source(hub, tmp_path), NAMES)
    snapshot = tmp_path / "models--owner--model" / "snapshots" / COMMIT
    for name in NAMES:  # a cache as it is where links are not allowed
        data = (snapshot / name).read_bytes()
        (snapshot / name).unlink()
        (snapshot / name).write_bytes(data)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"what the hub states of big\.bin"):
        fetch(source(hub, tmp_path, COMMIT), NAMES)
    known = [StatedFile(f.name, len(f.data), f.stated) for f in online.files]
    assert fetch(source(hub, tmp_path, COMMIT), NAMES, known) == online


def test_offline_with_an_empty_cache(offline: None, tmp_path: Path) -> None:
    with pytest.raises(HubError, match="offline mode"):
        fetch(Source("owner/model", "main", None, tmp_path), NAMES)


def test_hashes_of_known_contents() -> None:
    # git hash-object on an empty file and on "hello\n"; sha256sum of an empty file
    assert content_hash(b"", "0" * 40) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert content_hash(b"hello\n", "0" * 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert content_hash(b"", "0" * 64).startswith("e3b0c44298fc1c14")
    for stated in ("", "main", "0" * 39, "G" * 64, "0" * 64 + "\n"):
        assert content_hash(b"", stated) == ""
