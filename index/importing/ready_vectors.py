"""Ready vectors in NumPy archives and safetensors files: read without executing anything, written.

An archive (``.npz``) holds ``vectors`` (N, D) float, ``labels`` (N,): 0 or ``real``, 1 or ``fake``;
perhaps ``generators`` and ``sources``, (N,) texts; perhaps ``encoder`` and ``preprocessing``, one
text each: the SHA-256 of the encoder and the identity of the steps before it; perhaps ``trained``
(N,): 1 where the encoder was trained on images of the vector's source, and ``compared`` (N,): 0
where the vector is for calibration alone. A safetensors file holds ``vectors``, ``labels``,
``trained`` and ``compared`` alike, ``generators`` and ``sources`` as numbers of names, and one text
of metadata, ``gallery``: a JSON object with those names, ``encoder`` and ``preprocessing``.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError
from ..gallery_records import LABELS, NewReference
from ..searching.vectors import finite, nonzero
from ..whole_files import whole_file

_LAYOUT = "a file holds `vectors` (N, D) float and `labels` (N,), 0 real and 1 fake"
_TEXTS = ("generators", "sources")
_TAGS = ("encoder", "preprocessing")
_NAMES = frozenset({"vectors", "labels", "trained", "compared", *_TEXTS, *_TAGS})
MAX_NAME = 1024
"""Characters of the longest name of a generator or a source: each is stored once a vector."""

_SMALL_NAMES = 64 << 20  # characters that the names of any file may have in all
_SMALL, _RATIO = 256 << 20, 20  # bytes that any archive may unpack to, and times its size beyond


@dataclass(frozen=True, slots=True)
class ReadyVectors:
    """Embeddings that somebody else made.

    Attributes:
        vectors: Array of shape (N, D), float32, finite, no row zero.
        labels: N labels, ``real`` or ``fake``.
        generators: N names, empty where unknown.
        sources: N names, empty where unknown.
        encoder: SHA-256 of the encoder that made them; empty where the file does not say.
        preprocessing: Identity of the steps before the encoder; empty as above.
        trained: N truths: whether the encoder was trained on images of the source; empty where
            the file does not say, which is taken for no.
        compared: N truths: whether queries are compared with the vector, or it calibrates alone;
            empty where the file does not say, which is taken for yes.
    """

    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    generators: tuple[str, ...]
    sources: tuple[str, ...]
    encoder: str = ""
    preprocessing: str = ""
    trained: tuple[bool, ...] = ()
    compared: tuple[bool, ...] = ()

    def references(self) -> Iterator[NewReference]:
        """As references for a gallery, in order."""
        trained = self.trained or (False,) * len(self.labels)
        compared = self.compared or (True,) * len(self.labels)
        for vector, label, generator, source, *said in zip(
            self.vectors, self.labels, self.generators, self.sources, trained, compared, strict=True
        ):
            named = generator if label == "fake" else ""
            yield NewReference(label, named, source, vector, None, None, *said)


def read_npz(path: Path, dimension: int | None = None) -> ReadyVectors:
    """Read an archive; the module says what it holds.

    Args:
        path: A ``.npz`` file.
        dimension: Length D that the vectors must have; None takes any.

    Raises:
        FileFormatError: It is damaged, holds objects, unpacks to far more than its size, or does
            not fit.
    """
    try:
        with path.open("rb") as handle:
            _refuse_bomb(path, handle.seek(0, os.SEEK_END))
            handle.seek(0)
            with np.load(handle, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise ValueError("it is a single array")
                arrays = {name: archive[name] for name in archive.files if name in _NAMES}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # bytes, where the beginning of one is missing
                raise ValueError(f"`{name}` is not an array")
    except Exception as error:  # zipfile, its decompressors and numpy's parser have many kinds
        raise FileFormatError(f"cannot read {path}: {error}", _LAYOUT) from error
    texts = {name: _texts(path, name, arrays.get(name)) for name in _TEXTS}
    tags = {name: "".join(_texts(path, name, arrays.get(name), 0)) for name in _TAGS}
    return _checked(path, arrays, texts, tags, dimension)


def _checked(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    texts: Mapping[str, tuple[str, ...]],
    tags: Mapping[str, str],
    dimension: int | None,
) -> ReadyVectors:
    """What a file holds under its names, whichever form it has."""
    return ready(
        path,
        arrays.get("vectors"),
        arrays.get("labels"),
        texts["generators"],
        texts["sources"],
        dimension,
        tags["encoder"],
        tags["preprocessing"],
        arrays.get("trained"),
        arrays.get("compared"),
    )


def read_safetensors(path: Path, dimension: int | None = None) -> ReadyVectors:
    """Read a safetensors file; the module says what it holds.

    Args:
        path: A ``.safetensors`` file.
        dimension: Length D that the vectors must have; None takes any.

    Raises:
        FileFormatError: It is damaged, or does not fit.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in _NAMES & {*file.keys()}}
            about = json.loads((file.metadata() or {}).get("gallery", "{}"))
        texts = {name: _named(arrays.get(name), about.get(name, [])) for name in _TEXTS}
        tags = {name: str(about.get(name, "")) for name in _TAGS}
    except (
        OSError, ValueError, TypeError, AttributeError, IndexError, MemoryError, RecursionError,
        SafetensorError,
    ) as error:  # fmt: skip
        raise FileFormatError(f"cannot read {path}: {error}", _LAYOUT) from error
    return _checked(path, arrays, texts, tags, dimension)


