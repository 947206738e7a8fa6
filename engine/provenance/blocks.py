"""Finds the metadata blocks of an image file, without decoding it.

Walks the containers' own tables (JPEG segments, PNG chunks, RIFF chunks, GIF extensions, ISO boxes,
a bare TIFF) and hands out slices. Every length is hostile: each walker moves forward with every
step and takes at most ``MAX_STEPS`` of them; what is kept or inflated has its own bounds below.

Layouts: ITU-T T.81 annex B; PNG 3rd edition; RFC 9649 (WebP); GIF89a; ISO/IEC 14496-12 and 23008-12
(HEIF); JUMBF in JPEG: ISO/IEC 19566-5 and 18477-3; Photoshop resources: Adobe's file format
specification; places of C2PA manifests: C2PA 2.1, appendix A.
"""

import re
import zlib
from dataclasses import dataclass, field

MAX_STEPS = 20_000
MAX_BLOCK = 4 << 20
MAX_TEXT = 256 << 10
MAX_BLOCKS = 64

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\x00\x00"
_XMP = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\x00"
_PHOTOSHOP = b"Photoshop 3.0\x00"
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


@dataclass(slots=True)
class Blocks:
    """Metadata as it lies in the file.

    Attributes:
        mime: Media type of the container, empty if it is none that is known here.
        exif: TIFF structures, from their byte order mark on.
        xmp: XMP packets, parts of extended ones included.
        iptc: IPTC-IIM records.
        texts: Keyword and text of PNG text chunks and comments.
        c2pa: The C2PA manifest store (JUMBF), empty if there is none.
    """

    mime: str = ""
    exif: list[bytes] = field(default_factory=list)
    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    c2pa: bytes = b""


def find_blocks(data: bytes) -> Blocks:
    """The metadata blocks of a file; none where its container is unknown or broken.

    Args:
        data: The whole file.
    """
    blocks = Blocks()
    if data[:2] == b"\xff\xd8":
        blocks.mime = "image/jpeg"
        _walk_jpeg(data, blocks)
    elif data[:8] == _PNG:
        blocks.mime = "image/png"
        _walk_png(data, blocks)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        blocks.mime = "image/webp"
        _walk_webp(data, blocks)
    elif data[:6] in {b"GIF87a", b"GIF89a"}:
        blocks.mime = "image/gif"
        _walk_gif(data, blocks)
    elif data[:4] in {b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"}:
        blocks.mime = "image/tiff"
        blocks.exif.append(data)
    elif data[4:8] in {b"ftyp", b"JXL ", b"jP  "}:
        brand = data[8:12] if data[4:8] == b"ftyp" else data[4:8]
        blocks.mime = _BRANDS.get(brand, "image/heic")
        _walk_boxes(data, blocks)
    return blocks


_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"JXL ": "image/jxl",
    b"jP  ": "image/jp2",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}


_MARKER = re.compile(rb"\xff[^\x00\xff]")
"""A JPEG's next marker; decoders step over fill bytes and whatever else stands before it."""


def _walk_jpeg(data: bytes, blocks: Blocks) -> None:
    at, end = 2, len(data)
    manifests: dict[bytes, list[bytes]] = {}
    for _ in range(MAX_STEPS):
        found = _MARKER.search(data, at)
        if found is None or found.start() + 4 > end:
            break
        at = found.start()
        marker = data[at + 1]
        if marker in {0xDA, 0xD9}:  # the scan or the end: no metadata follows
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # without a length
            at += 2
            continue
        size = (data[at + 2] << 8) | data[at + 3]
        if marker >= 0xE0:
            _read_segment(marker, data[at + 4 : at + 2 + size], blocks, manifests)
        at += 2 + max(size, 2)
    if manifests:
        # One box can span segments; each repeats the box header of eight bytes.
        blocks.c2pa = _first_c2pa([b"".join(parts) for parts in manifests.values()])


def _read_segment(
    marker: int, body: bytes, blocks: Blocks, manifests: dict[bytes, list[bytes]]
) -> None:
    if marker == 0xE1:
        if body.startswith(_EXIF):
            blocks.exif.append(body[6:])
        elif body.startswith(_XMP):
            blocks.xmp.append(body[len(_XMP) :])
        elif body.startswith(_XMP_MORE) and len(blocks.xmp) < 8:
            blocks.xmp.append(body[len(_XMP_MORE) + 40 :])
    elif marker == 0xED and body.startswith(_PHOTOSHOP):
        blocks.iptc += photoshop_iptc(body[len(_PHOTOSHOP) :])
    elif marker == 0xEB and body[:2] == b"JP":
        parts = manifests.setdefault(body[2:4], [])
        if len(parts) < MAX_BLOCK >> 16 and len(manifests) <= 16:
            parts.append(body[16:] if parts else body[8:])
    elif marker == 0xFE:
        blocks.texts.append(("comment", text_of(body)))


