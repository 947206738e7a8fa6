"""An image becomes its four views: plain, augmented, global crop, local crop."""

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..engine.decoding.crop import centre_crop as place_centre_crop
from ..engine.embedding.config import CROP
from .augment import augment, random_crop
from .config import ViewOptions

Pixels = NDArray[np.uint8]
_RESIZED_SIDE = math.floor(CROP / 0.9)  # the release's crop share: 248
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


class View(IntEnum):
    """Place of a view in the stack."""

    PLAIN = 0
    AUGMENTED = 1
    GLOBAL = 2
    LOCAL = 3


def make_views(image: Image.Image, options: ViewOptions, rng: np.random.Generator) -> Pixels:
    """Make the four views of an image.

    The plain view is not augmented. The global and the local crop are augmented after the crop.

    Args:
        image: RGB image.
        options: Ranges and finish.
        rng: Source of all draws.

    Returns:
        Array of shape (4, 3, 224, 224), uint8, in the order of :class:`View`.
    """
    views = (
        image,
        augment(image, rng, options.augmentations),
        augment(random_resized_crop(image, options.global_scale, rng), rng, options.augmentations),
        augment(random_resized_crop(image, options.local_scale, rng), rng, options.augmentations),
    )
    return np.stack([_finish(view, options.finish, rng) for view in views])


def random_resized_crop(
    image: Image.Image, scale: tuple[float, float], rng: np.random.Generator
) -> Image.Image:
    """Crop a random share of the area at an aspect ratio of 3:4 to 4:3, resized to 224, bicubic.

    The rule of Szegedy et al., 2015, as the field uses it: ten tries, then the largest centre
    crop within the aspect ratios.
    """
    for _ in range(_TRIES):
        area = image.width * image.height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= image.width and 0 < height <= image.height:
            left = int(rng.integers(image.width - width + 1))
            top = int(rng.integers(image.height - height + 1))
            break
    else:
        width = min(image.width, max(round(image.height * _RATIO[1]), 1))
        height = min(image.height, max(round(image.width / _RATIO[0]), 1))
        left, top = (image.width - width) // 2, (image.height - height) // 2
    box = (left, top, left + width, top + height)
    return image.resize((CROP, CROP), Image.Resampling.BICUBIC, box=box)


def centre_crop(image: Image.Image) -> Pixels:
    """The crop of inference: the middle 224 x 224 at native resolution, zero-padded.

    Returns:
        Array of shape (3, 224, 224), uint8.
    """
    place = place_centre_crop(image.width, image.height, CROP)
    cut = image.crop((place.left, place.top, place.right, place.bottom))
    if not place.fills:
        padded = Image.new("RGB", (CROP, CROP))
        padded.paste(cut, (place.x, place.y))
        cut = padded
    return _planes(cut)


def resized_centre_crop(image: Image.Image) -> Pixels:
    """The released training's finish: shorter side to 248, bicubic, then the centre crop."""
    factor = _RESIZED_SIDE / min(image.size)
    size = (max(int(image.width * factor), _RESIZED_SIDE),
            max(int(image.height * factor), _RESIZED_SIDE))  # fmt: skip
    return centre_crop(image.resize(size, Image.Resampling.BICUBIC))


def _finish(image: Image.Image, finish: str, rng: np.random.Generator) -> Pixels:
    if finish == "resize":
        return resized_centre_crop(image)
    return _planes(random_crop(image, CROP, rng))


def _planes(image: Image.Image) -> Pixels:
    """RGB image of side 224 to (3, 224, 224) uint8."""
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
