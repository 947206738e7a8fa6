"""Models of scikit-learn, written to files as their makers do."""

import io
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from code_forensics.engine.heads import Kernel, KernelKind, linear_decision, one_class_decision
from code_forensics.index.importing.sklearn_files import (
    KNeighbors,
    LinearModel,
    OneClassSvm,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

FIXTURES = Path(__file__).parent / "fixtures"


RNG = np.random.default_rng(0)


VECTORS = RNG.standard_normal((40, 8)).astype(np.float32)


LABELS = (np.arange(40) % 5 != 0).astype(np.int64)


QUERIES = RNG.standard_normal((30, 8))


def fitted(kind: str) -> Any:
    match kind:
        case "knn":
            return KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(VECTORS, LABELS)
        case "linear":
            model = LogisticRegression(C=0.316, class_weight="balanced", random_state=1)
            return model.fit(VECTORS.astype(np.float64), LABELS)
        case "ocsvm":
            model = OneClassSVM(kernel="poly", gamma="auto", nu=0.1)
            return model.fit(VECTORS[LABELS == 0])
    raise AssertionError(kind)


MODELS = {kind: fitted(kind) for kind in ("knn", "linear", "ocsvm")}


def dumped(model: object, compress: object = 0, protocol: int | None = None) -> bytes:
    out = io.BytesIO()
    joblib.dump(model, out, compress=compress, protocol=protocol)
    return out.getvalue()


def answers(model: object, queries: np.ndarray) -> np.ndarray:
    """What the read classifier says, computed apart from scikit-learn."""
    if isinstance(model, KNeighbors):
        assert model.metric == "cosine"
        unit = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
        return model.labels[(queries @ unit.T).argmax(1)]
    if isinstance(model, LinearModel):
        return linear_decision(queries, model.coef, model.intercept)
    assert isinstance(model, OneClassSvm)
    kernel = Kernel(KernelKind(model.kernel), model.gamma, model.coef0, model.degree)
    return one_class_decision(
        queries, model.support_vectors, model.dual_coef, model.intercept, kernel
    )


def sklearn_answers(model: Any, queries: np.ndarray) -> np.ndarray:
    knn = isinstance(model, KNeighborsClassifier)
    return model.predict(queries) if knn else model.decision_function(queries)
