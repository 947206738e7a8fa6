"""What pictures meet on their way, on a batch: resizing, blur, compression; alike for both classes.

On a GPU as tensors, all at once; on a CPU picture by picture with Pillow and its JPEG coder, which
take a tenth of the time there.
"""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from .catalogue import Label
from .draws import PairGroup
from .jpeg import jpeg_loss

Degrade = Callable[[Tensor, Tensor, PairGroup, int], Tensor]
"""See :func:`degrade_on_device`."""

_BLUR_REACH = 4
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_FULL, _HALVED = 0, 2  # Pillow's names of 4:4:4 and 4:2:0


def degrade_for(device: torch.device) -> Degrade:
    """The way that suits a device."""
    return degrade_by_pillow if device.type == "cpu" else degrade_on_device


def degrade_on_device(reals: Tensor, fakes: Tensor, group: PairGroup, side: int) -> Tensor:
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


def degrade_by_pillow(reals: Tensor, fakes: Tensor, group: PairGroup, side: int) -> Tensor:
    """The same by Pillow, on the CPU; see :func:`degrade_on_device`."""
    members = [pictures.byte().movedim(1, 3).numpy() for pictures in (reals, fakes)]
    result = np.empty((len(reals), len(Label), side, side, 3), np.uint8)

    def degrade(place: int) -> None:
        for label in Label:
            picture = Image.fromarray(members[label][place])
            if label == Label.FAKE and (earlier := int(group.earlier[place])):
                picture = _coded(picture, earlier, _HALVED)
            if side != picture.width:
                picture = picture.resize((side, side), _FILTERS[group.filter])
            if group.blur:
                picture = picture.filter(ImageFilter.GaussianBlur(group.blur))
            quality = int(group.quality[place])
            picture = _coded(picture, quality, _HALVED if group.subsample else _FULL)
            result[place, label] = np.asarray(picture)

    list(_threads().map(degrade, range(len(reals))))
    return torch.from_numpy(result).flatten(0, 1).permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "degrade")


def _coded(picture: Image.Image, quality: int, subsampling: int) -> Image.Image:
    """Compressed as JPEG, and decompressed."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file)


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
