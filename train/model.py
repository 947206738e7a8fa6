"""What is trained: the encoder, from scratch or from a checkpoint, and perhaps a head on it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from ..engine.embedding.checkpoint import read_checkpoint
from ..engine.embedding.config import EncoderConfig
from ..engine.embedding.encoder import Encoder, normalise
from ..engine.embedding.weights import build_encoder
from .jpeg import cosine_transform

FROM_SCRATCH = EncoderConfig(layer_norm_eps=1e-6)  # timm's and DeiT's, which trained the release


_FEW_TOKENS = 128

_HEAD_SCALE = 10.0  # cosines become logits; as the contrastive loss's temperature of 0.1


class Trainee(nn.Module):
    """The encoder and an auxiliary head that tells real from fake by the direction of a vector.

    The head may judge the patches' vectors too: traces of a decoder are local, and so each view
    teaches as many times as it has patches.
    """

    def __init__(self, encoder: Encoder, with_head: bool = False, patches: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        self.outputs = None if patches else 1
        self.head: nn.Linear | None = None
        if with_head:
            self.head = nn.Linear(encoder.config.hidden_size, 1)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(
        self, pixels: Tensor, corner: tuple[int, int] = (0, 0), kept: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Embed views.

        Args:
            pixels: (B, 3, S, S), uint8.
            corner: Row and column, in patches, of views in the full crop, where they are smaller.
            kept: Numbers of the patches that are looked at, (B, K), int64; None for all.

        Returns:
            Embeddings (B, D), and the head's logits of "fake" (B, M): of the class token, then of
            those patches if they are judged; zeros where there is no head.
        """
        patches = pixels.shape[-1] // self.encoder.config.patch_size
        positions = position_window(self.encoder, patches, corner)
        count = patches * patches if kept is None else kept.shape[1]
        with attention_for(count + 1, pixels.device):
            if kept is None:
                tokens: Tensor = self.encoder.tokens(normalise(pixels), positions, self.outputs)
            else:
                chosen = kept_tokens(self.encoder, pixels, positions, kept)
                tokens = self.encoder.transform(chosen, self.outputs)
        if self.head is None:
            return tokens[:, 0], tokens.new_zeros(tokens.shape[:2])
        logits: Tensor = self.head(_HEAD_SCALE * F.normalize(tokens.float(), dim=-1))
        return tokens[:, 0], logits.squeeze(2)


def attention_for(tokens: int, device: torch.device) -> AbstractContextManager[None]:
    """A context in which attention to so many tokens is computed as suits training.

    On a CPU in bfloat16 and for few tokens the fused kernel's way back is slower than plain
    products (``tests/benchmarks/attention.py``).
    """
    reduced = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    if device.type == "cpu" and reduced and tokens <= _FEW_TOKENS:
        context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
        return context
    return nullcontext()


def kept_tokens(encoder: Encoder, pixels: Tensor, positions: Tensor | None, kept: Tensor) -> Tensor:
    """The class token and some patches of each view, projected and with their positions.

    Patches are chosen before anything is computed of them, so the others cost nothing.

    Args:
        encoder: Projects.
        pixels: (B, 3, S, S), uint8.
        positions: Of the class token and all patches, (1, 1 + N, D); None for a whole crop's.
        kept: Numbers of patches, row by row, (B, K), int64.

    Returns:
        (B, 1 + K, D).
    """
    side = encoder.config.patch_size
    batch, count = kept.shape
    rows = pixels.shape[-1] // side
    patches = pixels.view(batch, 3, rows, side, rows, side)
    which = torch.arange(batch, device=kept.device)[:, None]
    row, column = kept // rows, kept % rows
    chosen = patches.permute(0, 2, 4, 1, 3, 5)[which, row, column]  # (B, K, 3, P, P)
    normal = normalise(chosen.flatten(0, 1)).flatten(1)
    x = F.linear(normal, encoder.patch.weight.flatten(1), encoder.patch.bias)
    where = encoder.positions if positions is None else positions
    x = x.view(batch, count, -1) + where[0, 1:][kept]
    first = (encoder.cls_token + where[:, :1]).expand(batch, -1, -1)
    return torch.cat((first, x), dim=1)


def position_window(encoder: Encoder, patches: int, corner: tuple[int, int]) -> Tensor | None:
    """Positions of a part of the crop: a view of 112 pixels is a quarter of one of 224.

    So every position is trained, and none has to be interpolated at inference.

    Args:
        encoder: Whose positions.
        patches: Patches along a side of the part.
        corner: Its first row and column.

    Returns:
        (1, 1 + patches * patches, D); None for the whole crop.
    """
    grid = encoder.config.image_size // encoder.config.patch_size
    if patches == grid:
        return None
    row, column = corner
    of_patches = encoder.positions[:, 1:].view(1, grid, grid, -1)
    part = of_patches[:, row : row + patches, column : column + patches].flatten(1, 2)
    return torch.cat((encoder.positions[:, :1], part), dim=1)


class _Whitened(nn.Module):
    """A patch projection by its cosine coefficients, each over its frequency.

    The power of photographs falls with the square of the frequency, and with it the gradient of
    a projection's weights. In these coordinates all frequencies are learnt at one speed, also the
    high ones in which decoders leave their traces.
    """

    def __init__(self, patch: int) -> None:
        super().__init__()
        steps = torch.arange(patch, dtype=torch.float32)
        frequency = torch.hypot(steps[:, None], steps[None]).clamp(min=1).flatten()
        self.register_buffer("frequency", frequency, persistent=False)
        self.register_buffer("cosine", cosine_transform(patch), persistent=False)
        self.frequency: Tensor
        self.cosine: Tensor

    def forward(self, whitened: Tensor) -> Tensor:
        """Whitened coordinates to weights, (D, 3, P, P) both."""
        return ((whitened.flatten(2) * self.frequency) @ self.cosine).view_as(whitened)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Weights to whitened coordinates."""
        return (weight.flatten(2) @ self.cosine.T / self.frequency).view_as(weight)


def whiten(encoder: Encoder) -> Encoder:
    """Train the patch projection in whitened coordinates, in place; what it computes stays."""
    parametrize.register_parametrization(
        encoder.patch, "weight", _Whitened(encoder.config.patch_size)
    )
    return encoder


def plain(encoder: Encoder) -> Encoder:
    """The encoder in its own coordinates: itself, or a copy where it is whitened."""
    if not parametrize.is_parametrized(encoder.patch):
        return encoder
    # Not a deep copy that is stripped of its coordinates: torch would strip the original's class.
    state = encoder.state_dict()
    state = {name: value for name, value in state.items() if ".parametrizations." not in name}
    state["patch.weight"] = encoder.patch.weight.detach()
    with torch.device("meta"):
        own = Encoder(encoder.config)
    own.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return own.train(encoder.training)


def start_encoder(init: str, seed: int, layers: int = 0) -> Encoder:
    """Build the encoder that a run starts from, trainable, float32, on the CPU.

    Args:
        init: Checkpoint folder, file or hub id; empty for random weights.
        seed: Of the random weights.
        layers: How many blocks to keep, from the first; 0 for all.

    Raises:
        CheckpointError: The checkpoint is missing or damaged.
    """
    if init:
        encoder = build_encoder(read_checkpoint(init)).train().requires_grad_(True)
        encoder.projection = None  # it was fitted to what the encoder was
    else:
        encoder = initialise(Encoder(FROM_SCRATCH), seed)
    if 0 < layers < len(encoder.blocks):
        encoder.config = replace(encoder.config, num_hidden_layers=layers)
        encoder.blocks = encoder.blocks[:layers]
    return encoder


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
