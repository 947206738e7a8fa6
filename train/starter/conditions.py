"""What happens to a picture on its way to a user: nothing, compression, or a smaller copy."""

import io
from enum import StrEnum

import numpy as np
from PIL import Image

from ...engine.decoding.views import SIZE
from ..catalogue import decode


class Condition(StrEnum):
    """A state in which a picture is referenced or judged."""

    NATIVE = "native"  # the file as it is
    JPEG70 = "JPEG 70"  # decoded, and compressed again with quality 70, 4:2:0
    HALF = "half size"  # decoded, both sides halved, kept without loss


def apply(condition: Condition, data: bytes) -> bytes:
    """Bring an image file into a condition.

    Data sets of crops hold nothing beyond the crop, so a halved picture that is smaller than the
    encoder's input is continued by its mirror image up to that size: zeros around it would show
    the encoder a frame that no user's picture has.

    Args:
        condition: Which.
        data: The file.

    Returns:
        A file again; the same bytes for ``NATIVE``.

    Raises:
        OSError: It is no image, or is damaged.
    """
    if condition is Condition.NATIVE:
        return data
    image = decode(data)
    out = io.BytesIO()
    if condition is Condition.JPEG70:
        image.save(out, "JPEG", quality=70, subsampling=2)
        return out.getvalue()
    halved = image.resize(
        (max(image.width // 2, 1), max(image.height // 2, 1)), Image.Resampling.BICUBIC
    )
    _mirrored(halved).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _mirrored(image: Image.Image) -> Image.Image:
    """Continue an image by reflection to at least the encoder's input."""
    down, across = (max(0, SIZE - side) for side in (image.height, image.width))
    if not down and not across:
        return image
    around = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), around, mode="symmetric"))
