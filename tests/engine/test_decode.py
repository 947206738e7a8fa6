"""Decoding against the published pipeline: the same crop, or a reason where that raises."""

import io
import re
import struct
import time
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.decoding import decode as module
from code_forensics.engine.decoding import frames
from code_forensics.engine.decoding.decode import (
    Decoded,
    DecodeOptions,
    Isolation,
    Reason,
    Undecodable,
    decode,
    decoder_versions,
)
from code_forensics.engine.decoding.formats import sniff, suffix_fits
from code_forensics.engine.isolation.decoders import Decoders
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from tests.engine.encoded import SIZE, WRITABLE, chunk, encode, picture, published, same_answer

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_crop_is_the_published_one_for_every_mode_and_size(data):
    file_format = data.draw(st.sampled_from(sorted(WRITABLE)))
    mode = data.draw(st.sampled_from(WRITABLE[file_format]))
    side = st.one_of(st.integers(1, 40), st.integers(215, 235), st.integers(1, 500))
    largest = 256 if file_format == "ICO" else 500
    width, height = min(data.draw(side), largest), min(data.draw(side), largest)
    options = {}
    if file_format == "WEBP":
        options = {"lossless": data.draw(st.booleans()), "method": 0}
    if file_format == "AVIF":
        options = {"speed": 10}
    if file_format == "ICO":
        options = {"sizes": [(width, height)]}
    if file_format == "TIFF" and mode not in ("PA", "LAB"):
        options = {"compression": data.draw(st.sampled_from([None, "tiff_lzw", "packbits"]))}
    if file_format == "PNG" and mode == "P":
        opaque = data.draw(st.sampled_from([None, 3, bytes(range(200))]))
        options = {} if opaque is None else {"transparency": opaque}
    answer = same_answer(encode(picture(mode, width, height), file_format, **options))
    assert isinstance(answer, Decoded)
    assert (answer.format, answer.width, answer.height) == (file_format, width, height)
    assert answer.crop.shape == (SIZE, SIZE, 3)
    assert answer.crop.dtype == np.uint8
    assert answer.crop.flags.c_contiguous


def test_more_modes_give_the_published_crop():
    """Modes that a writer cannot choose: 16 bits in either byte order, tiles, HSV, odd depths."""
    wide = np.random.default_rng(1).integers(0, 1 << 16, (300, 260), dtype=np.uint16)
    tiff = io.BytesIO()
    Image.frombytes("I;16B", (260, 300), wide.astype(">u2").tobytes()).save(tiff, "TIFF")
    assert isinstance(same_answer(tiff.getvalue()), Decoded)
    for maximum in (1, 15, 255, 1000, 65535):  # PPM rescales what is not 8 bits
        raw = wide.astype(np.uint32) % (maximum + 1)
        body = raw.astype(">u2" if maximum > 255 else "u1").tobytes()
        assert isinstance(same_answer(b"P5 260 300 %d\n" % maximum + body), Decoded)


def test_orientation_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture("RGB", 500, 300)
    turned = decode(encode(upright, "JPEG", exif=exif))
    assert isinstance(turned, Decoded)
    assert (turned.width, turned.height) == (500, 300)
    assert np.array_equal(turned.crop, published(encode(upright, "JPEG")))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_is_cropped_and_frames_are_counted(file_format):
    frames = [picture("RGB", 260, 240, seed) for seed in range(4)]
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    answer = same_answer(data)
    assert isinstance(answer, Decoded)
    assert (answer.format, answer.frames) == (file_format, 4)


def tiff_chain(pages, big=False, first=b""):
    """A TIFF of one good page and tiny directories behind it; `first` is where the last leads."""
    data = bytearray(encode(picture("RGB", 260, 240), "TIFF", big_tiff=big))
    pointer, count, entry = ("<Q", "<Q", "<HHQQ") if big else ("<I", "<H", "<HHII")
    (at,) = struct.unpack_from(pointer, data, 8 if big else 4)
    (entries,) = struct.unpack_from(count, data, at)
    place = at + struct.calcsize(count) + entries * struct.calcsize(entry)
    tags = b"".join(struct.pack(entry, tag, 3, 1, 1) for tag in (256, 257, 262, 273))
    for _ in range(pages):
        struct.pack_into(pointer, data, place, len(data))
        data += struct.pack(count, 4) + tags
        place = len(data)
        data += bytes(struct.calcsize(pointer))
    if first:
        struct.pack_into(pointer, data, place, at)
    return bytes(data)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("circle", [b"", b"circle"])