def ready(
    path: Path,
    vectors: NDArray[Any] | None,
    labels: NDArray[Any] | None,
    generators: Sequence[str] = (),
    sources: Sequence[str] = (),
    dimension: int | None = None,
    encoder: str = "",
    preprocessing: str = "",
    trained: NDArray[Any] | None = None,
    compared: NDArray[Any] | None = None,
) -> ReadyVectors:
    """Check what a file holds.

    Args:
        path: The file, for messages.
        vectors: Shape (N, D), any float, finite, no row zero.
        labels: Shape (N,): 0 and 1, or false and true, or the words real and fake.
        generators: N names, or none.
        sources: N names, or none.
        dimension: Length D that the vectors must have; None takes any.
        encoder: As the file says.
        preprocessing: As the file says.
        trained: Shape (N,): 0 and 1, or false and true; or nothing.
        compared: The same.

    Raises:
        FileFormatError: Something does not fit.
    """
    checked = _vectors(path, vectors, dimension)
    count = len(checked)
    for name, texts in (("generators", generators), ("sources", sources)):
        if len(texts) not in (0, count):
            raise FileFormatError(f"{path}: `{name}` is not {count} texts", _LAYOUT)
        if not _storable(texts):
            raise FileFormatError(
                f"{path}: `{name}` holds a text that is not valid Unicode", "write the names anew"
            )
        most = max(map(len, texts), default=0)
        if most > MAX_NAME or sum(map(len, texts)) > max(_SMALL_NAMES, checked.nbytes):
            raise FileFormatError(
                f"{path}: `{name}` holds names of up to {most} characters, more than can be kept",
                f"a name has at most {MAX_NAME}, and all names are no longer than the vectors",
            )
    return ReadyVectors(
        checked,
        _labels(path, labels, count),
        tuple(generators) or ("",) * count,
        tuple(sources) or ("",) * count,
        encoder,
        preprocessing,
        _truths(path, "trained", trained, count),
        _truths(path, "compared", compared, count),
    )


def write_npz(path: Path, vectors: ReadyVectors) -> None:
    """Write an archive, whole or not at all.

    Raises:
        FileFormatError: It cannot be written.
    """
    arrays: dict[str, Any] = {
        "vectors": vectors.vectors,
        "labels": _codes(vectors.labels, LABELS).astype(np.uint8),
        "generators": np.array(vectors.generators),
        "sources": np.array(vectors.sources),
        "encoder": np.array(vectors.encoder),
        "preprocessing": np.array(vectors.preprocessing),
        **_flags(vectors),
    }
    with exported(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **arrays)


