"""Shortcut control: what betrays the class without looking at the picture is made equal.

Reals are mostly old JPEGs and fakes mostly fresh PNGs, and each has its own sizes. All images of a
pair get one crop size and place, one resize and one JPEG compression, drawn once for the pair.
(The finding of DRCT, Chen et al. 2024, B-Free, Guillaro et al. 2025, and AlignedForensics,
Rajan et al. 2025: without it a detector learns formats and sizes.)
"""

import io

import numpy as np
from PIL import Image

from .config import EqualiseOptions

_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def equalise(
    images: tuple[Image.Image, ...], options: EqualiseOptions, rng: np.random.Generator
) -> tuple[Image.Image, ...]:
    """Crop, resize and compress all images alike.

    Args:
        images: RGB images of any sizes.
        options: Largest side of the crop, and ranges of resize factor and JPEG quality.
        rng: Source of the draws.

    Returns:
        Square RGB images of one size, in the same order.
    """
    side = min(options.side, *(min(image.size) for image in images))
    across, down = rng.random(2)
    scaled = max(round(side * rng.uniform(*options.scale)), 1)
    resample = _FILTERS[rng.integers(len(_FILTERS))]
    quality = int(rng.integers(options.quality[0], options.quality[1] + 1))
    subsampling = int(rng.choice((0, 2)))  # 4:4:4 or 4:2:0
    result = []
    for image in images:
        left, top = round(across * (image.width - side)), round(down * (image.height - side))
        box = (left, top, left + side, top + side)
        if (scaled, scaled) != image.size or box != (0, 0, *image.size):
            image = image.resize((scaled, scaled), resample, box=box)  # noqa: PLW2901
        result.append(jpeg(image, quality, subsampling))
    return tuple(result)


def jpeg(image: Image.Image, quality: int, subsampling: int = 2) -> Image.Image:
    """Compress and decompress; ``subsampling`` is Pillow's: 0 is 4:4:4, 2 is 4:2:0."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(buffer).convert("RGB")


def random_square(image: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    """Cut an image to a random square where its longer side exceeds ``side``."""
    if max(image.size) <= side:
        return image
    width, height = min(image.width, side), min(image.height, side)
    left = int(rng.integers(image.width - width + 1))
    top = int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """Centre crop to a size that is at most the image's."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
