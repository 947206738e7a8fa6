"""Importing ready vectors: what fits, what is refused, and that nothing runs."""

from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.ready_vectors import read_npz

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
