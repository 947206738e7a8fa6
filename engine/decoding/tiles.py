"""Reads parts of a JPEG through small JPEGs that are cut out of it without decoding it.

A tile keeps the quantised coefficients of the whole, so Pillow decodes it to the pixels that it
would decode the whole to: each block by itself, and the chroma between blocks from neighbours that
a margin around the part brings along. As of ``jpegtran -crop``, nothing of what lies outside has
to be transformed or coloured, but its codes have to be passed over (:mod:`.jpeg_tiles`, in C). What
is not exactly as the standard has it is left to a decoder of the whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .crop import CropBox
from .jpeg import ADOBE, DHT, DQT, JFIF, SOF, SOS, Frame, Header, read_header

VERSION = "1"
"""Of the way in which tiles are cut, for run records."""

Pixels = NDArray[np.uint8]

_MARGIN = 8
"""The eighth of a coded unit, a sample of chroma, is kept around a part: upsampling looks at it."""

_CARRIED = 1 << 16
"""Bytes of tables that every tile may carry; a thousand times what they take as a rule."""

_TELLING = {JFIF: 14, ADOBE: 12}
"""Bytes of the segments that tell the colour space, of which libjpeg looks at no more."""

_AC = 0x10
_DC_TABLE = bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, *range(12)])
"""T.81, table K.3, with which the tiles' DC values are written."""


def _compiled() -> Callable[..., list[bytes] | None] | None:
    try:
        from .jpeg_tiles import cut
    except ImportError:  # installed where there was no compiler
        return None
    return cut


_cut = _compiled()


def can_cut() -> bool:
    """Whether the part that is in C was compiled."""
    return _cut is not None


def pays(width: int, height: int, boxes: Sequence[CropBox]) -> bool:
    """Whether the tiles of some parts are so much less than the whole that cutting them pays.

    Args:
        width: Of the picture, in pixels.
        height: Likewise.
        boxes: The parts.
    """
    around = 32  # half a unit to each side, and the margin
    tiles = sum((box.width + around) * (box.height + around) for box in boxes)
    return 2 * tiles <= width * height


def read_parts(
    data: bytes, width: int, height: int, boxes: Sequence[CropBox]
) -> dict[CropBox, Pixels] | None:
    """Decode parts of a JPEG where that gives the pixels of the whole.

    Args:
        data: A file that Pillow opens.
        width: Width that Pillow reads from it.
        height: Height that Pillow reads from it.
        boxes: The parts, inside the image; at least one.

    Returns:
        Of each part an array of shape (box.height, box.width, 3), uint8, RGB; None where Pillow
        must decide.
    """
    header = read_header(data)
    if _cut is None or header is None:
        return None
    if (header.frame.width, header.frame.height) != (width, height):
        return None
    small = _Small.of(header)
    components = _components(header) if small else None
    if small is None or components is None:
        return None
    tiles = [_tile(header.frame, box) for box in boxes]
    coded = _cut(data, header.start, header.interval, *header.frame.grid, components, tiles)
    if coded is None:
        return None
    try:
        return {
            box: small.read(tile, bits, box)
            for box, tile, bits in zip(boxes, tiles, coded, strict=True)
        }
    except (OSError, ValueError):
        return None  # a table that libjpeg refuses, in the whole as well


def _tables(header: Header) -> dict[int, bytes] | None:
    """Bodies of the Huffman tables by class and number; of one that is defined again the last."""
    tables = {}
    for marker, body in header.segments:
        at = 0
        while marker == DHT and at < len(body):
            end = at + 17 + sum(body[at + 1 : at + 17])
            if end > len(body):
                return None
            tables[body[at]], at = body[at + 1 : end], end
    return tables


def _selectors(header: Header) -> list[tuple[int, int, int]]:
    """Of each component of the scan: its identifier, and its DC and AC tables' numbers."""
    scan = header.segments[-1][1]
    return [
        (scan[at], scan[at + 1] >> 4, scan[at + 1] & 15)
        for at in range(1, 1 + 2 * len(header.frame.sampling), 2)
    ]


