"""The CoDE encoder: a ViT-Tiny/16 whose final CLS token is the embedding.

Architecture: pre-norm vision transformer (Dosovitskiy et al., 2021; DeiT-tiny of Touvron et al.,
2021) with exact GELU. Layout and names of the published weights: Hugging Face ``ViTModel``.
Weights come from :mod:`code_forensics.engine.embedding.weights`.

Shapes below: B images, N = 197 tokens, D = 192 width, H = 3 heads, d = 64 per head.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from .config import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig


class Block(nn.Module):
    """One pre-norm transformer block: attention and MLP, each with a residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv = nn.Linear(width, 3 * width)  # query, key, value stacked: one matrix product
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(width, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, width)

    def attend(self, x: Tensor, outputs: int) -> Tensor:
        """Multi-head self-attention of the first M tokens to all, (B, N, D) -> (B, M, D)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, N, d)
        y = F.scaled_dot_product_attention(q[:, :, :outputs], k, v)  # (B, H, M, d)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, outputs, width))
        return out

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """Transform tokens.

        Args:
            x: Tensor of shape (B, N, D).
            outputs: How many tokens M to compute, from the first; None is all.

        Returns:
            Tensor of shape (B, M, D).
        """
        outputs = x.shape[1] if outputs is None else outputs
        x = x[:, :outputs] + self.attend(self.norm1(x), outputs)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


class Encoder(nn.Module):
    """ViT-Tiny/16 that maps RGB crops to CLS embeddings.

    Attributes:
        projection: Of the class token, behind the last normalisation; None where there is none,
            as in the published weights.
    """

    def __init__(self, config: EncoderConfig | None = None, projected: bool = False) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        width = config.hidden_size
        self.patch = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, config.tokens, width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.projection = nn.Linear(width, width, bias=False) if projected else None

    def forward(self, images: Tensor, positions: Tensor | None = None) -> Tensor:
        """Embed normalised images.

        Args:
            images: Tensor of shape (B, 3, 224, 224): the output of :func:`normalise`, or after
                :func:`fold_normalisation` pixels minus 128.
            positions: Of the class token and the patches, (1, N, D), where the images are other
                than whole crops; None for those of a whole crop.

        Returns:
            CLS embeddings, Tensor of shape (B, D), not unit length.
        """
        return self.project(self.tokens(images, positions, outputs=1)[:, 0])

    def project(self, classes: Tensor) -> Tensor:
        """From normalised class tokens, (B, D), to embeddings."""
        if self.projection is None:
            return classes
        out: Tensor = self.projection(classes)
        return out

    def tokens(
        self, images: Tensor, positions: Tensor | None = None, outputs: int | None = None
    ) -> Tensor:
        """Embed normalised images, and their patches too.

        Args:
            images: As for :meth:`forward`.
            positions: As for :meth:`forward`.
            outputs: How many tokens M to compute, from the class token on; None is all.

        Returns:
            Tensor of shape (B, M, D), the class token first, not unit length.
        """
        x = self.patch(images).flatten(2).transpose(1, 2)  # (B, N - 1, D)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        return self.transform(x + (self.positions if positions is None else positions), outputs)

    def transform(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """What the blocks and the last normalisation make of tokens with their positions.

        Args:
            x: The class token, then any patches, (B, N, D).
            outputs: As for :meth:`tokens`.

        Returns:
            Tensor of shape (B, M, D).
        """
        for block in self.blocks[:-1]:
            x = block(x)
        out: Tensor = self.norm(self.blocks[-1](x, outputs=outputs))
        return out


def normalise(crops: Tensor) -> Tensor:
    """Scale and normalise pixels exactly as the published pipeline does.

    ``(x / 255 - mean) / std`` in float32, in that order, so that every bit equals the published
    input. (Folding it into the patch projection is algebraically the same, but moves embeddings
    of real images by up to 4e-5; see :func:`fold_normalisation`.) The divisors are tensors: a
    division by a Python scalar may become a multiplication by its reciprocal on CUDA.

    Args:
        crops: Tensor of shape (B, 3, 224, 224), uint8.

    Returns:
        Tensor of shape (B, 3, 224, 224), float32.
    """
    scale = torch.full((1, 1, 1, 1), 255.0, device=crops.device)
    mean = torch.tensor(IMAGENET_MEAN, device=crops.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=crops.device).view(1, 3, 1, 1)
    return crops.float().div_(scale).sub_(mean).div_(std)


PIXEL_CENTRE = 128
"""Subtracted from pixels before a folded patch projection; keeps bfloat16 sums small."""


def fold_normalisation(encoder: Encoder) -> Encoder:
    """Fold scaling and ImageNet normalisation into the patch projection, in place.

    With x a pixel and c = 128, ``W ((x / 255 - mean) / std) + b`` equals ``W' (x - c) + b'``
    with ``W' = W / (255 std)`` and ``b' = b + sum(W (c / 255 - mean) / std)``, computed in
    float64 and rounded once. Pixels minus 128 are exact in bfloat16 and float16, normalised ones
    are not: that is why the reduced precisions use it.

    Args:
        encoder: An encoder for normalised input; afterwards it takes pixels minus 128.

    Returns:
        The same encoder.
    """
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).view(1, 3, 1, 1)
    weight = encoder.patch.weight.detach().double().cpu()
    bias = encoder.patch.bias
    assert bias is not None
    with torch.no_grad():
        shift = (weight * ((PIXEL_CENTRE / 255.0 - mean) / std)).sum(dim=(1, 2, 3))
        bias.copy_(bias.double().cpu() + shift)
        encoder.patch.weight.copy_(weight / (255.0 * std))
    return encoder
