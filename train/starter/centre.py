"""An encoder whose embeddings lie around zero, and furthest along what tells the classes apart.

So cosines see what tells images apart, and the nearest references are those that are alike in it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...engine.embedding.checkpoint import Checkpoint
from ...engine.embedding.weights import build_encoder, export_checkpoint
from ...engine.judging.held_out_search import unit_vectors

_WEAK = 3.0
"""Inverse strength of the regression's penalty, on embeddings of unit length."""


def centred(checkpoint: Checkpoint, views: Sequence[NDArray[np.float32]]) -> Checkpoint:
    """Subtract the mean of some embeddings from all, by the bias of the last normalisation.

    What all embeddings share makes every cosine alike. The layout stays the published one.

    Args:
        checkpoint: The encoder.
        views: Embeddings by it, (V, D) each, not of unit length; the first of each counts.

    Returns:
        The encoder in float16.
    """
    encoder = build_encoder(checkpoint)
    mean = np.mean([own[0] for own in views], axis=0, dtype=np.float64)
    with torch.no_grad():
        encoder.norm.bias.sub_(torch.from_numpy(mean))
    return export_checkpoint(encoder, torch.float16)


def stretched(
    checkpoint: Checkpoint, vectors: NDArray[np.float32], labels: NDArray[np.int64], factor: float
) -> tuple[Checkpoint, NDArray[np.float32]]:
    """Stretch embeddings along the direction of a logistic regression on some of them.

    A projection behind the last normalisation: the direction times a factor, all that is
    orthogonal to it as it was. Fitted on images that trained the encoder; classes count equally.

    Args:
        checkpoint: The encoder, centred.
        vectors: Embeddings by it, shape (N, D), of any length but zero.
        labels: 0 real, 1 fake, shape (N,).
        factor: How many times as far a difference along the direction counts.

    Returns:
        The encoder in float16, and its projection, shape (D, D).
    """
    from sklearn.linear_model import LogisticRegression

    encoder = build_encoder(checkpoint)
    units = unit_vectors(vectors).astype(np.float64)
    fitted = LogisticRegression(C=_WEAK, max_iter=5000, class_weight="balanced").fit(units, labels)
    direction = fitted.coef_[0] / np.linalg.norm(fitted.coef_[0])
    matrix = np.eye(len(direction)) + (factor - 1) * np.outer(direction, direction)
    stored = torch.from_numpy(matrix).to(torch.float16).float()
    width = len(direction)
    encoder.projection = nn.Linear(width, width, bias=False)
    encoder.projection.weight = nn.Parameter(stored)
    return export_checkpoint(encoder, torch.float16), stored.numpy()