def test_pages_are_counted_as_pillow_counts_them(big, circle):
    data = tiff_chain(40, big, circle)
    assert Image.open(io.BytesIO(data)).n_frames == 41
    assert same_answer(data).frames == 41
    size, pointer = (96, 8) if big else (54, 4)
    for cut, whole in ((1, 41), (pointer + 1, 40), (10 * size, 31), (10 * size + pointer + 1, 30)):
        assert same_answer(data[:-cut]).frames == whole


def test_counting_frames_does_not_take_the_first_ones_verdict(monkeypatch):
    """Pillow compares each page with all before it: these would keep it busy for minutes."""
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", property(pytest.fail))
    assert same_answer(tiff_chain(100_000)).frames == 100_001
    gif = encode(picture("RGB", 260, 240), "GIF")[:-1]
    started = time.perf_counter()
    assert frames.count_gif_frames(gif + bytes(50_000_000)) == 1  # nothing begins a block there
    assert time.perf_counter() - started < 5
    monkeypatch.setattr(frames, "MOST_COUNTED", 1000)
    assert same_answer(tiff_chain(2000)).frames == 1000
    tiny = b"\x2c" + bytes(4) + b"\1\0\1\0\0\2" + b"\1D" * 50 + b"\0"
    assert same_answer(gif + tiny * 2000).frames == 1000
    monkeypatch.setattr(frames, "_SUB_BLOCKS", 5000)
    assert same_answer(gif + tiny * 2000).frames < 101


def test_frames_are_counted_with_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    count = module.count_gif_frames
    monkeypatch.setattr(
        module, "count_gif_frames", lambda data: counts.append(len(data)) or count(data)
    )
    shades = [Image.new("L", (230, 230), shade) for shade in range(0, 200, 20)]
    file = io.BytesIO()
    shades[0].save(file, "GIF", save_all=True, append_images=shades[1:])
    with Decoders(DecodeOptions(isolation=Isolation.NONE)) as decoders:
        number = decoders.decode(file.getvalue()).frames
        answers = [
            answer
            for first in range(1, number)
            for answer in decoders.decode_frames(file.getvalue(), first, first + 1, number)
        ]
    assert [(int(a.crop[0, 0, 0]), a.frames) for a in answers] == [
        (shade, 10) for shade in range(20, 200, 20)
    ]
    assert len(counts) == 1


@given(st.data())
def test_gif_frames_are_counted_as_pillow_counts_them(data):
    pictures = [picture("RGB", 20 + seed, 20, seed) for seed in range(3)]
    options = {"comment": b"a comment " * 40, "loop": 0, "duration": 40, "disposal": 2}
    gif = bytearray(
        encode(pictures[0], "GIF", save_all=True, append_images=pictures[1:], **options)
    )
    for _ in range(data.draw(st.integers(0, 3))):
        gif[data.draw(st.integers(13, len(gif) - 1))] = data.draw(
            st.sampled_from([0, 1, 0x21, 0x2C, 0x3B, 0xF9, 0xFE, 0xFF])
        )
    del gif[data.draw(st.integers(14, len(gif))) :]
    try:
        expected = Image.open(io.BytesIO(gif)).n_frames
    except Exception:
        return
    assert frames.count_gif_frames(bytes(gif)) == expected


def test_heic_opens_without_a_registered_plugin():
    pillow_heif = pytest.importorskip("pillow_heif")
    image = picture("RGB", 301, 250)
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=90)
    answer = decode(file.getvalue())
    assert isinstance(answer, Decoded)
    heif = pillow_heif.open_heif(io.BytesIO(file.getvalue()))
    pixels = np.asarray(heif.to_pillow())
    assert (answer.format, answer.width, answer.height) == ("HEIF", 301, 250)
    assert np.array_equal(answer.crop, pixels[13:237, 38:262])
    assert "HEIF" not in Image.OPEN