def photoshop_iptc(body: bytes) -> list[bytes]:
    """IPTC-IIM records among Photoshop's image resources."""
    found: list[bytes] = []
    at = 0
    while body[at : at + 4] == b"8BIM" and len(found) < 4:
        kind = body[at + 4 : at + 6]
        at += 6
        at += (body[at] + 2) & ~1 if at < len(body) else 2  # a Pascal string, padded to even
        size = int.from_bytes(body[at : at + 4], "big")
        if kind == b"\x04\x04":
            found.append(body[at + 4 : at + 4 + size])
        at += 4 + size + (size & 1)
    return found


def _first_c2pa(boxes: list[bytes]) -> bytes:
    return next((box for box in boxes if box[4:8] == b"jumb" and b"c2pa" in box[:64]), b"")


def _walk_png(data: bytes, blocks: Blocks) -> None:
    at, end, kept = 8, len(data), 0
    for _ in range(MAX_STEPS):
        if at + 12 > end:
            break
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind != b"IDAT":
            if kind == b"IEND":
                break
            if kind in _PNG_CHUNKS and kept < MAX_BLOCKS:
                kept += 1
                body = data[at + 8 : at + 8 + min(size, MAX_BLOCK)]
                if kind == b"eXIf":
                    blocks.exif.append(body)
                elif kind == b"caBX":
                    blocks.c2pa = blocks.c2pa or body
                else:
                    _read_png_text(kind, body, blocks)
        at += 12 + size


_PNG_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"caBX"}


def _read_png_text(kind: bytes, body: bytes, blocks: Blocks) -> None:
    keyword, _, rest = body.partition(b"\x00")
    name = keyword[:79].decode("latin-1")
    if kind == b"iTXt":
        packed = rest[:1] == b"\x01"
        rest = rest[2:].partition(b"\x00")[2].partition(b"\x00")[2]  # language, translated keyword
        if packed:
            rest = _inflate(rest)
    elif kind == b"zTXt":
        rest = _inflate(rest[1:])
    if name == "XML:com.adobe.xmp":
        blocks.xmp.append(rest[:MAX_TEXT])
    elif name.startswith("Raw profile type ") and len(rest) < MAX_TEXT:
        _read_raw_profile(name[17:], rest, blocks)
    else:
        # The standard says Latin-1 in tEXt and zTXt; most writers of prompts put UTF-8 there.
        blocks.texts.append((name, text_of(rest)))


def _read_raw_profile(name: str, body: bytes, blocks: Blocks) -> None:
    """ImageMagick's hexadecimal profiles: newline, name, length, then digits."""
    try:
        profile = bytes.fromhex(body.split(b"\n", 3)[3].decode("ascii"))
    except (IndexError, ValueError):
        return
    if name in {"exif", "APP1"} and profile.startswith(_EXIF):
        blocks.exif.append(profile[6:])
    elif name == "iptc":
        blocks.iptc += photoshop_iptc(profile) or [profile]
    elif name == "xmp":
        blocks.xmp.append(profile)


def _inflate(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, MAX_TEXT)
    except zlib.error:
        return b""


def text_of(raw: bytes) -> str:
    """Text of unknown coding: UTF-8 where it is valid, else Latin-1; without NUL at its end."""
    raw = raw[:MAX_TEXT].rstrip(b"\x00")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _walk_webp(data: bytes, blocks: Blocks) -> None:
    at = 12
    for _ in range(MAX_STEPS):
        kind = data[at : at + 4]
        if len(kind) < 4:
            break
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in {b"EXIF", b"XMP ", b"C2PA"} and len(blocks.exif) + len(blocks.xmp) < 8:
            body = data[at + 8 : at + 8 + min(size, MAX_BLOCK)]
            if kind == b"EXIF":
                blocks.exif.append(body.removeprefix(_EXIF))
            elif kind == b"XMP ":
                blocks.xmp.append(body)
            else:
                blocks.c2pa = blocks.c2pa or body
        at += 8 + size + (size & 1)


def _walk_gif(data: bytes, blocks: Blocks) -> None:
    at = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    for _ in range(MAX_BLOCKS):
        kind = data[at : at + 2]
        if kind == b"\x21\xfe":
            body, at = _sub_blocks(data, at + 2)
            blocks.texts.append(("comment", text_of(body)))
        elif kind == b"\x21\xff":
            name = data[at + 3 : at + 14]
            if name == b"XMP DataXMP":  # not in sub-blocks: a packet, then a magic trailer
                stop = data.find(b"\x01\xff\xfe", at + 14, at + 14 + MAX_BLOCK)
                blocks.xmp.append(data[at + 14 : stop if stop > 0 else at + 14])
            body, at = _sub_blocks(data, at + 14)
            if name == b"C2PA_GIF\x01\x00\x00":
                blocks.c2pa = blocks.c2pa or body
        elif kind[:1] == b"\x21":
            _, at = _sub_blocks(data, at + 2)
        else:  # the first image: what describes the file stands before it
            break


