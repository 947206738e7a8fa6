"""The published classifiers beside nearest neighbours: kept as safetensors, they answer on vectors.

A head answers real or fake for every vector; it has no third answer, and nothing here calibrates
it on a gallery. Its two files are a logistic regression and a one-class support vector machine;
:mod:`code_forensics.engine.heads` holds their decision functions.

Stored form: safetensors with float64 tensors and one text of metadata, ``head``: a JSON object with
``format`` 1 and ``kind`` ``linear`` (tensors ``coef`` (D,), ``intercept`` (1,)) or ``svm``
(``support_vectors`` (S, D), ``dual_coef`` (S,), ``intercept``, ``gamma`` and ``coef0`` (1,), and
``degree`` (1,) int64; in the JSON also ``kernel``). One text, because safetensors writes several in
random order, and the same head has to give the same hash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ..errors import CheckpointError
from ..heads import Kernel, KernelKind, linear_decision, one_class_decision
from ..results import Label, Verdict
from .copies import contradicts_copy, nearest_cosines
from .judgement import Judgement
from .thresholds import Inconclusive

FORMAT = 1
"""Of the stored form."""


class HeadKind(StrEnum):
    """Which classifier a head is."""

    LINEAR = "linear"
    SVM = "svm"


@dataclass(frozen=True, slots=True)
class NamedHead:
    """A head that gives the verdicts of a run.

    Attributes:
        head: The classifier.
        name: As the workspace calls it.
        sha256: Of its stored form.
    """

    head: "Head"
    name: str
    sha256: str

    def record(self) -> dict[str, str]:
        """For the run record, JSON-able."""
        return {"kind": str(self.head.kind), "name": self.name, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """A head's answer for one vector.

    Attributes:
        label: Its answer; a head always has one.
        score: Decision function, turned so that positive means fake for every kind: the log-odds
            of "generated" of the linear head, minus scikit-learn's decision of the SVM.
        p_fake: Logistic probability of the linear head, in [0, 1], as it was fitted: with its
            own training set's class weights and not calibrated on any gallery. None for the SVM.
    """

    label: Label
    score: float
    p_fake: float | None


class Head(Protocol):
    """A classifier on embeddings."""

    @property
    def kind(self) -> HeadKind:
        """Which classifier it is."""

    @property
    def dimension(self) -> int:
        """Length D of the vectors that it was fitted on."""

    def decide(self, vectors: NDArray[np.float32]) -> list[HeadAnswer]:
        """Answer for each of Q embeddings.

        Args:
            vectors: Shape (Q, D), float32, as the encoder gives them: not normalised. A row's
                answer depends on that row alone, to the last bit.
        """

    def to_bytes(self) -> bytes:
        """The stored form; the same head gives the same bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """Logistic regression, positive for fake.

    Attributes:
        coef: Shape (D,), float64.
        intercept: Bias.
    """

    coef: NDArray[np.float64]
    intercept: float
    kind: ClassVar[HeadKind] = HeadKind.LINEAR

    @property
    def dimension(self) -> int:
        """Length D of the vectors that it was fitted on."""
        return len(self.coef)

    def decide(self, vectors: NDArray[np.float32]) -> list[HeadAnswer]:
        """Answer for each of Q embeddings; see :class:`Head`."""
        answers = []
        for vector in vectors:
            score = float(linear_decision(vector[None], self.coef, self.intercept)[0])
            # The logistic function, in the half where its exponential cannot overflow.
            tail = float(np.exp(-abs(score)))
            p_fake = (1.0 if score > 0 else tail) / (1.0 + tail)
            answers.append(HeadAnswer(Label.FAKE if score > 0 else Label.REAL, score, p_fake))
        return answers

    def to_bytes(self) -> bytes:
        """The stored form; see the module."""
        tensors = {
            "coef": np.ascontiguousarray(self.coef, np.float64),
            "intercept": np.array([self.intercept], np.float64),
        }
        return _save(tensors, self.kind)


@dataclass(frozen=True, slots=True, eq=False)
class SvmHead:
    """One-class support vector machine fitted on real images: an inlier is real.

    Attributes:
        support_vectors: Shape (S, D), float64.
        dual_coef: Shape (S,), float64.
        intercept: Bias.
        kernel: As it was fitted with.
    """

    support_vectors: NDArray[np.float64]
    dual_coef: NDArray[np.float64]
    intercept: float
    kernel: Kernel
    kind: ClassVar[HeadKind] = HeadKind.SVM

    @property
    def dimension(self) -> int:
        """Length D of the vectors that it was fitted on."""
        return int(self.support_vectors.shape[1])

    def decide(self, vectors: NDArray[np.float32]) -> list[HeadAnswer]:
        """Answer for each of Q embeddings; see :class:`Head`."""
        answers = []
        for vector in vectors:  # one by one: a matrix product's rounding depends on its shape
            decision = one_class_decision(
                vector[None], self.support_vectors, self.dual_coef, self.intercept, self.kernel
            )
            inside = float(decision[0])
            answers.append(HeadAnswer(Label.REAL if inside > 0 else Label.FAKE, -inside, None))
        return answers

    def to_bytes(self) -> bytes:
        """The stored form; see the module."""
        tensors: dict[str, NDArray[Any]] = {
            "support_vectors": np.ascontiguousarray(self.support_vectors, np.float64),
            "dual_coef": np.ascontiguousarray(self.dual_coef, np.float64),
            "intercept": np.array([self.intercept], np.float64),
            "gamma": np.array([self.kernel.gamma], np.float64),
            "coef0": np.array([self.kernel.coef0], np.float64),
            "degree": np.array([self.kernel.degree], np.int64),
        }
        return _save(tensors, self.kind, {"kernel": str(self.kernel.kind)})


