"""Reads single fields out of EXIF, IPTC, XMP and C2PA blocks, however broken they are.

None of these is a validating parser: a field that cannot be read is left out, and every loop is
bounded. Layouts: TIFF 6.0, BigTIFF and EXIF 2.32 (CIPA DC-008); IPTC-IIM 4.2; XMP (ISO 16684-1),
which is searched as text, because an XML parser would only add ways to attack; CBOR (RFC 8949) for
claims.
"""

import html
import re
import struct
from dataclasses import dataclass, field

from .blocks import text_of

MAX_ENTRIES = 512
MAX_VALUE = 64 << 10

# EXIF and TIFF tags that say something about origin.
IMAGE_DESCRIPTION = 0x010E
MAKE = 0x010F
MODEL = 0x0110
SOFTWARE = 0x0131
ARTIST = 0x013B
XMP_PACKET = 0x02BC
IPTC_RECORD = 0x83BB
PHOTOSHOP = 0x8649
USER_COMMENT = 0x9286
XP_COMMENT = 0x9C9C
C2PA_STORE = 0xCD41
_EXIF_IFD = 0x8769
_TEXTS = {IMAGE_DESCRIPTION, MAKE, MODEL, SOFTWARE, ARTIST, USER_COMMENT, XP_COMMENT}
_BYTES = {XMP_PACKET, IPTC_RECORD, PHOTOSHOP, C2PA_STORE}
_WANTED = _TEXTS | _BYTES
_SIZES = {1: 1, 2: 1, 4: 4, 6: 1, 7: 1, 13: 4, 129: 1}
_LONG8, _IFD8 = 16, 18


@dataclass(slots=True)
class TiffTags:
    """Fields of a TIFF structure: texts decoded, embedded blocks as bytes; by tag number."""

    texts: dict[int, str] = field(default_factory=dict)
    blocks: dict[int, bytes] = field(default_factory=dict)


