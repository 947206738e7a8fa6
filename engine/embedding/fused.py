"""The encoder's forward pass with oneDNN's fused products: bfloat16 on x86 CPUs.

A product with its bias, its GELU or the residual added to it is one pass over memory instead of
two or three. PyTorch has these operations for its compiler (``torch._inductor``) and gives them
no public name, so they are used only after :func:`fusible` has tried them.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn

from .encoder import Block, Encoder


class FusedEncoder(nn.Module):
    """An encoder's weights under a faster forward pass; for inference only."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        """As :meth:`Encoder.forward`: (B, 3, 224, 224) to (B, D)."""
        encoder = self.encoder
        x = encoder.patch(images).flatten(2).transpose(1, 2)  # (B, N - 1, D)
        x = torch.cat((encoder.cls_token.expand(len(x), -1, -1), x), dim=1) + encoder.positions
        for number, module in enumerate(encoder.blocks, 1):
            assert isinstance(module, Block)
            x = _block(module, x, outputs=1 if number == len(encoder.blocks) else x.shape[1])
        return encoder.project(encoder.norm(x[:, 0]))


def _block(block: Block, x: Tensor, outputs: int) -> Tensor:
    batch, tokens, width = x.shape
    qkv = _linear(block.norm1(x), block.qkv).view(
        batch, tokens, 3, block.heads, width // block.heads
    )
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, N, d)
    y = F.scaled_dot_product_attention(q[:, :, :outputs], k, v)  # (B, H, M, d)
    y = y.transpose(1, 2).reshape(batch, outputs, width)
    x = _linear_plus(y, block.proj, x[:, :outputs].contiguous())
    return _linear_plus(_linear_gelu(block.norm2(x), block.fc1), block.fc2, x)


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")
    return out


def _linear_gelu(x: Tensor, layer: nn.Linear) -> Tensor:
    """Product, bias and exact GELU (the algorithm ``none``: no approximation by tanh)."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, layer.weight, layer.bias, "gelu", [], "none"
    )
    return out


def _linear_plus(x: Tensor, layer: nn.Linear, residual: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
        x, residual, layer.weight, layer.bias, "add"
    )
    return out


def fusible(encoder: Encoder) -> bool:
    """Whether the fused operations exist here and take this encoder's weights.

    Args:
        encoder: On the CPU, in the type that it will run in.
    """
    block = encoder.blocks[0]
    assert isinstance(block, Block)
    x = torch.zeros((1, 2, encoder.config.hidden_size), dtype=encoder.patch.weight.dtype)
    try:
        with torch.inference_mode():
            result = _block(block, x, outputs=2)
            expected = block(x)
    except (AttributeError, RuntimeError):  # another version of torch, or another processor
        return False
    return torch.allclose(result.float(), expected.float(), rtol=0.1, atol=0.1)
