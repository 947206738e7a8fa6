"""Decision functions of the classifiers that CoDE was published with beside nearest neighbours.

Both equal scikit-learn's ``decision_function``: of ``LogisticRegression`` for two classes, and of
``OneClassSVM`` (Schölkopf et al., 2001, as libsvm evaluates it). Mind their opposite signs: the
linear head is positive for its second class, which is *fake* in CoDE, and the one-class head is
positive for an inlier, which is *real*, as it is fitted on real images only.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1 << 22  # kernel values held at a time: 32 MiB


class KernelKind(StrEnum):
    """Kernels of libsvm, under scikit-learn's names."""

    LINEAR = "linear"
    POLY = "poly"
    RBF = "rbf"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel function and its parameters.

    Attributes:
        kind: Which function of x and y.
        gamma: Factor of the dot product, or of the squared distance; unused by ``linear``.
        coef0: Constant of ``poly`` and ``sigmoid``.
        degree: Exponent of ``poly``.
    """

    kind: KernelKind
    gamma: float = 1.0
    coef0: float = 0.0
    degree: int = 3

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kernel values, (n, d) and (s, d) -> (n, s); scikit-learn user guide, section 1.4.6."""
        dot: NDArray[np.float64] = x @ y.T
        match self.kind:
            case KernelKind.LINEAR:
                return dot
            case KernelKind.POLY:
                return np.power(self.gamma * dot + self.coef0, self.degree, dtype=np.float64)
            case KernelKind.SIGMOID:
                return np.tanh(self.gamma * dot + self.coef0)
            case KernelKind.RBF:
                square = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * dot
                # Rounding can take a distance of zero below it.
                values: NDArray[np.float64] = np.exp(-self.gamma * np.maximum(square, 0))
                return values


def linear_decision(vectors: ArrayLike, coef: ArrayLike, intercept: float) -> NDArray[np.float64]:
    """Log-odds of the second class under a logistic regression.

    Args:
        vectors: (n, d) embeddings, as the model was fitted on them.
        coef: (d,) weights.
        intercept: Bias.

    Returns:
        (n,) float64; positive for the second class (CoDE: fake).
    """
    return np.asarray(vectors, np.float64) @ np.asarray(coef, np.float64) + intercept


def one_class_decision(
    vectors: ArrayLike,
    support_vectors: ArrayLike,
    dual_coef: ArrayLike,
    intercept: float,
    kernel: Kernel,
) -> NDArray[np.float64]:
    """Signed score of a one-class support vector machine: sum of dual_coef times kernel, + bias.

    Args:
        vectors: (n, d) embeddings, as the machine was fitted on them.
        support_vectors: (s, d).
        dual_coef: (s,) their weights.
        intercept: Bias, which is minus scikit-learn's ``offset_``.
        kernel: The kernel it was fitted with.

    Returns:
        (n,) float64; positive for an inlier (CoDE: real), not positive for an outlier.
    """
    x, support = np.asarray(vectors, np.float64), np.asarray(support_vectors, np.float64)
    weights = np.asarray(dual_coef, np.float64)
    step = max(1, _BLOCK // len(support))
    blocks = [kernel(x[i : i + step], support) @ weights for i in range(0, len(x), step)]
    return np.concatenate([np.empty(0), *blocks]) + intercept