def read_tiff(data: bytes) -> TiffTags:
    """The fields above in the first directory and in its EXIF directory; the first of each wins."""
    tags = TiffTags()
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    big = data[2:4] in {b"+\x00", b"\x00+"}
    if order is None or len(data) < (16 if big else 8):
        return tags
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    word = struct.Struct(order + ("Q" if big else "I"))
    long = struct.Struct(order + "I")
    counter = struct.Struct(order + ("Q" if big else "H"))
    step = entry.size + word.size
    directories = [word.unpack_from(data, word.size)[0]]
    for at in directories:  # grows by the EXIF directory, which cannot add another
        begin = at + counter.size
        if begin > len(data):
            continue
        count = min(counter.unpack_from(data, at)[0], MAX_ENTRIES, (len(data) - begin) // step)
        for start in range(begin, begin + step * count, step):
            tag, kind, length = entry.unpack_from(data, start)
            value = start + entry.size
            if tag == _EXIF_IFD and len(directories) == 1:
                pointer = word if kind in {_LONG8, _IFD8} else long
                directories.append(pointer.unpack_from(data, value)[0])
            elif tag in _WANTED and kind in _SIZES and tag not in tags.texts:
                size = length * _SIZES[kind]
                first = value if size <= word.size else word.unpack_from(data, value)[0]
                if tag in _BYTES:
                    tags.blocks.setdefault(tag, data[first : first + min(size, 4 << 20)])
                else:
                    raw = data[first : first + min(size, MAX_VALUE)]
                    tags.texts[tag] = _exif_text(tag, raw, order)
    return tags


def _exif_text(tag: int, raw: bytes, order: str) -> str:
    if tag == XP_COMMENT:
        return raw.decode("utf-16-le", "replace").rstrip("\x00")
    if tag == USER_COMMENT:
        coding, raw = raw[:8], raw[8:]
        if coding == b"UNICODE\x00":
            return _utf16(raw, order)
        if coding not in {b"ASCII\x00\x00\x00", b"\x00" * 8, b" " * 8}:
            raw = coding + raw  # writers that forget the code
    return text_of(raw.split(b"\x00", 1)[0]).strip()


def _utf16(raw: bytes, order: str) -> str:
    """UTF-16 of either byte order, as writers disagree: in Latin text, zeros are the high half."""
    high, low = raw[0:512:2].count(0), raw[1:512:2].count(0)
    big = high > low if high != low else order == ">"
    return raw.decode("utf-16-be" if big else "utf-16-le", "replace").strip("\ufeff\x00 ")


def read_iptc(data: bytes) -> dict[int, str]:
    """Texts of the application record (2) of IPTC-IIM by dataset number; the first of each wins."""
    found: dict[int, str] = {}
    at = 0
    for _ in range(MAX_ENTRIES):
        if data[at : at + 1] != b"\x1c" or at + 5 > len(data):
            break
        size = (data[at + 3] << 8) | data[at + 4]
        if size & 0x8000:  # extended datasets hold pictures, not text
            break
        if data[at + 1] == 2:
            found.setdefault(data[at + 2], text_of(data[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


_XMP_VALUE = re.compile(
    r"""\s{0,9}=\s{0,9}(?:"([^"<]{0,500})|'([^'<]{0,500}))"""  # an attribute
    r"""|[^<>]{0,200}?rdf:resource\s?=\s?["']([^"'<]{0,500})"""  # an element that is a reference
    r"""|[^<>]{0,200}>\s{0,99}(?:<rdf:(?:Alt|Seq|Bag)>\s{0,99}<rdf:li[^<>]{0,99}>)?([^<>]{0,500})</"""
)


def xmp_text(packet: bytes) -> str:
    """An XMP packet as text, whatever its coding; damaged bytes are replaced."""
    if packet[:2] in {b"\xfe\xff", b"\xff\xfe"}:
        return packet.decode("utf-16", "replace")
    return packet.decode("utf-8", "replace")


def xmp_values(packet: str, name: str) -> list[str]:
    """Values of a property in any namespace: attributes, elements, references, first list items.

    Args:
        packet: From :func:`xmp_text`.
        name: Local name, such as ``CreatorTool``.

    Returns:
        At most eight distinct values in order.
    """
    found: list[str] = []
    at = packet.find(name)
    for _ in range(32):
        if at < 0 or len(found) == 8:
            break
        after = at + len(name)
        # ':' ends a prefix, so that "Model" is not found inside of another name.
        if at and packet[at - 1] == ":" and (match := _XMP_VALUE.match(packet, after)):
            value = html.unescape(next((g for g in match.groups() if g is not None), "")).strip()
            if value and value not in found:
                found.append(value)
        at = packet.find(name, after)
    return found


def claim_generator(store: bytes) -> str:
    """What the last claim of a C2PA manifest store, which is the active one, says made it.

    Searches for the CBOR keys, without reading or validating the structure around them.
    """
    at = store.rfind(b"\x74claim_generator_info")
    if at >= 0:
        name = store.find(b"\x64name", at, at + 256)
        if name >= 0 and (text := _cbor_text(store, name + 5)):
            version = store.find(b"\x67version", name, name + 256)
            return f"{text} {_cbor_text(store, version + 8) if version >= 0 else ''}".strip()
    at = store.rfind(b"\x6fclaim_generator")
    return _cbor_text(store, at + 16) if at >= 0 else ""


def claim_source_types(store: bytes) -> list[str]:
    """Every ``digitalSourceType`` in a C2PA manifest store, those of ingredients included."""
    found: list[str] = []
    at = -1
    for _ in range(32):
        at = store.find(b"\x71digitalSourceType", at + 1)
        if at < 0:
            break
        value = _cbor_text(store, at + 18)
        if value and value not in found:
            found.append(value)
    return found


def _cbor_text(data: bytes, at: int) -> str:
    """A CBOR text string of at most 511 bytes, or nothing."""
    head = data[at] if at < len(data) else 0
    if 0x60 <= head <= 0x77:
        size, start = head - 0x60, at + 1
    elif head == 0x78:
        size, start = int.from_bytes(data[at + 1 : at + 2], "big"), at + 2
    elif head == 0x79:
        size, start = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
    else:
        return ""
    return data[start : start + size].decode("utf-8", "replace") if size < 512 else ""
