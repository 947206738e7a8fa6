"""Reads published scikit-learn classifiers from joblib files, without executing them.

Three estimators are known: ``KNeighborsClassifier``, ``LogisticRegression`` (two classes) and
``OneClassSVM``, as joblib 0.10 or later (compressed or not) or pickle wrote them. What each
fitted attribute means is scikit-learn's documentation of the class; nothing here imports it.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError
from .inert_pickle import Record, read_record

MAX_BYTES = 1 << 30
"""Default bound on a file, compressed and not: 27 times the published gallery."""

MAX_RATIO = 100  # vectors compress by less than 2; only the smallest files may exceed this
_SMALL = 16 << 20

_KNN, _LINEAR, _ONE_CLASS = "KNeighborsClassifier", "LogisticRegression", "OneClassSVM"
_CLASSES: Final[Mapping[str, str]] = {
    f"sklearn.{module} {name}": name
    for name, modules in {
        _KNN: ("neighbors._classification", "neighbors.classification"),
        _LINEAR: ("linear_model._logistic", "linear_model.logistic"),
        _ONE_CLASS: ("svm._classes", "svm.classes"),
    }.items()
    for module in modules  # the second name is the one before scikit-learn 0.22
}


@dataclass(frozen=True, slots=True, eq=False)
class KNeighbors:
    """A fitted k-nearest-neighbour classifier: a gallery.

    Attributes:
        vectors: (n, d) float32 or float64, as fitted: not normalised.
        labels: (n,) the class of each vector, as given to ``fit``; CoDE's are 0 real, 1 fake.
        n_neighbors: Neighbours that vote, at least 1.
        metric: scikit-learn's name of the distance, such as ``cosine``.
        sklearn_version: What wrote the file; empty where it does not say.
    """

    vectors: NDArray[np.floating[Any]]
    labels: NDArray[Any]
    n_neighbors: int
    metric: str
    sklearn_version: str


@dataclass(frozen=True, slots=True, eq=False)
class LinearModel:
    """A fitted logistic regression of two classes.

    Attributes:
        coef: (d,) float64.
        intercept: Added to the product; a positive sum means ``classes[1]``.
        classes: (2,) labels as given to ``fit``; CoDE's are 0 real, 1 fake.
        sklearn_version: What wrote the file; empty where it does not say.
    """

    coef: NDArray[np.float64]
    intercept: float
    classes: NDArray[Any]
    sklearn_version: str


@dataclass(frozen=True, slots=True, eq=False)
class OneClassSvm:
    """A fitted one-class support vector machine.

    A positive decision means an inlier. CoDE fits on real images, so that is REAL, although the
    published demo prints it the other way round.

    Attributes:
        support_vectors: (s, d) float64.
        dual_coef: (s,) float64, positive.
        intercept: Added to the weighted kernel sum.
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        gamma: The number in use, where ``auto`` or ``scale`` was asked for.
        coef0: Constant inside of the polynomial and the sigmoid kernel.
        degree: Of the polynomial kernel.
        nu: Bound on the fraction of training errors that it was fitted with.
        sklearn_version: What wrote the file; empty where it does not say.
    """

    support_vectors: NDArray[np.float64]
    dual_coef: NDArray[np.float64]
    intercept: float
    kernel: str
    gamma: float
    coef0: float
    degree: int
    nu: float
    sklearn_version: str


Classifier: TypeAlias = KNeighbors | LinearModel | OneClassSvm


def read_sklearn_file(path: Path, max_bytes: int = MAX_BYTES) -> Classifier:
    """Reads a classifier from a file; see :func:`read_sklearn`.

    Raises:
        FileFormatError: The file cannot be read or its content is refused.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FileFormatError(f"cannot read the file: {error.strerror}") from error
    return read_sklearn(data, max_bytes)


def read_sklearn(data: bytes, max_bytes: int = MAX_BYTES) -> Classifier:
    """Reads a classifier from the bytes of a joblib or pickle file, executing nothing.

    Args:
        data: Uncompressed, or compressed by joblib with zlib, gzip, bz2, lzma or xz.
        max_bytes: Refuses more than this, before and after decompression.

    Returns:
        The classifier; its large arrays are read-only views of the file's bytes.

    Raises:
        FileFormatError: Damaged, too large, another estimator or another format.
    """
    if len(data) > max_bytes:
        raise FileFormatError(f"the file is larger than {max_bytes} bytes")
    record = read_record(_decompressed(data, max_bytes), _CLASSES)
    return _READERS[record.name](_Fields(record))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


# Magic numbers as in joblib, compressor.py; lzma's limit is what its strongest preset needs.
_DECOMPRESSORS: Final[tuple[tuple[bytes, Callable[[], _Decompressor]], ...]] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"BZ", bz2.BZ2Decompressor),
    (b"\xfd7zXZ", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=128 << 20)),
    (b"]\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=128 << 20)),
    (b"x", lambda: zlib.decompressobj(wbits=15)),
)


