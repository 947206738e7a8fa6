"""Reading ready vectors from a NumPy archive, without executing anything in it."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import FileFormatError
from .galleries import LABELS, NewReference

_LAYOUT = "an archive holds `vectors` (N, D) float and `labels` (N,), 0 real and 1 fake"


@dataclass(frozen=True, slots=True)
class ReadyVectors:
    """Embeddings that somebody else made.

    Attributes:
        vectors: Array of shape (N, D), float32, finite, no row zero.
        labels: N labels, ``real`` or ``fake``.
        generators: N names, empty where unknown.
        sources: N names, empty where unknown.
    """

    vectors: NDArray[np.float32]
    labels: tuple[str, ...]
    generators: tuple[str, ...]
    sources: tuple[str, ...]

    def references(self) -> Iterator[NewReference]:
        """As references for a gallery, in order."""
        for vector, label, generator, source in zip(
            self.vectors, self.labels, self.generators, self.sources, strict=True
        ):
            yield NewReference(label, generator if label == "fake" else "", source, vector)


def read_npz(path: Path, dimension: int) -> ReadyVectors:
    """Read `vectors`, `labels` and, where they are there, `generators` and `sources`.

    Labels are 0 and 1, or the words real and fake.

    Args:
        path: A ``.npz`` file.
        dimension: Length D of the encoder's embeddings.

    Raises:
        FileFormatError: It is damaged, holds objects, or does not fit.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in _NAMES}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"cannot read {path}: {error}", _LAYOUT) from error
    vectors = _vectors(path, arrays.get("vectors"), dimension)
    labels = _labels(path, arrays.get("labels"), len(vectors))
    return ReadyVectors(
        vectors,
        labels,
        _names(path, "generators", arrays, len(vectors)),
        _names(path, "sources", arrays, len(vectors)),
    )


_NAMES = frozenset({"vectors", "labels", "generators", "sources"})


def _vectors(path: Path, array: NDArray[np.generic] | None, dimension: int) -> NDArray[np.float32]:
    if array is None or array.ndim != 2 or array.dtype.kind != "f" or not len(array):
        raise FileFormatError(f"{path} holds no usable `vectors`", _LAYOUT)
    if array.shape[1] != dimension:
        raise FileFormatError(
            f"{path}: vectors have {array.shape[1]} dimensions, the encoder gives {dimension}",
            "name the encoder that made them with --weights",
        )
    vectors = array.astype(np.float32)
    bad = ~np.isfinite(vectors).all(axis=1) | ~np.any(vectors, axis=1)
    if bad.any():
        raise FileFormatError(
            f"{path}: {bad.sum()} vectors are zero or not finite, first row {bad.argmax()}",
            "leave them out",
        )
    return vectors


def _labels(path: Path, array: NDArray[np.generic] | None, count: int) -> tuple[str, ...]:
    if array is None or array.shape != (count,):
        raise FileFormatError(f"{path} holds no `labels` of shape ({count},)", _LAYOUT)
    words = {"0": "real", "1": "fake", "False": "real", "True": "fake"}
    labels = tuple(words.get(str(value), str(value)) for value in array.tolist())
    unknown = sorted(set(labels) - set(LABELS))
    if unknown:
        raise FileFormatError(f"{path}: unknown label {unknown[0]!r}", _LAYOUT)
    return labels


def _names(
    path: Path, name: str, arrays: dict[str, NDArray[np.generic]], count: int
) -> tuple[str, ...]:
    array = arrays.get(name)
    if array is None:
        return ("",) * count
    if array.shape != (count,) or array.dtype.kind not in "US":
        raise FileFormatError(f"{path}: `{name}` is not {count} texts", _LAYOUT)
    return tuple(
        value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        for value in array.tolist()
    )
