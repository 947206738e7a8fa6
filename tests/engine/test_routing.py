"""Which PNG and JPEG this process decodes: those whose structure says that they are soon done."""

import io
import struct
import zlib

import pytest
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, decode
from code_forensics.engine.isolation.routing import decode_here
from PIL import Image, ImageCms, PngImagePlugin

OPTIONS = DecodeOptions()
MEBIBYTE = (1 << 20) - 10


def picture(name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((300, 260), 40).convert("RGB").save(file, name, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


HEADS = {b"iCCP": b"x\0\0", b"zTXt": b"Comment\0\0", b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0"}


@pytest.mark.parametrize("kind", HEADS)
def test_what_a_png_inflates_beside_its_pixels_counts(kind: bytes) -> None:
    usual = picture("PNG")
    packed = chunk(kind, HEADS[kind] + zlib.compress(bytes(MEBIBYTE), 9))
    for count, here in ((1, True), (50, True), (600, False)):
        for place in (33, len(usual) - 12):  # behind the header, and before the end
            answer = decode_here(usual[:place] + packed * count + usual[place:], OPTIONS)
            assert isinstance(answer, Decoded) if here else answer is None
    small = chunk(kind, HEADS[kind] + zlib.compress(b"a note"))
    assert isinstance(decode_here(usual[:33] + small * 600 + usual[33:], OPTIONS), Decoded)


def test_a_jpeg_with_megabytes_before_its_first_scan_is_not_trusted() -> None:
    usual = picture("JPEG")
    exif = segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08".ljust(65_533, b"\0"))
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x04\x05\0\0\0\0\0\0" * 5459
    for flood in (exif, segment(0xED, photoshop), segment(0xFE, bytes(65_533))):
        assert isinstance(decode_here(usual[:2] + flood * 3 + usual[2:], OPTIONS), Decoded)
        assert decode_here(usual[:2] + flood * 70 + usual[2:], OPTIONS) is None
        assert decode_here(usual[:2] + flood * 70, OPTIONS) is None  # and no scan at all


def test_files_as_cameras_and_editors_write_them_are_decoded_here() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    large = profile.ljust(600_000, b"\0")
    maker = b"Exif\0\0MM\0*\0\0\0\x08".ljust(65_000, b"\0")
    jpeg = picture("JPEG", exif=maker, icc_profile=large)
    preview = picture("JPEG") * 400  # behind the image, as in MPF
    assert len(preview) > 8 << 20
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a prompt " * 500, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>" * 10_000, zip=True)
    for data in (jpeg, jpeg + preview, picture("PNG", icc_profile=large, pnginfo=text)):
        answer = decode_here(data, OPTIONS)
        assert isinstance(answer, Decoded)
        assert (answer.crop == decode(data).crop).all()
