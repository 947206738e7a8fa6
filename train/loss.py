"""The contrastive objective of CoDE.

Source: "Contrasting Deepfakes Diffusion via Contrastive Learning and Global-Local Similarities"
(ECCV 2024), its symmetric sum over both classes; InfoNCE of van den Oord et al., 2018.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from numpy.typing import NDArray
from torch import Tensor

from .catalogue import Label
from .views import View


def info_nce(query: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE of one positive against unpaired negatives.

    With unit vectors q, p, n and temperature t, the mean over the queries of
    ``-log(exp(q.p / t) / (exp(q.p / t) + sum over n of exp(q.n / t)))``.

    Args:
        query: Unit vectors, (B, D).
        positive: Unit vectors, one for each query, (B, D).
        negatives: Unit vectors, the same for all queries, (M, D).
        temperature: Divides the cosines.

    Returns:
        Scalar tensor.
    """
    right = (query * positive).sum(dim=1, keepdim=True)  # (B, 1)
    wrong = query @ negatives.T  # (B, M)
    logits = torch.cat((right, wrong), dim=1) / temperature  # (B, 1 + M)
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def code_loss(
    features: Tensor, partners: tuple[Tensor, Tensor] | None, temperature: float
) -> Tensor:
    """CoDE's loss of a batch of pairs.

    The sum, over c in (real, fake) and o the other class, of
    ``(NCE(plain_c, augmented_c, augmented_o) + NCE(local_c, global_c, global_o)) / 2``.

    Args:
        features: Embeddings, not normalised, (B, 2 classes, 4 views, D), float; views in the
            order of :class:`~code_forensics.train.views.View`.
        partners: For reals and for fakes, the place in the batch whose augmented view is an
            anchor's positive, each (B,) int64 (:func:`derangement`); None for the anchor's own.
        temperature: Divides the cosines.

    Returns:
        Scalar tensor, float32 or wider.
    """
    # cosines in float32 also under autocast: bfloat16 would quantise logits of 10 to 1/16
    unit = F.normalize(features if features.dtype == torch.float64 else features.float(), dim=-1)
    plain, augmented, wide, narrow = (unit[:, :, view] for view in View)  # (B, 2, D)
    total = unit.new_zeros(())
    for own, other in ((Label.REAL, Label.FAKE), (Label.FAKE, Label.REAL)):
        positive = augmented[:, own]
        if partners is not None:
            positive = positive[partners[own]]
        by_class = info_nce(plain[:, own], positive, augmented[:, other], temperature)
        by_crop = info_nce(narrow[:, own], wide[:, own], wide[:, other], temperature)
        total = total + (by_class + by_crop) / 2
    return total


def supervised_contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: every other item of a class is a positive.

    With unit vectors z and temperature t, the mean over items i of
    ``-1 / |P(i)| sum over p in P(i) of log(exp(z_i.z_p / t) / S_i)`` with
    ``S_i = sum over a != i of exp(z_i.z_a / t)``
    (Khosla et al., 2020, L_out).

    Args:
        features: Embeddings, not normalised, (N, D), float.
        labels: Their classes, (N,); each class occurs at least twice.
        temperature: Divides the cosines.

    Returns:
        Scalar tensor, float32 or wider.
    """
    unit = F.normalize(features if features.dtype == torch.float64 else features.float(), dim=-1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)  # (N, N)
    likelihood = logits - logits.logsumexp(dim=1, keepdim=True)
    positive = (labels[:, None] == labels[None]) & ~itself
    of_positives = likelihood.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)
    return -of_positives.mean()


def derangement(size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A uniformly random permutation that leaves nothing in its place.

    Args:
        size: Length, at least 2.
        rng: Source of the draws; on average it takes e permutations.
    """
    if size < 2:
        raise ValueError("a derangement needs at least two elements")
    places = np.arange(size)
    while True:
        order = rng.permutation(size)
        if not np.any(order == places):
            return order
