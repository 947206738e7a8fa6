"""Says which bytes are decoded in this process: those whose decoder is trusted and soon done.

Trusted are libjpeg-turbo, zlib and Pillow's PNG reader: the most used of all decoders, linear in
their input, and without a known hang. Even they can be kept busy by a file that is made for it (a
progressive JPEG with a thousand scans, a PNG with a million chunks or with profiles that inflate to
gigabytes), so the markers are counted first, which costs a walk over a few headers. Bytes that no
decoder claims are answered here too: nothing but short headers is looked at in Python, and one that
goes on for long is isolated.
"""

from contextlib import nullcontext

from PIL import PngImagePlugin

from ..decoding.decode import Decoded, DecodeOptions, Holding, Undecodable, decode
from ..decoding.formats import claimed, opens_unclaimed

_EFFORT = 1 << 29  # pixels times scans: 1 to 3 s on a slow core
_EFFORT_PER_SECOND = 1 << 25  # a tenth of what a slow core does
_SEGMENTS = 1000  # before a JPEG's first scan
_BEFORE = 1 << 22  # bytes of them: Pillow joins some in quadratic time
_CHUNKS = 20_000  # of a PNG, each a step in Python
_PACKED = (b"iCCP", b"zTXt", b"iTXt")  # its chunks that Pillow inflates, each
_INFLATED = PngImagePlugin.MAX_TEXT_CHUNK  # to so many bytes at most
_DEFLATE = 1032  # bytes that one of zlib's makes at most
_UNCLAIMED = 1 << 16  # bytes in which a format without a signature shows itself as a rule

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SOS = 0xDA
_NO_SEGMENTS = (*range(0xD0, 0xDA), 0xFF)  # restarts, start, end, and fill: nothing to step over
_PROGRESSIVE = 0xC2
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)  # baseline, extended and progressive, Huffman coded
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)


def decode_here(
    data: bytes, options: DecodeOptions, holding: Holding = nullcontext
) -> Decoded | Undecodable | None:
    """Decode what needs no isolation.

    Args:
        data: The whole file.
        options: Bounds.
        holding: Entered while all pixels of a picture are in memory.

    Returns:
        None where a process of its own should do it.
    """
    if not data or len(data) > options.max_bytes or is_trusted(data, options):
        return decode(data, options, holding)
    if data.startswith((_JPEG, _PNG)):
        return None
    prefix = data[:_UNCLAIMED]
    if claimed(data[:16]) or opens_unclaimed(prefix, len(data)):
        return None
    return decode(prefix, options)


def is_trusted(data: bytes, options: DecodeOptions) -> bool:
    """Whether a file is of a kind that is decoded in this process, and soon done."""
    limit = min(_EFFORT, int(_EFFORT_PER_SECOND * options.timeout))
    if data.startswith(_JPEG):
        return _jpeg_effort(data) <= limit
    return data.startswith(_PNG) and _png_effort(data) <= limit


def _jpeg_effort(data: bytes) -> float:
    """Pixels times scans; infinite for a structure that is out of the ordinary.

    Scans are counted where there may be several: libjpeg reads no other behind one that has all
    components of a frame that is not progressive.
    """
    pixels, at, whole = 0, 2, -1
    for _ in range(_SEGMENTS):
        if at > _BEFORE:
            break
        if at + 4 >= len(data):
            return 0  # cut off before the first scan: nothing is going to be decoded
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if data[at] != 0xFF or marker < 0xC0 or marker in _NO_SEGMENTS or length < 2:
            break
        if marker in _OTHER_FRAMES:
            break
        if marker == _SOS:
            return pixels * (1 if data[at + 4] == whole else data.count(b"\xff\xda", at))
        if marker in _FRAMES:
            if pixels:
                break
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            pixels = int.from_bytes(height) * int.from_bytes(width)
            whole = -1 if marker == _PROGRESSIVE or at + 9 >= len(data) else data[at + 9]
        at += 2 + length
    return float("inf")


def _png_effort(data: bytes) -> float:
    """Bytes of pixels, and of what else is inflated; infinite for an uncommon structure."""
    if data[8:16] != b"\0\0\0\x0dIHDR" or len(data) < 29:
        return float("inf") if len(data) >= 29 else 0
    width, height, depth = data[16:20], data[20:24], data[24]
    effort = int.from_bytes(width) * int.from_bytes(height) * (2 if depth == 16 else 1)
    at = len(_PNG)
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            return effort
        length = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] in _PACKED:
            effort += min(length * _DEFLATE, _INFLATED)
        at += 12 + length
    return float("inf")
