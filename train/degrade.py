"""What pictures meet on their way, as a batch: resizing, blur, compression; both classes alike."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from numpy.typing import NDArray
from torch import Tensor

from .draws import PairGroup
from .jpeg import jpeg_loss

_BLUR_REACH = 4


def degrade(reals: Tensor, fakes: Tensor, group: PairGroup, side: int) -> Tensor:
    """Degrade pairs as their group says.

    Args:
        reals: Squares, (G, 3, H, H), whole numbers from 0 to 255, of any type.
        fakes: The same.
        group: Draws.
        side: S, after resizing.

    Returns:
        (2 G, 3, S, S) uint8, each real before its fake, on their device.
    """
    fakes = _compress_some(fakes, group.earlier)
    pictures = torch.stack((reals.float(), fakes), dim=1).flatten(0, 1)
    pictures = resize(pictures, side, group.filter)
    if group.blur:
        pictures = _blur(pictures, group.blur)
    pictures = pictures.round_().clamp_(0, 255)
    quality = put(np.repeat(group.quality, 2), pictures.device)
    return jpeg_loss(pictures, quality, group.subsample).byte()


def resize(pictures: Tensor, side: int, how: str) -> Tensor:
    """To a square of a side, with anti-aliasing; (B, 3, H, W) float32."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode=how, antialias=True, align_corners=False)


def put(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on a device, without waiting for what runs there: it is staged at once."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def _compress_some(fakes: Tensor, quality: NDArray[np.int64]) -> Tensor:
    """Compress those whose quality is above 0; (G, 3, H, W) to float32."""
    result = fakes.float()
    chosen = np.flatnonzero(quality)
    if len(chosen):
        places, steps = put(chosen, fakes.device), put(quality[chosen], fakes.device)
        result[places] = jpeg_loss(result[places], steps, True)
    return result


def _blur(pictures: Tensor, radius: float) -> Tensor:
    """Gaussian blur of a standard deviation in pixels; (B, 3, H, W) float32."""
    steps = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=pictures.device)
    kernel = torch.exp(-(steps.float() ** 2) / (2 * radius**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (_BLUR_REACH,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)