def png_header(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b""))


def png_with_text_bomb():
    data = encode(picture("RGB", 30, 30), "PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(70 << 20), 9))
    return data[:33] + text + data[33:]


TRUNCATED = encode(picture("RGB", 300, 300), "PNG")[:20_000]
JPEG = encode(picture("RGB", 400, 400), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason", "name"),
    [
        (b"", Reason.EMPTY, ""),
        (b"just a text, named .jpg", Reason.NOT_AN_IMAGE, ""),
        (b"BM" + b"W is a car maker", Reason.NOT_AN_IMAGE, ""),
        (bytes(5000), Reason.NOT_AN_IMAGE, ""),
        (TRUNCATED, Reason.TRUNCATED, "PNG"),
        (JPEG[: len(JPEG) // 2], Reason.TRUNCATED, "JPEG"),
        (JPEG[:30], Reason.TRUNCATED, "JPEG"),
        (JPEG[:-900] + b"\xff\x42" + JPEG[-898:], Reason.CORRUPT, "JPEG"),
        (
            JPEG.replace(b"\x08\x01\x90\x01\x90", b"\x0c\x01\x90\x01\x90"),
            Reason.UNSUPPORTED,
            "JPEG",
        ),
        (JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1), Reason.CORRUPT, "JPEG"),
        (png_header(100_000, 100_000), Reason.TOO_MANY_PIXELS, "PNG"),
        (png_with_text_bomb(), Reason.TOO_LARGE, "PNG"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
            Reason.UNSUPPORTED,
            "EPS",
        ),
        (
            b"\xff\x0a" + bytes(range(50)),
            Reason.CORRUPT if find_spec("pillow_jxl") else Reason.UNSUPPORTED,
            "JPEG XL",
        ),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), Reason.UNSUPPORTED, "HDF5"),
    ],
)
def test_reason(data, reason, name):
    answer = decode(data)
    assert isinstance(answer, Undecodable)
    assert (answer.reason, answer.format) == (reason, name)
    assert answer.detail.isascii()
    assert answer.detail == "" or answer.detail.isprintable()
    assert "0x" not in answer.detail  # no address: it would differ from run to run


def test_bounds_are_the_callers_and_not_pillows(monkeypatch):
    data = encode(picture("RGB", 500, 400), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))
    assert isinstance(decode(data, DecodeOptions(max_pixels=200_000)), Decoded)
    answer = decode(data, DecodeOptions(max_pixels=199_999))
    assert isinstance(answer, Undecodable)
    assert (answer.reason, answer.width, answer.height) == (Reason.TOO_MANY_PIXELS, 500, 400)
    answer = decode(data, DecodeOptions(max_bytes=len(data) - 1))
    assert isinstance(answer, Undecodable)
    assert (answer.reason, answer.format) == (Reason.TOO_LARGE, "PNG")
    assert isinstance(decode(data, DecodeOptions(max_bytes=len(data))), Decoded)
    assert Image.MAX_IMAGE_PIXELS == 60_000


