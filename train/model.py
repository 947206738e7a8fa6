"""The encoder at the start of a run: initialised from scratch, or read from a checkpoint."""

import torch
from torch import nn

from ..engine.checkpoint import build_encoder, read_checkpoint
from ..engine.encoder import Encoder, EncoderConfig

FROM_SCRATCH = EncoderConfig(layer_norm_eps=1e-6)  # timm's and DeiT's, which trained the release


def start_encoder(init: str, seed: int) -> Encoder:
    """Build the encoder that a run starts from, trainable, float32, on the CPU.

    Args:
        init: Checkpoint folder, file or hub id; empty for random weights.
        seed: Of the random weights.

    Raises:
        CheckpointError: The checkpoint is missing or damaged.
    """
    if init:
        return build_encoder(read_checkpoint(init)).train().requires_grad_(True)
    return initialise(Encoder(FROM_SCRATCH), seed)


def initialise(encoder: Encoder, seed: int) -> Encoder:
    """Draw random weights as DeiT does, in place.

    Matrices and positions from a normal distribution of deviation 0.02, cut at two units; biases
    zero; the class token of deviation 1e-6; the patch projection as PyTorch draws convolutions.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(encoder.positions, std=0.02, generator=generator)
        nn.init.normal_(encoder.cls_token, std=1e-6, generator=generator)
        bound = encoder.patch.weight[0].numel() ** -0.5
        nn.init.uniform_(encoder.patch.weight, -bound, bound, generator=generator)
        assert encoder.patch.bias is not None
        nn.init.uniform_(encoder.patch.bias, -bound, bound, generator=generator)
    return encoder