def write_safetensors(path: Path, vectors: ReadyVectors) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        FileFormatError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    names = {"generators": sorted({*vectors.generators}), "sources": sorted({*vectors.sources})}
    about = {**names, "encoder": vectors.encoder, "preprocessing": vectors.preprocessing}
    tensors: dict[str, NDArray[Any]] = {
        "vectors": np.ascontiguousarray(vectors.vectors),
        "labels": _codes(vectors.labels, LABELS).astype(np.uint8),
        "generators": _codes(vectors.generators, names["generators"]),
        "sources": _codes(vectors.sources, names["sources"]),
        **_flags(vectors),
    }
    with exported(path) as temporary:
        try:
            save_file(tensors, temporary, {"gallery": json.dumps(about, sort_keys=True)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


@contextmanager
def exported(path: Path) -> Iterator[Path]:
    """Write a file to export, whole or not at all.

    Yields:
        Where to write it meanwhile.

    Raises:
        FileFormatError: It cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise FileFormatError(
            f"cannot write {path}: {error.strerror or error}",
            "name a file in a folder that exists and can be written to",
        ) from error


def _refuse_bomb(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_SMALL, _RATIO * size):
        raise ValueError(f"it unpacks to {unpacked} bytes")


def _vectors(path: Path, array: NDArray[Any] | None, dimension: int | None) -> NDArray[np.float32]:
    if array is None or array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise FileFormatError(f"{path} holds no usable `vectors`", _LAYOUT)
    if dimension is not None and array.shape[1] != dimension:
        raise FileFormatError(
            f"{path}: vectors have {array.shape[1]} dimensions, the encoder gives {dimension}",
            "name the encoder that made them with --weights",
        )
    with np.errstate(over="ignore"):  # what does not fit float32 becomes infinite, and is refused
        vectors = array.astype(np.float32)
    bad = ~(finite(vectors) & nonzero(vectors))
    if bad.any():
        raise FileFormatError(
            f"{path}: {bad.sum()} vectors are zero or not finite, first row {bad.argmax()}",
            "leave them out",
        )
    return vectors


def _labels(path: Path, array: NDArray[Any] | None, count: int) -> tuple[str, ...]:
    if array is None or array.shape != (count,):
        raise FileFormatError(f"{path} holds no `labels` of shape ({count},)", _LAYOUT)
    labels = tuple(label_word(value) for value in _values(path, "labels", array))
    unknown = sorted(set(labels) - set(LABELS))
    if unknown:
        raise FileFormatError(f"{path}: unknown label {unknown[0][:40]!r}", _LAYOUT)
    return labels


def _truths(path: Path, name: str, array: NDArray[Any] | None, count: int) -> tuple[bool, ...]:
    if array is None:
        return ()
    if array.shape != (count,) or array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
        raise FileFormatError(f"{path}: `{name}` is not {count} of 0 and 1", _LAYOUT)
    return tuple(bool(value) for value in array.tolist())


def _flags(vectors: ReadyVectors) -> dict[str, NDArray[np.uint8]]:
    count = len(vectors.labels)
    flags = {"trained": np.array(vectors.trained or [False] * count, np.uint8)}
    if not all(vectors.compared):
        flags["compared"] = np.array(vectors.compared, np.uint8)
    return flags


def label_word(value: object) -> str:
    """``real`` for 0, 0.0 and False, ``fake`` for 1, 1.0 and True, else the value as a text."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float) and value in (0, 1):
        return LABELS[int(value)]
    return {"0": "real", "1": "fake"}.get(str(value), str(value))


def _texts(
    path: Path, name: str, array: NDArray[Any] | None, dimensions: int = 1
) -> tuple[str, ...]:
    if array is None:
        return ()
    if array.ndim != dimensions or array.dtype.kind not in "US":
        raise FileFormatError(f"{path}: `{name}` is not made of texts", _LAYOUT)
    return tuple(
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in _values(path, name, array)
    )


def _values(path: Path, name: str, array: NDArray[Any]) -> list[Any]:
    """The values of an array of any shape, which may be text that holds no characters."""
    try:
        values: list[Any] = array.reshape(-1).tolist()
    except (ValueError, SystemError) as error:  # beyond U+10FFFF
        raise FileFormatError(
            f"{path}: `{name}` holds a text that is not Unicode", _LAYOUT
        ) from error
    return values


def _storable(texts: Sequence[str]) -> bool:
    try:
        "".join({*texts}).encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(codes: NDArray[Any] | None, names: Sequence[object]) -> tuple[str, ...]:
    if codes is None:
        return ()
    texts = [str(name) for name in names]
    if codes.ndim != 1 or codes.dtype.kind not in "iu" or (len(codes) and codes.min() < 0):
        raise ValueError("a name's number is none")
    return tuple(texts[code] for code in codes.tolist())


def _codes(values: Sequence[str], names: Sequence[str]) -> NDArray[np.int32]:
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    return np.array([numbers[value] for value in values], np.int32)