def test_out_of_memory_is_a_reason(monkeypatch):
    def exhausted(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", exhausted)
    answer = decode(encode(picture("RGB", 40, 30), "BMP"))
    assert isinstance(answer, Undecodable)
    assert (answer.reason, answer.width, answer.height) == (Reason.NO_MEMORY, 40, 30)


def test_hostile_words_come_out_on_one_ascii_line(monkeypatch):
    def shout(self):
        raise OSError("\x1b[31mbad\r\nline \u202e\x7f<PIL.Thing object at 0x7f00>" + "x" * 500)

    monkeypatch.setattr(ImageFile.ImageFile, "load", shout)
    answer = decode(encode(picture("RGB", 40, 30), "BMP"))
    assert isinstance(answer, Undecodable)
    assert re.fullmatch(r"OSError: \?\[31mbad line \\u202e\?the filex+", answer.detail)
    assert len(answer.detail) <= 200


def test_warnings_neither_escape_nor_fail_an_image():
    """Here warnings are errors, and Pillow warns of transparency in bytes and of bad tags."""
    palette = encode(picture("P", 240, 240), "PNG", transparency=bytes(range(250)))
    tiff = bytearray(encode(picture("RGB", 240, 240), "TIFF"))
    at = struct.unpack("<I", tiff[4:8])[0]
    count = struct.unpack("<H", tiff[at : at + 2])[0]
    tiff[at + 2 + 12 * count - 8 : at + 2 + 12 * count - 4] = struct.pack("<I", 99)
    with pytest.warns(UserWarning):
        Image.open(io.BytesIO(palette)).convert("RGB")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert isinstance(decode(palette), Decoded)
        decode(bytes(tiff))
    assert not caught
    assert isinstance(decode(palette), Decoded)
    assert list(warnings.filters) == before


def test_threads_give_what_one_thread_gives():
    files = [
        encode(picture(mode, 300 + 7 * seed, 500 - 9 * seed, seed), name)
        for seed in range(4)
        for name, mode in (("JPEG", "RGB"), ("PNG", "P"), ("TIFF", "LAB"), ("WEBP", "RGB"))
    ]
    files += [file[: len(file) // 2] for file in files]
    alone = [decode(file) for file in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(decode, files * 3))
    for one, other in zip(alone * 3, together, strict=True):
        if isinstance(one, Decoded):
            assert isinstance(other, Decoded)
            assert np.array_equal(one.crop, other.crop)
        else:
            assert one == other


SEEDS = [
    encode(picture(mode, 250, 231), name)
    for name, mode in (
        ("PNG", "P"), ("GIF", "P"), ("TIFF", "CMYK"), ("BMP", "RGB"), ("WEBP", "RGB"),
        ("JPEG", "RGB"), ("ICO", "RGBA"), ("PPM", "L"), ("TGA", "RGB"),
    )
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_gives_the_published_answer(data):
    file = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(file))))
        match data.draw(st.sampled_from(["cut", "flip", "drop", "insert"])):
            case "cut":
                del file[at:]
            case "flip" if at < len(file):
                file[at] ^= data.draw(st.integers(1, 255))
            case "drop":
                del file[at : at + data.draw(st.integers(1, 300))]
            case "insert":
                file[at:at] = data.draw(st.binary(max_size=50))
    same_answer(bytes(file), DecodeOptions(max_pixels=Image.MAX_IMAGE_PIXELS or 1 << 28))


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs the shared folder of awkward files")
@pytest.mark.parametrize("group", ["c2pa", "exif", "formats", "fuzzing", "pillow", "suites"])
@pytest.mark.parametrize("region", [True, False])
def test_awkward_files_give_the_published_answer(group, region):
    files = [path for path in sorted((AWKWARD / group).rglob("*")) if path.is_file()]
    assert files
    counts = Counter()
    for path in files:
        data = path.read_bytes()
        answer = decode(data, DecodeOptions(region=region))
        if isinstance(answer, Decoded) and answer.format == "HEIF":
            continue  # the published pipeline knows no HEIC
        if answer.format == "EPS":
            continue  # Pillow starts Ghostscript for it, where there is one: refused here
        try:
            expected = published(data)
        except Exception as error:
            assert isinstance(answer, Undecodable), f"{path.name}: {error!r}"
            counts[answer.reason] += 1
        else:
            assert isinstance(answer, Decoded), f"{path.name}: {answer}"
            assert np.array_equal(answer.crop, expected), path.name
    assert set(counts) <= set(Reason)


def test_suffixes_are_judged_by_content():
    assert suffix_fits(".jpg", "JPEG")
    assert suffix_fits(".jpeg", "MPO")
    assert suffix_fits(".heic", "HEIF")
    assert suffix_fits(".bmp", "DIB")
    assert not suffix_fits(".jpg", "PNG")
    assert not suffix_fits(".heic", "JPEG")
    assert not suffix_fits("", "JPEG")


def test_sniff_names_what_it_knows():
    for name in ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"):
        assert sniff(encode(picture("RGB", 20, 20), name)) == name
    assert sniff(b"plain") == ""


def test_versions_name_the_decoders():
    versions = decoder_versions()
    assert versions["pillow"]
    assert versions["libjpeg_turbo"]
    assert all(isinstance(version, str) for version in versions.values())
