"""Baseline JPEG's loss, on a batch of images and on any device.

What a JPEG coder and decoder do to pixels, without the entropy coding that loses nothing: colour
transform, chroma subsampling, 8 x 8 cosine transform, quantisation, and back (ITU-T T.81; tables
and their scaling by quality as in the Independent JPEG Group's library, which Pillow uses).
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor

_BLOCK = 8
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)  # fmt: skip


def jpeg_loss(images: Tensor, quality: Tensor, subsample: bool) -> Tensor:
    """Compress and decompress.

    Args:
        images: RGB, (B, 3, H, W), any float or uint8, values 0 to 255.
        quality: Of each image, 1 to 100, (B,).
        subsample: Whether the chroma is halved in both directions (4:2:0), or kept (4:4:4).

    Returns:
        RGB, (B, 3, H, W), float32, whole numbers from 0 to 255.
    """
    height, width = images.shape[-2:]
    step = 2 * _BLOCK if subsample else _BLOCK
    padded = F.pad(
        images.float(), (0, -width % step, 0, -height % step), mode="replicate"
    )  # the coder repeats the last row and column
    planes = _to_ycc(padded).round()
    luma, chroma = planes[:, :1], planes[:, 1:]
    tables = _tables(quality)  # (B, 2, 64)
    luma = _quantise(luma, tables[:, :1])
    if subsample:
        chroma = _quantise(F.avg_pool2d(chroma, 2).round(), tables[:, 1:])
        # the decoder's triangle filter: 3/4 of the nearer sample, 1/4 of the further
        chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    else:
        chroma = _quantise(chroma, tables[:, 1:])
    result = _to_rgb(torch.cat((luma, chroma), dim=1)).round_().clamp_(0, 255)
    return result[..., :height, :width]


def _to_ycc(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack((luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128), dim=1)


def _to_rgb(ycc: Tensor) -> Tensor:
    luma, blueness, redness = ycc.unbind(1)
    blueness, redness = blueness - 128, redness - 128
    green = luma - (0.299 * 1.402 * redness + 0.114 * 1.772 * blueness) / 0.587
    return torch.stack((luma + 1.402 * redness, green, luma + 1.772 * blueness), dim=1)


def _quantise(planes: Tensor, tables: Tensor) -> Tensor:
    """Transform, quantise and transform back; planes (B, C, H, W), tables (B, 1, 64)."""
    batch, channels, height, width = planes.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    blocks = planes.sub(128).view(batch, channels, rows, _BLOCK, columns, _BLOCK)
    blocks = blocks.transpose(3, 4).reshape(batch, -1, _BLOCK * _BLOCK)  # (B, blocks, 64)
    cosine = cosine_transform(_BLOCK, planes.device)
    quantised = (blocks @ cosine.T).div_(tables).round_().mul_(tables)
    back = (quantised @ cosine).view(batch, channels, rows, columns, _BLOCK, _BLOCK)
    restored = back.transpose(3, 4).reshape(batch, channels, height, width)
    return restored.add_(128).round_().clamp_(0, 255)


def _tables(quality: Tensor) -> Tensor:
    """Quantisation steps of luminance and chrominance, (B,) -> (B, 2, 64)."""
    quality = quality.float().clamp(1, 100)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    scaled = ((_base(quality.device) * percent[:, None, None] + 50) / 100).floor()
    return scaled.clamp(1, 255)


@lru_cache(maxsize=8)
def _base(device: torch.device) -> Tensor:
    """Steps of quality 50, (2, 64); kept, because a copy to a GPU waits for all that runs there."""
    return torch.tensor((_LUMINANCE, _CHROMINANCE), dtype=torch.float32, device=device)


@lru_cache(maxsize=8)
def cosine_transform(side: int, device: torch.device | None = None) -> Tensor:
    """The orthonormal two-dimensional cosine transform (type II) as a matrix.

    Args:
        side: Of the block.
        device: Where it is wanted; None is the CPU.

    Returns:
        (side * side, side * side) float32: a flattened block times its transpose gives the
        coefficients, row by row of vertical frequency.
    """
    places = torch.arange(side, dtype=torch.float64)
    one = torch.cos(math.pi * (2 * places[None] + 1) * places[:, None] / (2 * side))
    one *= math.sqrt(2 / side)
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float().to(device)
