"""Draws an image small, for people to look at: never an exception, and nothing of its metadata."""

import io
from contextlib import nullcontext

from PIL import Image

from ..quiet import quiet_warnings
from .decode import DecodeOptions, Holding
from .formats import open_image

SIDE = 256
"""Longest side of a thumbnail, in pixels."""

QUALITY = 78
"""Of its JPEG."""


def thumbnail(data: bytes, options: DecodeOptions, holding: Holding = nullcontext) -> bytes | None:
    """Draw an image small, as stored (EXIF orientation is not applied), without its metadata.

    Args:
        data: The whole file.
        options: Bounds.
        holding: Entered while all pixels are in memory; may wait for room.

    Returns:
        A JPEG of at most 256 pixels a side; None for whatever cannot be drawn.
    """
    with quiet_warnings():
        try:
            image = open_image(data)
            if image.width * image.height > options.max_pixels:
                return None
            image.draft("RGB", (2 * SIDE, 2 * SIDE))  # JPEG decodes to an eighth at no cost
            with holding(image.width * image.height):
                image.load()
                drawn = _on_white(image)
                drawn.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            # A new image: whatever the file's info holds (EXIF, ICC, comments) stays behind.
            clean = Image.frombytes("RGB", drawn.size, drawn.tobytes())
            clean.save(out, "JPEG", quality=QUALITY, optimize=True)
        except Exception:  # decoders raise nearly anything on hostile files
            return None
    return out.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    """RGB, small enough to be cheap; transparent parts become white."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    image.thumbnail((4 * SIDE, 4 * SIDE), Image.Resampling.NEAREST)
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")
