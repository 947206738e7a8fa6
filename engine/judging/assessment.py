"""What a gallery's own references say of its scores: fitted once a change, kept with it."""

import io
import json
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from ..contracts import Reference
from ..errors import InputError
from ..results import Label
from .attribution import AttributionRule, fit_attribution
from .calibration import Calibration, fit_calibration
from .leave_one_out import LeaveOneOutScores, leave_one_out_scores
from .thresholds import ThresholdOptions, Thresholds, fit_thresholds

_FORM = 3  # of the stored form; another one is fitted again, not read

_DAMAGED = (
    OSError, EOFError, KeyError, TypeError, ValueError, MemoryError, OverflowError, RuntimeError,
    BadZipFile, zlib.error,
)  # fmt: skip
"""What reading one that is not as it was written may raise."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Leave-one-out scores of a gallery and what is fitted on them.

    Attributes:
        scores: Of the gallery's references.
        calibration: From scores to likelihood ratios.
        attribution: When a vote names a generator.
    """

    scores: LeaveOneOutScores
    calibration: Calibration
    attribution: AttributionRule

    def thresholds(self, options: ThresholdOptions | None = None) -> Thresholds:
        """Fit the thresholds for stated error rates; takes milliseconds."""
        return fit_thresholds(self.scores, self.calibration, options)

    def to_bytes(self) -> bytes:
        """As bytes to be stored: numpy's npz, with a JSON text in it."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        plain: dict[str, Any] = {}
        for f in fields(self.scores):
            value = getattr(self.scores, f.name)
            target = arrays if isinstance(value, np.ndarray) else plain
            target[f.name] = value
        document = {
            "form": _FORM,
            "scores": plain,
            "calibration": self.calibration.as_dict(),
            "attribution": asdict(self.attribution),
        }
        file = io.BytesIO()
        arrays["document"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Assessment":
        """Read what :meth:`to_bytes` gave.

        Raises:
            InputError: It is of another form, or damaged: fit it again.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                document: dict[str, Any] = json.loads(file["document"].tobytes())
                if document["form"] != _FORM:
                    raise InputError(
                        "the gallery was assessed by another version of code-forensics",
                        "it is fitted again",
                    )
                arrays = {name: file[name] for name in file.files if name != "document"}
            return cls(
                LeaveOneOutScores(**arrays, **document["scores"]),
                Calibration.from_dict(document["calibration"]),
                AttributionRule(**document["attribution"]),
            )
        except _DAMAGED as error:
            raise InputError(
                f"the gallery's assessment cannot be read: {error}", "it is fitted again"
            ) from error


def assess(
    vectors: npt.NDArray[np.float32],
    labels: npt.ArrayLike,
    sources: Sequence[str],
    generators: Sequence[str],
    k: int = 1,
    trained: Sequence[bool] | None = None,
    compared: Sequence[bool] | None = None,
) -> Assessment:
    """Fit everything on a gallery's references.

    Args:
        vectors: Embeddings, shape (N, D), float32, of any length but zero.
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source names, N of them; empty is unknown.
        generators: Generators' names, N of them; empty is unknown, and for reals.
        k: Neighbours per class behind a score.
        trained: Whether the encoder was trained on images of a reference's source, N of them:
            these are compared with, but nothing is estimated on them where there are others.
        compared: Whether queries are compared with a reference, N of them; the others are for
            estimates alone.
    """
    scores = leave_one_out_scores(vectors, labels, sources, k, trained=trained, compared=compared)
    return Assessment(
        scores,
        fit_calibration(scores, k),
        fit_attribution(vectors, labels, sources, generators, trained=trained, compared=compared),
    )


def assess_references(
    references: Iterable[tuple[Reference, npt.NDArray[np.float32]]], k: int
) -> Assessment:
    """As :func:`assess`, from the references of a gallery.

    Args:
        references: Each with its vector, shape (D,).
        k: Neighbours of each class behind a score.
    """
    vectors, labels = bytearray(), bytearray()  # grow without a list of a million objects
    sources: list[str] = []
    generators: list[str] = []
    trained: list[bool] = []
    compared: list[bool] = []
    for reference, vector in references:
        vectors += vector.astype(np.float32).tobytes()
        labels.append(reference.label == Label.FAKE)
        sources.append(sys.intern(reference.source))
        generators.append(sys.intern(reference.generator))
        trained.append(reference.trained)
        compared.append(reference.compared)
    matrix = np.frombuffer(vectors, np.float32).reshape(len(labels), -1)
    classes = np.frombuffer(labels, np.uint8)
    return assess(matrix, classes, sources, generators, k, trained, compared)
