"""Image autoencoders that turn a real image into a fake with exactly the same content.

What the pair differs in is the trace of the decoder alone (the finding of DRCT, B-Free and
AlignedForensics). Tiny autoencoders are distilled from the latent spaces of diffusion models;
their architecture and key layout are those of madebyollin/taesd (MIT).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .errors import ConfigError

_WIDTH = 64


class Autoencoder(Protocol):
    """Encodes and decodes images."""

    @property
    def name(self) -> str:
        """Name of the latent space."""

    @property
    def multiple(self) -> int:
        """Sides of images are multiples of this."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstruct (B, 3, H, W) float32 in [0, 1]; the same shape and range."""


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class _Block(nn.Module):
    """Three convolutions and a residual; with ``pooled``, group-normed context is added first."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(_WIDTH, _WIDTH), nn.ReLU(), _conv(_WIDTH, _WIDTH), nn.ReLU(),
            _conv(_WIDTH, _WIDTH),
        )  # fmt: skip
        self.pool: nn.Sequential | None = None
        if pooled:
            wide = 4 * _WIDTH
            self.pool = nn.Sequential(
                nn.Conv2d(_WIDTH, wide, 1, bias=False), nn.GroupNorm(4, wide), nn.ReLU(),
                nn.Conv2d(wide, _WIDTH, 1, bias=False),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def tiny_encoder(latent: int, pooled: bool) -> nn.Sequential:
    """(B, 3, H, W) in [0, 1] -> (B, latent, H / 8, W / 8)."""
    layers: list[nn.Module] = [_conv(3, _WIDTH), _Block()]
    for level in range(3):
        layers.append(_conv(_WIDTH, _WIDTH, stride=2, bias=False))
        layers += [_Block(pooled and level == 2) for _ in range(3)]
    return nn.Sequential(*layers, _conv(_WIDTH, latent))


def tiny_decoder(latent: int, pooled: bool) -> nn.Sequential:
    """(B, latent, h, w) -> (B, 3, 8 h, 8 w), about [0, 1]."""
    layers: list[nn.Module] = [_SoftClamp(), _conv(latent, _WIDTH), nn.ReLU()]
    for level in range(3):
        layers += [_Block(pooled and level == 0) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), _conv(_WIDTH, _WIDTH, bias=False)]
    return nn.Sequential(*layers, _Block(), _conv(_WIDTH, 3))


@dataclass(frozen=True, slots=True)
class TinyAutoencoder:
    """A tiny autoencoder of the published key layout."""

    name: str
    encoder: nn.Sequential
    decoder: nn.Sequential
    device: torch.device
    multiple: int = 16  # 8 suffices but where the lowest resolution is pooled

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstruct (B, 3, H, W) in [0, 1]."""
        result: Tensor = self.decoder(self.encoder(images))
        return result.clamp(0, 1)


@dataclass(frozen=True, slots=True)
class DiffusersAutoencoder:
    """An ``AutoencoderKL`` or ``AutoencoderTiny`` of the diffusers package."""

    name: str
    model: Any
    device: torch.device
    multiple: int

    def __call__(self, images: Tensor) -> Tensor:
        """Reconstruct (B, 3, H, W) in [0, 1]; the mode of the latents, no noise is drawn."""
        encoded = self.model.encode(images * 2 - 1)
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        result: Tensor = self.model.decode(latents).sample
        return (result / 2 + 0.5).clamp(0, 1)


def load_autoencoder(where: str, device: torch.device) -> Autoencoder:
    """Load an autoencoder, for inference.

    Args:
        where: ``FOLDER/NAME`` of ``NAME_encoder.safetensors`` and ``NAME_decoder.safetensors``,
            or a folder of the diffusers package with ``config.json``.
        device: Where it computes.

    Raises:
        ConfigError: It is not there, or is not an autoencoder that is known here.
    """
    path = Path(where).expanduser()
    if (path / "config.json").is_file():
        return _load_diffusers(path, device)
    parts: list[nn.Sequential] = []
    builders: tuple[tuple[str, Callable[[int, bool], nn.Sequential]], ...] = (
        ("encoder", tiny_encoder), ("decoder", tiny_decoder),
    )  # fmt: skip
    for part, build in builders:
        file = path.with_name(f"{path.name}_{part}.safetensors")
        if not file.is_file():
            raise ConfigError(
                f"there is no autoencoder at {where}: {file} is missing",
                "name FOLDER/NAME of NAME_encoder and NAME_decoder.safetensors, or a diffusers"
                " folder",
            )
        try:
            state = {key: tensor.float() for key, tensor in load_file(file).items()}
            latent = state["14.bias"].shape[0] if part == "encoder" else state["1.weight"].shape[1]
            model = build(latent, any(".pool." in key for key in state))
            model.load_state_dict(state)
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{file} is not a tiny autoencoder's {part}: {reason}") from error
        model.eval().requires_grad_(False).to(device)
        # how convolutions like their memory, by a quarter faster on a CPU
        parts.append(model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    encoder, decoder = parts
    return TinyAutoencoder(path.name, encoder, decoder, device)


def _load_diffusers(path: Path, device: torch.device) -> Autoencoder:
    try:
        from diffusers import AutoencoderKL, AutoencoderTiny
    except ImportError as error:
        raise ConfigError(
            f"{path} needs the diffusers package", "pip install 'code-forensics[train]'"
        ) from error
    kinds = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    try:
        kind = AutoencoderKL.load_config(str(path)).get("_class_name", "")
        if kind not in kinds:
            raise ConfigError(f"{path} holds {kind or 'no model'}", f"known: {', '.join(kinds)}")
        model = kinds[kind].from_pretrained(str(path), use_safetensors=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"cannot load {path}: {str(error).splitlines()[0]}") from error
    halvings = len(model.config.get("block_out_channels", (0,) * 4)) - 1
    return DiffusersAutoencoder(
        path.name, model.eval().requires_grad_(False).to(device), device, 2 ** max(halvings, 3)
    )


@dataclass(frozen=True, slots=True)
class Remake:
    """Makes fakes of pictures on a device.

    Attributes:
        autoencoders: To choose from.
        reduced: Whether they compute in bfloat16.
    """

    autoencoders: tuple[Autoencoder, ...] = ()
    reduced: bool = False

    def __call__(self, pictures: Tensor, number: int) -> Tensor:
        """Reconstruct pictures by one of the autoencoders.

        Args:
            pictures: (B, 3, H, W) float32, 0 to 255; H and W are multiples of the autoencoder's.
            number: Of the autoencoder.

        Returns:
            The same shape and range, whole numbers.
        """
        autoencoder, device = self.autoencoders[number], pictures.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.reduced):
            images = (pictures / 255).contiguous(memory_format=torch.channels_last)
            return autoencoder(images).float().mul_(255).round_()
