"""Metadata of hostile files: mutated, cut off, random, and made to take memory."""

import io
import json
import struct
import tracemalloc
import zlib

import pytest
from code_forensics.engine.provenance.read import (
    read_provenance,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.engine.provenance_samples import (
    A1111,
    AWKWARD,
    FRONT_ENDS,
    URL,
    iptc_jpeg,
    needs_awkward,
    with_exif,
    xmp_of,
)


def seeds() -> list[bytes]:
    exif = {0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP", 0x010E: "cat"}
    packet = xmp_of(f'Iptc4xmpExt:DigitalSourceType="{URL}digitalCapture">')
    made = [
        with_exif(form, exif, A1111.encode(), packet if form != "AVIF" else None)
        for form in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
    ]
    gif = io.BytesIO()
    Image.new("P", (4, 4)).save(gif, "GIF", comment=b"a comment")
    return [*made, gif.getvalue(), iptc_jpeg(d110="x", d40="FBMD"), *(s[1] for s in FRONT_ENDS[:9])]


SEEDS = seeds()


def check(data: bytes) -> None:
    found = read_provenance(data)
    assert len(found.findings) <= 40
    assert all(finding.value and len(finding.value) <= 300 for finding in found.findings)
    json.dumps(found.as_dict())
    found.summary()


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 6), st.binary(max_size=6)), max_size=8),
    st.floats(0, 1),
)
def test_mutated_files_never_fail(
    seed: bytes, edits: list[tuple[float, int, bytes]], keep: float
) -> None:
    data = bytearray(seed)
    for place, removed, added in edits:
        at = int(place * len(data))
        data[at : at + removed] = added
    check(bytes(data))
    check(bytes(data[: int(keep * len(data))]))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"II*\0", b"MM\0*",
         b"\0\0\0\x08ftypheic", b"\0\0\0\x0cftypavif"]
    ),
    st.lists(
        st.binary(max_size=12)
        | st.sampled_from([b"\xff\xe1\0\x20Exif\0\0II*\0\x08\0\0\0", b"\xff", b"\0\0\0\0", b"8BIM",
                           b"meta", b"iinf", b"iloc", b"\x21\xff\x0bXMP DataXMP", b"EXIF"]),
        max_size=30,
    ),
)  # fmt: skip
def test_random_containers_never_fail(head: bytes, parts: list[bytes]) -> None:
    check(head + b"".join(parts))


@pytest.mark.parametrize("seed", range(len(SEEDS)))
def test_every_truncation_is_read(seed: int) -> None:
    data = SEEDS[seed]
    for end in range(0, len(data), max(1, len(data) // 150)):
        check(data[:end])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bombs() -> dict[str, bytes]:
    png_head = b"\x89PNG\r\n\x1a\n"
    ztxt = _chunk(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(64 << 20), 9))
    ifd = b"II*\0\x08\0\0\0" + b"\xff\xff" + struct.pack("<HHII", 0x0131, 2, 0xFFFFFFFF, 8) * 9000
    self_ifd = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x8769, 4, 1, 8)
    packet = b"<x" + b":DigitalSourceType" + b" " * 100_000 + b":CreatorTool=" * 20_000
    xmp = _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    iloc = b"\0\0\0\0\0\0\0\0\0\0\xff\xff" * 400_000
    meta = b"\0\0\0\0" + struct.pack(">I", 8 + 40) + b"iinf\0\0\0\0\0\1"
    meta += b"\0\0\0\x1einfe\2\0\0\0\0\1\0\0Exif\0".ljust(30, b"\0")
    meta += struct.pack(">I", 8 + len(iloc)) + b"iloc" + iloc
    return {
        "png inflating to 4 GiB": png_head + ztxt * 64,
        "a million empty png chunks": png_head + _chunk(b"tEXt", b"") * 1_000_000,
        "a million webp chunks": b"RIFF\xff\xff\xff\xffWEBP" + b"EXIF\0\0\0\0" * 1_000_000,
        "exif of huge fields": b"\xff\xd8" + b"\xff\xe1\xff\xffExif\0\0" + ifd,
        "exif pointing at itself": b"\xff\xd8" + b"\xff\xe1\0\x30Exif\0\0" + self_ifd + bytes(40),
        "xmp of repeated names": png_head + xmp,
        "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 4_000_000,
        "jpeg of empty segments": b"\xff\xd8" + b"\xff\xe1\0\2" * 1_000_000,
        "gif of extensions": b"GIF89a" + bytes(7) + b"\x21\xfe\0" * 1_000_000,
        "gif of sub-blocks": b"GIF89a" + bytes(7) + (b"\x21\xfe" + b"\1a" * 19_000 + b"\0") * 100,
        "heif of empty extents": b"\0\0\0\x0cftypheic"
        + struct.pack(">I", 8 + len(meta)) + b"meta" + meta,
        "heif of tiny boxes": b"\0\0\0\x0cftypheic" + b"\0\0\0\x08meta" * 1_000_000,
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_bombs_take_little(name: str) -> None:
    # Memory is asserted; an unbounded walk over any of these would not come back at all.
    data = bombs()[name]
    tracemalloc.start()
    try:
        check(data)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


@needs_awkward
def test_every_awkward_file_gets_an_answer() -> None:
    for path in AWKWARD.glob("*/*.*"):
        check(path.read_bytes())
