"""Pictures of every mode and format, and what the published inference makes of their bytes."""

import io
import struct
import warnings
import zlib

import numpy as np
from code_forensics.engine.decoding.decode import (
    Decoded,
    DecodeOptions,
    Undecodable,
    decode,
)
from PIL import Image

SIZE = 224
DEFAULT = DecodeOptions()

# Every mode that a format of Pillow's can write; IM takes them all.
WRITABLE = {
    "IM": ("1", "L", "LA", "P", "PA", "I", "I;16", "F", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"),
    "PNG": ("1", "L", "LA", "P", "I;16", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "PA", "I;16", "I", "F", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"),
    "JPEG": ("L", "RGB", "CMYK"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("1", "L", "I;16", "RGB", "F"),
    "TGA": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "PCX": ("1", "L", "P", "RGB"),
    "SGI": ("L", "RGB", "RGBA"),
    "ICO": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "I;16", "RGB", "RGBA", "YCbCr"),
    "AVIF": ("RGB", "RGBA"),
}
Image.init()
WRITABLE = {name: modes for name, modes in WRITABLE.items() if name in Image.SAVE}


def published_crop(image, size):
    """The published inference's centre crop."""
    width, height = image.size
    if width < size or height < size:
        left, top = max(size - width, 0) // 2, max(size - height, 0) // 2
        padded = Image.new("RGB", (max(width, size), max(height, size)))
        padded.paste(image, (left, top))
        image, (width, height) = padded, padded.size
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def published(data):
    """The published inference up to its crop, on bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(published_crop(image, SIZE))


def picture(mode, width, height, seed=0):
    """A smooth image with some noise, so that every codec has something to do."""
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 1 << 16, (height, width), dtype=np.uint16))
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    if mode in ("I", "F"):
        levels = np.asarray(image.convert("L"), np.float32) * 1.7 - 40  # beyond 0 to 255 too
        return Image.fromarray(levels.astype(np.int32 if mode == "I" else np.float32))
    if mode == "PA":
        paletted = image.convert("RGB").quantize(50).convert("PA")
        paletted.putalpha(image.getchannel("A"))
        return paletted
    if mode == "LAB":
        return Image.merge("LAB", image.split()[:3])
    if mode in ("P", "CMYK", "YCbCr", "1"):
        image = image.convert("RGB")
    return image.convert(mode)


def encode(image, file_format, **options):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow means to drop IM
        image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def same_answer(data, options=DEFAULT):
    """Decode, and hold the answer against the published pipeline's."""
    answer = decode(data, options)
    try:
        expected = published(data)
    except Exception as error:
        assert isinstance(answer, Undecodable), f"published pipeline: {error!r}"
    else:
        assert isinstance(answer, Decoded), answer
        assert np.array_equal(answer.crop, expected)
    return answer