def read_head(data: bytes, origin: str) -> LinearHead | SvmHead:
    """Read a head from its stored form.

    Args:
        data: Bytes of a safetensors file.
        origin: Where they came from, for the message.

    Raises:
        CheckpointError: It is damaged, or no head.
    """
    try:
        tensors = load_tensors(data)
        description = _description(data)
        if description["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if any(not np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("it holds numbers that are not finite")
        if HeadKind(description["kind"]) is HeadKind.LINEAR:
            return LinearHead(_take(tensors, "coef", 1), _number(tensors, "intercept"))
        vectors, weights = _take(tensors, "support_vectors", 2), _take(tensors, "dual_coef", 1)
        if len(vectors) != len(weights):
            raise ValueError("support vectors and weights differ in number")
        kernel = Kernel(
            KernelKind(description["kernel"]),
            _number(tensors, "gamma"),
            _number(tensors, "coef0"),
            int(_number(tensors, "degree")),
        )
        return SvmHead(vectors, weights, _number(tensors, "intercept"), kernel)
    except (
        SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{origin} holds no usable classifier: {error}",
            "import it again from the published file with: code-index import NAME FILE",
        ) from error


def judged_by_head(
    judgement: Judgement, answer: HeadAnswer, kind: HeadKind, exact: bool = True
) -> Judgement:
    """A judgement whose verdict is the head's forced answer; vote and evidence stay.

    An answer that a copy contradicts is withheld; the head's figures stay.

    What was calibrated for the neighbours' scores does not hold for a head, so the likelihood
    ratio and the attribution go, and the probability is the head's own, where it has one.

    Args:
        judgement: By the neighbours.
        answer: The head's.
        kind: Which head.
        exact: Whether the embedding is of float32; on another one a head decides nothing.
    """
    if not exact:
        judgement = replace(judgement, generator=None, attribution=None, log10_lr=None)
        return replace(
            judgement,
            verdict=Verdict.INCONCLUSIVE,
            reason=str(Inconclusive.PRECISION),
            p_fake=None,
            attribution_certainty=None,
            classifier=str(kind),
        )
    fake = answer.label is Label.FAKE
    verdict, reason = Verdict.FAKE if fake else Verdict.REAL, None
    if contradicts_copy(verdict, *nearest_cosines(judgement)):
        verdict, reason = Verdict.INCONCLUSIVE, str(Inconclusive.CONTRADICTS_COPY)
    nearest = next((n for n in judgement.neighbours if n.label is Label.FAKE), None)
    generator = (nearest.generator or None) if nearest is not None else None
    return replace(
        judgement,
        verdict=verdict,
        reason=reason,
        classifier=str(kind),
        classifier_score=answer.score,
        p_fake=answer.p_fake,
        log10_lr=None,
        generator=generator if verdict is Verdict.FAKE else None,
        attribution=None,
        attribution_certainty=None,
    )


def _save(
    tensors: Mapping[str, NDArray[Any]], kind: HeadKind, more: Mapping[str, str] | None = None
) -> bytes:
    description = {"format": FORMAT, "kind": str(kind), **(more or {})}
    return save_tensors(dict(tensors), {"head": json.dumps(description, sort_keys=True)})


def _description(data: bytes) -> Mapping[str, Any]:
    """The JSON in a header; the library, which has checked it before, gives it for files only.

    A safetensors file begins with the header's length, 8 bytes little-endian, and its JSON text.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    description: Mapping[str, Any] = json.loads(header["__metadata__"]["head"])
    return description


def _take(tensors: Mapping[str, NDArray[Any]], name: str, dimensions: int) -> NDArray[np.float64]:
    tensor = tensors[name]
    if tensor.dtype != np.float64 or tensor.ndim != dimensions or not tensor.size:
        raise ValueError(f"{name} is of another type or shape")
    return tensor


def _number(tensors: Mapping[str, NDArray[Any]], name: str) -> float:
    tensor = tensors[name]
    if tensor.shape != (1,) or tensor.dtype.kind not in "fi":
        raise ValueError(f"{name} is no number")
    return float(tensor[0])