def _components(header: Header) -> list[tuple[int, bytes, bytes]] | None:
    """What the coded data is read by; None where that is not as the standard has it."""
    tables, frame = _tables(header), header.frame
    (body,) = (body for marker, body in header.segments if marker in SOF)
    identifiers = [body[at] for at in range(6, len(body), 3)]
    selectors = _selectors(header)
    if tables is None or identifiers != [identifier for identifier, _, _ in selectors]:
        return None
    if len(set(identifiers)) != len(identifiers):
        return None
    found = []
    for (across, down), (_, dc, ac) in zip(frame.sampling, selectors, strict=True):
        if dc not in tables or _AC | ac not in tables or max(tables[dc][16:], default=0) > 15:
            return None
        blocks = across * down if len(frame.sampling) > 1 else 1
        found.append((blocks, tables[dc], tables[_AC | ac]))
    return found


def _tile(frame: Frame, box: CropBox) -> tuple[int, int, int, int]:
    """The coded units that a part needs: left, top, right, bottom.

    At least two side by side, as libjpeg upsamples what is less than three samples wide otherwise.
    """
    (across, down), (columns, rows) = frame.unit, frame.grid
    x, y = across // _MARGIN, down // _MARGIN
    right = min(columns, -(-(box.right + x) // across))
    return (
        max(0, min((box.left - x) // across, right - 2)),
        max(0, (box.top - y) // down),
        right,
        min(rows, -(-(box.bottom + y) // down)),
    )


@dataclass(frozen=True, slots=True)
class _Small:
    """Puts coded data into the frame of the JPEG that they come from.

    Attributes:
        frame: Of that JPEG.
        sof: Marker and body of its frame header.
        head: SOI, and all its tables, so that what is wrong with one stays so; its colour space.
        scan: The table that the DC values are written with, and the scan's header.
    """

    frame: Frame
    sof: tuple[int, bytes]
    head: bytes
    scan: bytes

    @classmethod
    def of(cls, header: Header) -> "_Small | None":
        """Take over what tells how coefficients become pixels; None where that is too much."""
        head, sof = [b"\xff\xd8"], (0, b"")
        for marker, body in header.segments:
            if marker in SOF:
                sof = marker, body
            elif marker in (DHT, DQT, JFIF, ADOBE):
                head.append(_segment(marker, body[: _TELLING.get(marker, len(body))]))
        if sum(map(len, head)) > _CARRIED:
            return None
        selectors = _selectors(header)
        chosen = b"".join(bytes([identifier, ac]) for identifier, _, ac in selectors)
        scan = _segment(DHT, b"\0" + _DC_TABLE)
        scan += _segment(SOS, bytes([len(selectors)]) + chosen + b"\0\x3f\0")
        return cls(header.frame, sof, b"".join(head), scan)

    def read(self, tile: tuple[int, int, int, int], coded: bytes, box: CropBox) -> Pixels:
        """Decode a tile and cut the part out of it."""
        across, down = self.frame.unit
        left, top = tile[0] * across, tile[1] * down
        width = min(tile[2] * across, self.frame.width) - left
        height = min(tile[3] * down, self.frame.height) - top
        mode = "RGB" if len(self.frame.sampling) > 1 else "L"
        marker, body = self.sof
        sizes = height.to_bytes(2) + width.to_bytes(2)
        frame = _segment(marker, body[:1] + sizes + body[5:])
        file = b"".join((self.head, frame, self.scan, coded, b"\xff\xd9"))
        image = Image.frombytes(mode, (width, height), file, "jpeg", mode, "")
        x, y = box.left - left, box.top - top
        pixels = np.asarray(image if mode == "RGB" else image.convert("RGB"))
        return pixels[y : y + box.height, x : x + box.width]


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body
