"""JPEGs of all kinds that may be read in part."""

import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image


def photo(width, height, seed=0, mode="RGB"):
    """Smooth colours with sensor-like noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.int16) + rng.integers(-9, 10, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def resampled(data):
    """Declare a 4:2:2 JPEG 4:4:0, or a 4:2:0 one 4:1:1, which Pillow cannot write.

    Both keep the number of blocks in a coded unit, so that the stream stays valid; the blocks
    only come to lie elsewhere.
    """
    at = data.index(b"\xff\xc0") + 2
    height, width = int.from_bytes(data[at + 3 : at + 5]), int.from_bytes(data[at + 5 : at + 7])
    if data[at + 9] == 0x21:
        height, width, luma = -(-height // 8) * 16, -(-width // 16) * 8, 0x12
    else:
        height, width, luma = -(-height // 16) * 8, -(-width // 16) * 32, 0x41
    sizes = height.to_bytes(2) + width.to_bytes(2)
    return data[: at + 3] + sizes + data[at + 7 : at + 9] + bytes([luma]) + data[at + 10 :]


@st.composite
def jpegs(draw):
    """Intact JPEGs of the kinds that may be read in part."""
    mode = draw(st.sampled_from(["RGB", "RGB", "RGB", "L"]))
    width = draw(st.integers(130, 700))  # narrow ones are padded
    height = draw(st.integers(-(-2 * 224 * 224 // width) + 40, 900))
    image = photo(*draw(st.permutations([width, height])), draw(st.integers(0, 9)), mode)
    quality = draw(st.integers(1, 100))
    options = {
        "quality": quality,
        "optimize": quality < 60 and draw(st.booleans()),  # Pillow's writer has too small a buffer
        "restart_marker_blocks": draw(st.sampled_from([0, 0, 1, 7, 50])),
        "exif": draw(
            st.sampled_from([b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0", b"Exif\0\0\xff\xd9\xff\xda"])
        ),
    }
    if mode == "L":
        return encode(image, **options)
    subsampling = draw(st.sampled_from([0, 1, 2]))
    if subsampling == 0:
        return encode(image, subsampling=0, keep_rgb=draw(st.booleans()), **options)
    data = encode(image, subsampling=subsampling, **options)
    return resampled(data) if draw(st.booleans()) else data
