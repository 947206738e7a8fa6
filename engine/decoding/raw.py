"""Knows camera RAW files by their content and develops them with the optional package ``rawpy``.

LibRaw's settings are fixed, so that a file gives the same pixels everywhere: the camera's own white
balance, sRGB, 8 bits, no automatic brightness, no rotation.
"""

import importlib.util
import io
import struct
from typing import Any

from PIL import Image

EXTRA = "raw"
"""Name of the extra that installs ``rawpy``."""

_SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW"),  # RAF
    (0, b"IIRO"),  # ORF
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # RW2
    (0, b"FOVb"),  # X3F
    (0, b"\0MRM"),  # MRW
    (4, b"ftypcrx "),  # CR3
    (8, b"CR\x02"),  # CR2
)
_SUBFILE_TYPE, _MAKE, _SUB_IFDS, _DNG_VERSION = 254, 271, 330, 50706
_MAX_TAGS = 500


def is_raw(data: bytes) -> bool:
    """Whether a file is a camera RAW file, by its signature or its first directory."""
    if any(data.startswith(signature, offset) for offset, signature in _SIGNATURES):
        return True
    return is_tiff_raw(data)


def is_tiff_raw(data: bytes) -> bool:
    """Whether a TIFF is a camera RAW file (DNG, NEF, ARW, PEF) whose first image is a preview."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return False
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    if at + 2 > len(data):
        return False
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * min(count, _MAX_TAGS), 12):
        if entry + 12 > len(data):
            break
        tag, _, _, value = struct.unpack_from(f"{order}HHII", data, entry)
        tags[tag] = value
    if _DNG_VERSION in tags:
        return True
    return tags.get(_SUBFILE_TYPE) == 1 and _MAKE in tags and _SUB_IFDS in tags


def available() -> bool:
    """Whether ``rawpy`` is installed."""
    return importlib.util.find_spec("rawpy") is not None


class RawImage:
    """An opened RAW file: its size is known, its pixels are not developed yet."""

    def __init__(self, data: bytes) -> None:
        import rawpy

        self._file: Any = rawpy.imread(io.BytesIO(data))
        sizes = self._file.sizes
        self.size: tuple[int, int] = (int(sizes.width), int(sizes.height))

    def develop(self) -> Image.Image:
        """The whole image, RGB."""
        import rawpy

        with self._file:
            return Image.fromarray(
                self._file.postprocess(
                    use_camera_wb=True,
                    no_auto_bright=True,
                    output_color=rawpy.ColorSpace.sRGB,
                    output_bps=8,
                    user_flip=0,
                )
            )