def _decompressed(data: bytes, max_bytes: int) -> bytes:
    if data[:1] == b"\x80":
        return data
    if data[:4] == b"\x04\x22\x4d\x18":
        hint = "decompress it with the lz4 program first, then import the result"
        raise FileFormatError("lz4 compression is not read", hint)
    make = next((make for magic, make in _DECOMPRESSORS if data.startswith(magic)), None)
    if make is None or data[:2] == b"ZF":
        hint = "save the classifier again with joblib.dump of joblib 0.10 or later"
        raise FileFormatError("this is not a joblib or pickle file of protocol 2 to 5", hint)
    limit = min(max_bytes, max(_SMALL, MAX_RATIO * len(data)))
    decompressor = make()
    try:
        result = decompressor.decompress(data, limit + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, MemoryError) as error:
        raise FileFormatError("the compressed data is damaged") from error
    if len(result) > limit:
        raise FileFormatError(f"refused a file that decompresses to more than {limit} bytes")
    if not decompressor.eof:
        raise FileFormatError("the compressed data ends too early")
    if decompressor.unused_data:
        raise FileFormatError("the file continues after the end of its compressed data")
    return result


class _Fields:
    """Attributes of a record, each with the type it has to have."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def _get(self, name: str) -> object:
        try:
            return self._record.attributes[name]
        except KeyError:
            message = f"the {self._record.name} has no {name}: it was not fitted"
            raise FileFormatError(message) from None

    def _bad(self, name: str) -> FileFormatError:
        return FileFormatError(f"the {name} of the {self._record.name} cannot be used")

    def text(self, name: str) -> str:
        value = self._get(name)
        if not isinstance(value, str):
            raise self._bad(name)
        return value

    def version(self) -> str:
        value = self._record.attributes.get("_sklearn_version")
        return value[:32] if isinstance(value, str) else ""

    def integer(self, name: str) -> int:
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise self._bad(name)
        return value

    def number(self, name: str) -> float:
        value = self._get(name)
        if not isinstance(value, int | float) or not abs(value) < 1 << 63:  # nor is NaN
            raise self._bad(name)
        return float(value)

    def array(self, name: str, kinds: str, dims: int) -> NDArray[Any]:
        """An array of these dtype kinds and dimensions, in native byte order and finite."""
        value = self._get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.ndim != dims:
            raise self._bad(name)
        if not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise self._bad(name)
        return value


def _read_knn(fields: _Fields) -> KNeighbors:
    vectors = fields.array("_fit_X", "f", 2)
    classes = fields.array("classes_", "biufUS", 1)
    index = fields.array("_y", "iu", 1)  # into classes_
    if len(index) != len(vectors) or not vectors.size:
        raise FileFormatError("the gallery has no vectors, or not one label for each")
    if index.min() < 0 or index.max() >= len(classes):
        raise FileFormatError("a label of the gallery is none of its classes")
    neighbours = fields.integer("n_neighbors")
    if not 1 <= neighbours <= len(vectors):
        raise FileFormatError("the number of neighbours does not fit the gallery")
    if fields.text("weights") != "uniform":
        raise FileFormatError("only galleries whose neighbours vote equally are read")
    return KNeighbors(vectors, classes[index], neighbours, fields.text("metric"), fields.version())


def _read_linear(fields: _Fields) -> LinearModel:
    coef = fields.array("coef_", "f", 2).astype(np.float64)
    intercept = fields.array("intercept_", "f", 1)
    classes = fields.array("classes_", "biufUS", 1)
    if len(coef) != 1 or len(intercept) != 1 or len(classes) != 2 or not coef.size:
        raise FileFormatError("only logistic regressions of two classes are read")
    return LinearModel(coef[0], float(intercept[0]), classes, fields.version())


def _read_one_class(fields: _Fields) -> OneClassSvm:
    vectors = fields.array("support_vectors_", "f", 2).astype(np.float64)
    dual_coef = fields.array("_dual_coef_", "f", 2).astype(np.float64)
    intercept = fields.array("_intercept_", "f", 1)
    if dual_coef.shape != (1, len(vectors)) or len(intercept) != 1 or not vectors.size:
        raise FileFormatError("the support vectors and their weights do not fit together")
    kernel = fields.text("kernel")
    if kernel not in {"linear", "poly", "rbf", "sigmoid"}:
        raise FileFormatError("only linear, polynomial, RBF and sigmoid kernels are read")
    return OneClassSvm(
        vectors,
        dual_coef[0],
        float(intercept[0]),
        kernel,
        gamma=fields.number("_gamma"),
        coef0=fields.number("coef0"),
        degree=fields.integer("degree"),
        nu=fields.number("nu"),
        sklearn_version=fields.version(),
    )


_READERS: Final[Mapping[str, Callable[[_Fields], Classifier]]] = {
    _KNN: _read_knn,
    _LINEAR: _read_linear,
    _ONE_CLASS: _read_one_class,
}
