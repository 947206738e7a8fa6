"""Importing ready vectors: what fits, what is refused, and that nothing runs."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.ready_vectors import MAX_NAME, read_npz, read_safetensors
from safetensors.numpy import save_file

VECTORS = np.eye(4, 8, dtype=np.float32)


def test_reads_labels_generators_and_sources(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        vectors=VECTORS,
        labels=np.array([0, 1, 1, 0]),
        generators=np.array(["", "sdxl", "", "ignored"]),
        sources=np.array(["a", "b", "c", "d"]),
    )
    read = list(read_npz(tmp_path / "a.npz", 8).references())
    assert [(r.label, r.generator, r.source) for r in read] == [
        ("real", "", "a"),
        ("fake", "sdxl", "b"),
        ("fake", "", "c"),
        ("real", "", "d"),
    ]
    assert np.array_equal(np.stack([r.vector for r in read]), VECTORS)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(4)}, "no usable `vectors`"),
        ({"vectors": VECTORS}, "no `labels`"),
        ({"vectors": VECTORS[:, :5], "labels": np.zeros(4)}, "5 dimensions"),
        ({"vectors": VECTORS * 0, "labels": np.zeros(4)}, "4 vectors are zero"),
        ({"vectors": VECTORS * np.nan, "labels": np.zeros(4)}, "not finite"),
        ({"vectors": VECTORS, "labels": np.array([0, 1, 2, 0])}, "unknown label '2'"),
        ({"vectors": VECTORS, "labels": np.zeros(3)}, "no `labels` of shape"),
        ({"vectors": VECTORS, "labels": np.zeros(4, int), "sources": np.zeros(4)}, "made of texts"),
        ({"vectors": VECTORS, "labels": np.array([print] * 4, dtype=object)}, "cannot read"),
    ],
)
def test_refuses_what_does_not_fit(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileFormatError, match=message):
        read_npz(tmp_path / "a.npz", 8)


def test_refuses_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(FileFormatError, match="cannot read"):
        read_npz(tmp_path / "a.npz", 8)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def headed(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


LABELS = npy(np.array([0, 1, 1, 0]))
NO_TEXT = npy(np.frombuffer(b"\xff\xff\xff\x7f" * 4, "<U1"))


@pytest.mark.parametrize(
    "members",
    [
        {"vectors": b"hello", "labels": LABELS},
        {"vectors": npy(VECTORS), "labels": LABELS, "encoder": b"hello"},
        {"vectors": headed(b"{'descr': ('<f4', 'shape': (4,24\n"), "labels": LABELS},
        {"vectors": headed(b"{'descr': '<f4',\n   'shape': (\n  x\n y:\n"), "labels": LABELS},
        {"vectors": npy(VECTORS), "labels": NO_TEXT},
        {"vectors": npy(VECTORS), "labels": LABELS, "generators": NO_TEXT},
        {"vectors": npy(VECTORS), "labels": npy(np.zeros(4, "i4,f4"))},
    ],
    ids=["no magic", "no text", "brackets", "lines", "labels", "generators", "structured"],
)
def test_refuses_hostile_arrays(tmp_path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(FileFormatError):
        read_npz(tmp_path / "a.npz")


def test_refuses_damaged_compression(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("vectors.npy", npy(np.random.default_rng(0).normal(size=(40, 8))))
        archive.writestr("labels.npy", LABELS)
    data = bytearray(path.read_bytes())
    at = data.find(b"vectors.npy") + len(b"vectors.npy")
    for place in range(at + 9, at + 40):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="cannot read"):
        read_npz(path)


@pytest.mark.parametrize("what", ["generators", "sources"])
def test_names_are_bounded(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is stored once a reference: one long one would fill the disk."""
    arrays = {"vectors": VECTORS, "labels": np.zeros(4, np.uint8), what: np.zeros(4, np.int32)}

    def read(name: str) -> tuple[str, ...]:
        path = tmp_path / "a.safetensors"
        save_file(arrays, path, {"gallery": json.dumps({what: [name]})})
        return getattr(read_safetensors(path), what)

    assert read("x" * MAX_NAME) == ("x" * MAX_NAME,) * 4
    with pytest.raises(FileFormatError, match="characters"):
        read("x" * (MAX_NAME + 1))
    monkeypatch.setattr("code_forensics.index.importing.ready_vectors._SMALL_NAMES", 100)
    assert read("x" * 32)
    with pytest.raises(FileFormatError, match="more than can be kept"):
        read("x" * 33)
    np.savez(tmp_path / "a.npz", vectors=VECTORS, labels=np.zeros(4),
             **{what: np.array(["x" * (MAX_NAME + 1)] * 4)})  # fmt: skip
    with pytest.raises(FileFormatError, match="characters"):
        read_npz(tmp_path / "a.npz")
