"""What an image file says of itself before any pixel is decoded: format, size, JPEG tables."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import ImageFile

from ..decoding.formats import open_image
from ..quiet import quiet_warnings

_SAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}

# ITU-T T.81, table K.1, luminance; in ascending order, because that is all that is compared.
_LUMINANCE = np.sort(
    np.fromstring(
        """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51
        87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
        72 92 95 98 112 100 103 99""",
        dtype=np.int64,
        sep=" ",
    )
)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts of one file; None where unknown, or where the format has no such thing.

    Attributes:
        format: In Pillow's names; empty where unknown.
        bytes: Size of the file.
        width: In pixels.
        height: In pixels.
        mode: Pillow's name of the pixel layout.
        quality: IJG quality, 1 to 100, whose luminance table lies nearest to the file's.
        quantisation: First 12 hexadecimal digits of the SHA-256 over all quantisation tables.
        subsampling: Of the chroma, such as ``4:2:0``; ``grey`` where there is none.
        progressive: Whether a JPEG is progressive.
        exif: Whether there is an EXIF block.
        icc: Whether there is a colour profile.
    """

    format: str
    bytes: int
    width: int
    height: int
    mode: str | None = None
    quality: int | None = None
    quantisation: str | None = None
    subsampling: str | None = None
    progressive: bool | None = None
    exif: bool | None = None
    icc: bool | None = None


def read_facts(data: bytes) -> FileFacts | None:
    """Read the facts of an image; only headers are parsed.

    Args:
        data: The whole file. Never raises for its sake.

    Returns:
        None where no decoder opens it.
    """
    with quiet_warnings():
        try:
            image = open_image(data)
            return _facts(image, len(data))
        except Exception:  # decoders raise nearly anything on hostile headers
            return None


def ijg_quality(luminance: list[int]) -> int:
    """Estimate the quality setting behind a luminance quantisation table.

    The scaling is that of the Independent JPEG Group's ``jpeg_quality_scaling``; the answer is the
    quality whose table has the least mean absolute difference, the order of the entries left
    out of account (tools differ in it). A table of another maker gives the nearest quality.

    Args:
        luminance: 64 entries, each from 1 to 65535.
    """
    table = np.sort(np.asarray(luminance, dtype=np.int64))
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables = np.clip((_LUMINANCE[None, :] * scale[:, None] + 50) // 100, 1, 255)
    distances = np.abs(tables - table).mean(axis=1)
    return int(quality[np.flatnonzero(distances == distances.min())[-1]])


def _facts(image: ImageFile.ImageFile, size: int) -> FileFacts:
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", None) or []
    jpeg = bool(layers)
    luminance = tables.get(layers[0][3] if jpeg else 0)
    digest = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:12]
    return FileFacts(
        format=image.format or "",
        bytes=size,
        width=image.width,
        height=image.height,
        mode=image.mode,
        quality=ijg_quality(luminance) if luminance and len(luminance) == 64 else None,
        quantisation=digest if tables else None,
        subsampling=_sampling(layers) if jpeg else None,
        progressive=bool(image.info.get("progressive")) if jpeg else None,
        exif="exif" in image.info,
        icc="icc_profile" in image.info,
    )


def _sampling(layers: list[tuple[int, int, int, int]]) -> str:
    factors = [(across, down) for _, across, down, _ in layers]
    if len(factors) == 1:
        return "grey"
    if set(factors[1:]) == {(1, 1)} and factors[0] in _SAMPLINGS:
        return _SAMPLINGS[factors[0]]
    return " ".join(f"{across}x{down}" for across, down in factors)
