"""Nearest scanned images: FAISS files that follow the embeddings, against brute force."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.searching import scanned_vectors
from code_forensics.index.searching.scanned_vectors import ScannedImage
from code_forensics.index.workspace import Workspace

from tests.cli.test_scan import run
from tests.index.stored import (
    ENCODER,
    STEPS,
    content_of,
    file_of,
    make_workspace,
    record_scan,
    vector_of,
)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(scanned_vectors, "SEGMENT", 16)  # many files from few images
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(40))
    yield workspace
    workspace.close()


def search(space: Workspace, number: int, k: int) -> list[ScannedImage]:
    (collection,) = space.scanned.collections()
    return space.scanned.search(collection, vector_of(number)[None], k)[0]


def expected(space: Workspace, number: int, k: int) -> list[str]:
    """Hashes by brute force over what SQLite holds."""
    rows = space._database.conn.execute(
        "SELECT c.sha256, e.vector FROM embeddings e JOIN contents c ON c.id = e.content_id"
        " WHERE c.sha256 IN (SELECT sha256 FROM verdicts)"
    ).fetchall()
    matrix = np.stack([np.frombuffer(blob, "<f4") for _, blob in rows]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    order = np.argsort(-(matrix @ vector_of(number).astype(np.float64)), kind="stable")[:k]
    return [rows[row][0] for row in order]


def agree(space: Workspace) -> bool:
    return all(
        [image.sha256 for image in search(space, number, 5)] == expected(space, number, 5)
        for number in (0, 17, 39, 1000)
    )


def test_search_equals_brute_force_over_several_files(space: Workspace) -> None:
    assert agree(space)
    assert len(list((space.folder / "faiss").glob("scanned-*.faiss"))) == 3
    nearest = search(space, 7, 1)[0]
    assert nearest.similarity == pytest.approx(1.0, abs=1e-12)
    assert (nearest.path, nearest.scans, nearest.copies) == ("a/7.png", (1,), 1)


def test_only_the_last_file_grows(space: Workspace) -> None:
    assert agree(space)
    files = sorted((space.folder / "faiss").glob("scanned-*.faiss"))
    before = [file.stat().st_mtime_ns for file in files]
    record_scan(space, "b", range(40, 43))
    assert agree(space)
    after = [file.stat().st_mtime_ns for file in files]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_what_is_embedded_again_is_found_as_it_is_now(space: Workspace) -> None:
    assert agree(space)
    record_scan(space, "a", [3], vectors={3: vector_of(500)})
    assert agree(space)
    (collection,) = space.scanned.collections()
    found = space.scanned.search(collection, vector_of(500)[None], 1)[0][0]
    assert (found.path, found.scans, found.copies) == ("a/3.png", (1, 2), 2)


def test_a_copy_does_not_change_the_embedding(space: Workspace) -> None:
    keys = "SELECT id, content_id FROM embeddings ORDER BY id"
    before = space._database.conn.execute(keys).fetchall()
    record_scan(space, "copies", range(40))
    assert space._database.conn.execute(keys).fetchall() == before


@pytest.mark.parametrize("damage", ["missing", "cut", "bit", "swapped"])
def test_a_damaged_file_is_rebuilt(
    space: Workspace, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert agree(space)
    first, second, _ = sorted((space.folder / "faiss").glob("scanned-*.faiss"))
    data = bytearray(first.read_bytes())
    if damage == "missing":
        first.unlink()
    elif damage == "cut":
        first.write_bytes(data[:-40])
    elif damage == "bit":
        data[-20] ^= 4
        first.write_bytes(data)
    else:
        first.write_bytes(second.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert agree(space)
    assert "rebuilding it" in caplog.text


def test_embeddings_that_only_a_gallery_has_are_passed_over(space: Workspace) -> None:
    store = space.contents(ENCODER, STEPS)
    store.remember([(file_of("reference.png"), content_of(900))])
    assert agree(space)
    assert "reference.png" not in [image.path for image in search(space, 900, 41)]
    assert len(search(space, 900, 100)) == 40


def test_the_command_finds_scanned_images_and_references(
    tmp_path: Path, labelled: Path, small_checkpoint: Path
) -> None:
    where = ("--workspace", tmp_path / "ws")
    run(
        *("code-index", "build", "mine", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "-q", *where),
    )
    nothing = run("code-index", "search", labelled / "photos" / "rough1.png", *where, code=2)
    assert nothing == ""
    run("code-scan", labelled / "photos", "-q", *where)
    target = tmp_path / "found.json"
    query = labelled / "real" / "1.jpg"  # the pixels of rough1.png, in another file
    run("code-index", "search", query, "-k", "2", "--json", target, *where)
    (found,) = json.loads(target.read_text())["images"]
    assert found["path"] == str(query)
    assert Path(found["nearest"][0]["path"]).name == "rough1.png"
    assert found["nearest"][0]["distance"] == pytest.approx(0, abs=1e-9)
    assert found["nearest"][0]["scans"] == [1]
    assert found["nearest"][1]["distance"] > 1e-7
    run("code-index", "search", query, "--in", "mine", "-k", "3", "--json", target, *where)
    first = target.read_text()
    run("code-index", "search", query, "--gallery", "mine", "-k", "3", "--json", target, *where)
    assert target.read_text() == first
    (found,) = json.loads(first)["images"]
    distances = [near["distance"] for near in found["nearest"]]
    assert distances == sorted(distances) and len(distances) == 3
    assert found["nearest"][0]["label"] == "real"
    assert Path(found["nearest"][0]["path"]) == query
    text = tmp_path / "text.png"
    text.write_text("no picture")
    run("code-index", "search", text, *where, code=2)
