"""Files of ready vectors: read as they were written, and never believed."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.ready_vectors import (
    read_npz,
    read_safetensors,
    write_npz,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.index.ready import FORMATS, LABELS, READY, VECTORS, D, same


@pytest.mark.parametrize(("write", "read", "name"), FORMATS)
def test_what_is_written_is_read(write: object, read: object, name: str, tmp_path: Path) -> None:
    write(tmp_path / name, READY)
    assert same(read(tmp_path / name, D), READY)
    write(tmp_path / name, READY)  # a file that is there is replaced
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(FileFormatError, match="dimensions"):
        read(tmp_path / name, D + 1)
    with pytest.raises(FileFormatError, match="cannot write"):
        write(tmp_path / "none" / name, READY)


def test_names_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    names = np.array(["\udcff"] * 40)
    np.savez(tmp_path / "a.npz", vectors=VECTORS, labels=LABELS, sources=names)
    with pytest.raises(FileFormatError, match="not valid Unicode"):
        read_npz(tmp_path / "a.npz")


def test_the_written_archive_is_plain_numpy(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", READY)
    with np.load(tmp_path / "a.npz") as archive:
        assert np.array_equal(archive["labels"], LABELS)
        assert archive["vectors"].dtype == np.float32


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        ({}, "{}"),
        ({"vectors": VECTORS}, "{}"),
        ({"vectors": VECTORS, "labels": np.zeros(40, np.uint8) + 2}, "{}"),
        ({"vectors": VECTORS.astype(np.int32), "labels": LABELS}, "{}"),
        ({"vectors": VECTORS * np.inf, "labels": LABELS}, "{}"),
        ({"vectors": VECTORS, "labels": LABELS, "sources": np.zeros(40, np.int32)}, "{}"),
        ({"vectors": VECTORS, "labels": LABELS, "sources": LABELS - 1}, '{"sources": ["a", "b"]}'),
        (
            {"vectors": VECTORS, "labels": LABELS, "sources": np.zeros(3, np.int32)},
            '{"sources": ["a"]}',
        ),
        ({"vectors": VECTORS, "labels": LABELS, "sources": LABELS}, '{"sources": 7}'),
        ({"vectors": VECTORS, "labels": LABELS}, "[]"),
        ({"vectors": VECTORS, "labels": LABELS}, "{"),
        ({"vectors": VECTORS, "labels": LABELS}, "[" * 100_000),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_unusable_safetensors_are_refused(
    tensors: dict[str, np.ndarray], about: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "a.safetensors", {"gallery": about})
    with pytest.raises(FileFormatError):
        read_safetensors(tmp_path / "a.safetensors")


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        shape = (3_000_000, 24)
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        archive.writestr("vectors.npy", header.getvalue() + bytes(4 * shape[0] * shape[1]))
    return out.getvalue()


def lying() -> bytes:
    """An archive whose array says that it has a petabyte."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 46, 24)}
        )
        archive.writestr("vectors.npy", header.getvalue() + b"1234")
    return out.getvalue()


def plain() -> bytes:
    out = io.BytesIO()
    np.save(out, VECTORS)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bomb(), "unpacks to"),
        (lying(), "cannot read"),
        (plain(), "cannot read"),
        (b"PK", "cannot read"),
    ],
)
def test_hostile_archives_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read_npz(tmp_path / "a.npz")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    form=st.sampled_from(FORMATS),
    place=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=6),
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_damaged_files_are_read_or_refused(
    form: tuple[object, object, str], place: float, damage: bytes, tmp_path: Path
) -> None:
    write, read, name = form
    write(tmp_path / name, READY)
    data = bytearray((tmp_path / name).read_bytes())
    at = int(place * len(data))
    data[at : at + len(damage)] = damage
    (tmp_path / name).write_bytes(data)
    try:
        found = read(tmp_path / name)
    except FileFormatError as error:
        assert str(error)
    else:
        assert np.isfinite(found.vectors).all() and set(found.labels) <= {"real", "fake"}
