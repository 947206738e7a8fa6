"""Says from its markers alone whether a JPEG is intact and of a kind that can be read in part.

Source of the layout: ITU-T T.81, annex B. What passes here is a single-scan Huffman JPEG of 8 bits
(SOF0, SOF1), grey or of three components, complete down to its last restart marker and its EOI.
All else is left to a decoder that reads the whole file: on a damaged structure two decoders may
stop at different places, while the bits between intact markers always decode to the same pixels
(libjpeg resumes after a bad code, without an error).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SOF = (0xC0, 0xC1)  # baseline and extended sequential, Huffman coded
DHT, SOS, DQT = 0xC4, 0xDA, 0xDB
JFIF, ADOBE = 0xE0, 0xEE  # APP0 and APP14, which tell the colour space
_DRI, _COM = 0xDD, 0xFE
_APP = range(0xE0, 0xF0)
_EOI = 0xD9
_KEPT = frozenset({*SOF, DHT, DQT, SOS, JFIF, ADOBE})

_LONGEST = 65_500
"""Pixels of a side: libjpeg refuses more, though the format has room for them."""

_SEGMENTS = 1000
"""Before the coded data; colour profiles take up to 255."""

_STRIDE = 1 << 21
"""Coded bytes that are looked at at a time: as fast as what fits a processor's cache, and after
each stride the thread has to ask for Python's lock anew."""

# Horizontal and vertical sampling of the first component, the other two being 1 x 1:
# 4:4:4, 4:2:2, 4:2:0, 4:4:0 and 4:1:1.
_LUMA = frozenset({(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)})


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header says.

    Attributes:
        width: Columns.
        height: Rows.
        sampling: Horizontal and vertical factor of each component.
    """

    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]

    @property
    def unit(self) -> tuple[int, int]:
        """Width and height of a minimum coded unit; a single component is coded block by block."""
        across, down = self.sampling[0] if len(self.sampling) > 1 else (1, 1)
        return 8 * across, 8 * down

    @property
    def grid(self) -> tuple[int, int]:
        """Minimum coded units side by side, and one below the other."""
        across, down = self.unit
        return -(-self.width // across), -(-self.height // down)

    @property
    def units(self) -> int:
        """Minimum coded units in its one scan."""
        columns, rows = self.grid
        return columns * rows


@dataclass(frozen=True, slots=True)
class Header:
    """All before the coded data.

    Attributes:
        frame: What the frame header says.
        segments: Marker and body of each segment, in their order, the scan's header last; the
            bodies of what tells nothing of the pixels are left out.
        interval: Coded units between restart markers; 0 where there are none.
        start: Where the coded data begin.
    """

    frame: Frame
    segments: tuple[tuple[int, bytes], ...]
    interval: int
    start: int


def read_header(data: bytes) -> Header | None:
    """Read a JPEG up to its coded data.

    Args:
        data: The whole file.

    Returns:
        Its header, or None where anything is missing, doubled, out of place or of another kind.
    """
    if data[:2] != b"\xff\xd8":
        return None
    frame, interval, at = None, 0, 2
    segments: list[tuple[int, bytes]] = []
    while at + 4 <= len(data) and data[at] == 0xFF and len(segments) < _SEGMENTS:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        body, at = data[at + 4 : at + 2 + length], at + 2 + length
        if length < 2 or len(body) != length - 2:
            return None
        segments.append((marker, body if marker in _KEPT else b""))
        if marker in SOF:
            if frame is not None or (frame := _frame(body)) is None:
                return None
        elif marker == _DRI:
            if interval or length != 4 or not (interval := int.from_bytes(body)):
                return None
        elif marker == SOS:
            whole = frame is not None and _is_only_scan(body, frame)
            return Header(frame, tuple(segments), interval, at) if whole and frame else None
        elif marker not in (DHT, DQT, _COM) and marker not in _APP:
            return None
    return None


def is_intact(data: bytes, header: Header) -> bool:
    """Whether coded data run to EOI with exactly the restart markers that belong there.

    In coded bits a zero is stuffed behind every 0xFF; anything else behind it makes a marker. Bytes
    after EOI (previews, further frames) are not looked at.
    """
    coded = np.frombuffer(data, np.uint8)
    restarts: list[NDArray[np.uint8]] = []
    for first in range(header.start, len(coded) - 1, _STRIDE):
        part = coded[first : first + _STRIDE + 1]  # a marker's two bytes may lie in two strides
        markers = part[np.flatnonzero(part[:-1] == 0xFF) + 1]
        markers = markers[markers != 0]
        others = np.flatnonzero(markers & 0xF8 != 0xD0)
        if not len(others):
            restarts.append(markers)
            continue
        restarts.append(markers[: others[0]])
        count = -(-header.frame.units // header.interval) - 1 if header.interval else 0
        expected = 0xD0 + np.arange(count) % 8
        return bool(markers[others[0]] == _EOI) and np.array_equal(
            np.concatenate(restarts), expected
        )
    return False


def _frame(body: bytes) -> Frame | None:
    """Read a frame header that has 8 bits a sample and a common subsampling."""
    if len(body) < 6 or body[0] != 8:
        return None
    height, width, count = int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[5]
    if not height or not width or max(height, width) > _LONGEST or len(body) != 6 + 3 * count:
        return None
    sampling = tuple((body[at] >> 4, body[at] & 15) for at in range(7, len(body), 3))
    if count == 1:
        # The factors of a lone component have no meaning, but decoders have tripped over them.
        return Frame(width, height, sampling) if sampling[0] == (1, 1) else None
    if count != 3 or sampling[0] not in _LUMA or sampling[1:] != ((1, 1), (1, 1)):
        return None
    return Frame(width, height, sampling)


def _is_only_scan(body: bytes, frame: Frame) -> bool:
    """Whether a scan header covers every component and every coefficient."""
    count = len(frame.sampling)
    return len(body) == 2 * count + 4 and body[0] == count and body[-3:] == b"\x00\x3f\x00"
