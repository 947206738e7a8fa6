"""The 19 augmentations of CoDE's training, their ranges and their order.

Facts from the release of "Contrasting Deepfakes Diffusion via Contrastive Learning and
Global-Local Similarities" (ECCV 2024), whose transforms come from AugLy (Papakipos and Bitton,
2022): what each parameter means follows AugLy's documentation. Different from the release: which
pixels are shuffled is drawn anew for each image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .equalise import jpeg

Generator = np.random.Generator
_STEPS = 5


class Draw(Enum):
    """How the parameter of an augmentation is drawn."""

    UNIFORM = "uniform"  # anywhere in the range
    STEPS = "steps"  # one of five evenly spaced values, both ends included
    NONE = "none"  # there is none


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One of the 19.

    Attributes:
        name: What it does.
        draw: How its parameter is drawn.
        low: Smallest value of the parameter.
        high: Largest value.
        apply: (RGB image, parameter, draws) -> RGB image, possibly of another size.
    """

    name: str
    draw: Draw
    low: float
    high: float
    apply: Callable[[Image.Image, float, Generator], Image.Image]

    def value(self, rng: Generator) -> float:
        """Draw the parameter; 0 where there is none."""
        if self.draw is Draw.UNIFORM:
            return float(rng.uniform(self.low, self.high))
        if self.draw is Draw.STEPS:
            return float(np.linspace(self.low, self.high, _STEPS)[rng.integers(_STEPS)])
        return 0.0


def augment(image: Image.Image, rng: Generator, most: int = 2) -> Image.Image:
    """Apply 0 to ``most`` different augmentations, the count uniform, in their fixed order.

    Args:
        image: RGB image.
        rng: Source of all draws: the same state gives the same image.
        most: Largest count, at most 19.

    Returns:
        RGB image, possibly of another size.
    """
    count = int(rng.integers(most + 1))
    for place in sorted(rng.choice(len(AUGMENTATIONS), size=count, replace=False)):
        chosen = AUGMENTATIONS[place]
        image = chosen.apply(image, chosen.value(rng), rng)
    return image


def _resized(image: Image.Image, width: float, height: float, how: Image.Resampling) -> Image.Image:
    return image.resize((max(int(width), 1), max(int(height), 1)), how)