def _sub_blocks(data: bytes, at: int) -> tuple[bytes, int]:
    parts: list[bytes] = []
    for _ in range(4096):  # up to a megabyte
        size = data[at] if at < len(data) else 0
        if size == 0:
            break
        parts.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return b"".join(parts), at + 1


def _boxes(data: bytes, at: int, end: int) -> list[tuple[bytes, int, int]]:
    """Type, start and end of the content of each ISO box between two offsets."""
    found: list[tuple[bytes, int, int]] = []
    end = min(end, len(data))
    while at + 8 <= end and len(found) < 4096:
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < start - at:
            break
        found.append((data[at + 4 : at + 8], start, min(at + size, end)))
        at += size
    return found


def _walk_boxes(data: bytes, blocks: Blocks) -> None:
    read = False
    for kind, start, end in _boxes(data, 0, len(data)):
        stop = min(end, start + MAX_BLOCK)
        if kind == b"meta" and not read:
            read = True
            _read_items(data, start + 4, end, blocks)
        elif kind == b"Exif":
            blocks.exif.append(_exif_item(data[start:stop]))
        elif kind == b"xml ":
            blocks.xmp.append(data[start:stop])
        elif kind == b"jumb":
            box = data[start - 8 : stop]
            blocks.c2pa = blocks.c2pa or _first_c2pa([box])
        elif kind == b"uuid" and data[start : start + 16] == _XMP_UUID:
            blocks.xmp.append(data[start + 16 : stop])
        elif kind == b"uuid" and data[start : start + 16] == _C2PA_UUID:
            # Version and flags, a purpose, an offset for merkle boxes, then the manifest store.
            purpose, _, rest = data[start + 20 : stop].partition(b"\x00")
            if purpose == b"manifest":
                blocks.c2pa = blocks.c2pa or rest[8:]


def _exif_item(body: bytes) -> bytes:
    offset = int.from_bytes(body[:4], "big")
    return body[4 + offset :].removeprefix(_EXIF)


def _read_items(data: bytes, at: int, end: int, blocks: Blocks) -> None:
    """Exif and XMP items of a HEIF ``meta`` box."""
    children = {kind: (start, stop) for kind, start, stop in _boxes(data, at, end)}
    if b"iinf" not in children or b"iloc" not in children:
        return
    start, stop = children[b"iinf"]
    wanted: dict[int, bytes] = {}
    for kind, first, last in _boxes(
        data, start + (8 if data[start : start + 1] > b"\0" else 6), stop
    ):
        entry = data[first : min(last, first + 64)]
        if kind == b"infe" and entry[:1] in {b"\x02", b"\x03"}:
            wide = 4 if entry[0] == 3 else 2
            name = entry[6 + wide : 10 + wide]
            if name == b"Exif" or (name == b"mime" and b"application/rdf+xml" in entry):
                wanted[int.from_bytes(entry[4 : 4 + wide], "big")] = name
    if wanted:
        base = children.get(b"idat", (0, 0))[0]
        for item, extent in _locations(data[slice(*children[b"iloc"])], set(wanted), base):
            body = data[extent.start : min(extent.stop, extent.start + MAX_BLOCK)]
            if wanted[item] == b"Exif":
                blocks.exif.append(_exif_item(body))
            else:
                blocks.xmp.append(body)


def _locations(iloc: bytes, wanted: set[int], idat: int) -> list[tuple[int, slice]]:
    """Where each wanted item lies, by its first extent: such items are not split in practice."""
    reader = _Reader(iloc)
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size = sizes >> 12, (sizes >> 8) & 15, (sizes >> 4) & 15
    index_size = sizes & 15 if version in {1, 2} else 0
    found: list[tuple[int, slice]] = []
    for _ in range(min(reader.number(4 if version == 2 else 2), 4096)):
        item = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version in {1, 2} else 0
        reader.number(2)  # data reference
        base = reader.number(base_size)
        extents, after = reader.number(2), reader.at
        reader.number(index_size)
        offset, length = reader.number(offset_size), reader.number(length_size)
        if reader.at > len(iloc) or len(found) >= 8:
            break
        if extents and item in wanted and method in {0, 1}:
            first = base + offset + (idat if method == 1 else 0)
            found.append((item, slice(first, first + length)))
        reader.at = after + extents * (index_size + offset_size + length_size)
    return found


class _Reader:
    """Big-endian numbers one after another; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, size: int) -> int:
        value = int.from_bytes(self.data[self.at : self.at + size], "big")
        self.at += size
        return value
