"""An encoder whose embeddings lie around zero, so that cosines see what tells images apart."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ...engine.embedding.checkpoint import Checkpoint, build_encoder, export_checkpoint


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