def _blur(image: Image.Image, radius: float, _: Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _brightness(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _aspect_ratio(image: Image.Image, ratio: float, _: Generator) -> Image.Image:
    """Give the image this width : height at the same area."""
    area = image.width * image.height
    width = math.sqrt(ratio * area)
    return _resized(image, width, area / width, Image.Resampling.BICUBIC)


def _pixelisation(image: Image.Image, ratio: float, _: Generator) -> Image.Image:
    """Shrink by the ratio and enlarge back."""
    small = _resized(image, image.width * ratio, image.height * ratio, Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _rotation(image: Image.Image, degrees: float, _: Generator) -> Image.Image:
    """Rotate, and keep the largest upright rectangle that holds no background."""
    turned = image.rotate(degrees, expand=True)
    width, height = _largest_inside(image.width, image.height, math.radians(degrees))
    x, y = turned.width / 2, turned.height / 2
    box = (int(x - width / 2), int(y - height / 2), int(x + width / 2), int(y + height / 2))
    return turned.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))


def _largest_inside(width: int, height: int, angle: float) -> tuple[float, float]:
    """Sides of the largest axis-parallel rectangle inside a rotated width x height rectangle."""
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    longer, shorter = max(width, height), min(width, height)
    if shorter <= 2 * sine * cosine * longer or abs(sine - cosine) < 1e-10:
        half = shorter / 2  # two corners touch the longer sides
        pair = (half / sine, half / cosine)
        return pair if width >= height else (pair[1], pair[0])
    double = cosine * cosine - sine * sine
    return (
        (width * cosine - height * sine) / double,
        (height * cosine - width * sine) / double,
    )


def _contrast(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _jpeg(image: Image.Image, quality: float, _: Generator) -> Image.Image:
    return jpeg(image, int(quality))


def _greyscale(image: Image.Image, _value: float, _: Generator) -> Image.Image:
    return image.convert("L").convert("RGB")


def _flip(image: Image.Image, _value: float, _: Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _opacity(image: Image.Image, level: float, _: Generator) -> Image.Image:
    """Blend with white; 1 leaves the image as it is."""
    return Image.blend(Image.new("RGB", image.size, "white"), image, level)


def _stripes(image: Image.Image, width: float, _: Generator) -> Image.Image:
    """Lay white horizontal stripes over; ``width`` is their share of the period.

    The period is half the shorter side (AugLy's line density of 0.5), one stripe in the middle.
    """
    period = min(image.size) / 2
    rows = np.arange(image.height) - image.height / 2
    striped = np.cos(2 * np.pi * rows / period) > math.cos(math.pi * width)
    pixels = np.array(image)
    pixels[striped] = 255
    return Image.fromarray(pixels)


def _pad(image: Image.Image, share: float, _: Generator) -> Image.Image:
    """Add a black border of this share of the side, on each side."""
    x, y = int(image.width * share), int(image.height * share)
    padded = Image.new("RGB", (image.width + 2 * x, image.height + 2 * y))
    padded.paste(image, (x, y))
    return padded


def _resize(image: Image.Image, side: float, _: Generator) -> Image.Image:
    return _resized(image, side, side, Image.Resampling.BICUBIC)


def _crop(image: Image.Image, side: float, rng: Generator) -> Image.Image:
    return random_crop(image, int(side), rng)


def _scale(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    how = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BILINEAR
    return _resized(image, image.width * factor, image.height * factor, how)


def _sharpen(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def _shuffle(image: Image.Image, share: float, rng: Generator) -> Image.Image:
    """Let this share of the pixels change places among themselves."""
    pixels = np.array(image).reshape(-1, 3)
    chosen = rng.choice(len(pixels), size=int(share * len(pixels)), replace=False, shuffle=False)
    pixels[chosen] = pixels[rng.permutation(chosen)]
    return Image.fromarray(pixels.reshape(image.height, image.width, 3))


def _skew(image: Image.Image, factor: float, _: Generator) -> Image.Image:
    """Shear along x about the middle row: a row at distance d moves by factor * d."""
    matrix = (1, factor, -factor * image.height / 2, 0, 1, 0)
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


def random_crop(image: Image.Image, side: int, rng: Generator) -> Image.Image:
    """Crop a random square; an image that is too small is zero-padded as at inference."""
    if min(image.size) < side:
        padded = Image.new("RGB", (max(image.width, side), max(image.height, side)))
        padded.paste(image, (max(side - image.width, 0) // 2, max(side - image.height, 0) // 2))
        image = padded
    left = int(rng.integers(image.width - side + 1))
    top = int(rng.integers(image.height - side + 1))
    return image.crop((left, top, left + side, top + side))


AUGMENTATIONS = (
    Augmentation("blur", Draw.UNIFORM, 0.1, 2.0, _blur),
    Augmentation("brightness", Draw.UNIFORM, 0.5, 2.0, _brightness),
    Augmentation("aspect ratio", Draw.UNIFORM, 0.75, 2.0, _aspect_ratio),
    Augmentation("pixelisation", Draw.UNIFORM, 0.3, 1.0, _pixelisation),
    Augmentation("rotation", Draw.UNIFORM, 90.0, 270.0, _rotation),
    Augmentation("contrast", Draw.STEPS, 0.5, 1.5, _contrast),
    Augmentation("saturation", Draw.STEPS, 0.5, 1.5, _saturation),
    Augmentation("jpeg", Draw.STEPS, 40, 100, _jpeg),
    Augmentation("greyscale", Draw.NONE, 0, 0, _greyscale),
    Augmentation("horizontal flip", Draw.NONE, 0, 0, _flip),
    Augmentation("opacity", Draw.STEPS, 0.2, 1.0, _opacity),
    Augmentation("overlay stripes", Draw.STEPS, 0.05, 0.35, _stripes),
    Augmentation("pad", Draw.STEPS, 0.01, 0.25, _pad),
    Augmentation("resize", Draw.STEPS, 64, 512, _resize),
    Augmentation("random crop", Draw.STEPS, 64, 512, _crop),
    Augmentation("scale", Draw.STEPS, 0.5, 1.5, _scale),
    Augmentation("sharpen", Draw.STEPS, 1.2, 2.0, _sharpen),
    Augmentation("shuffled pixels", Draw.STEPS, 0.0, 0.35, _shuffle),
    Augmentation("skew", Draw.STEPS, -1.0, 1.0, _skew),
)
"""In the order in which they are applied."""
