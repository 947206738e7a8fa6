"""Reading parts of a JPEG against Pillow reading all of it: the same pixels, the same verdict."""

import io

import numpy as np
import pytest
from code_forensics.engine.decoding import jpeg, region, tiles
from code_forensics.engine.decoding.crop import centre_crop
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, Undecodable, decode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.engine.jpegs import encode, jpegs, photo

PILLOW = DecodeOptions(region=False)


@pytest.fixture(scope="module", params=["tiles", "nvimgcodec"])
def way(request):
    """Read parts by one of the two ways; the name of it."""
    if request.param == "tiles" and not tiles.can_cut():
        pytest.skip("there was no compiler when this was installed")
    if request.param == "nvimgcodec" and region.region_version() is None:
        pytest.skip("nvImageCodec has no wheel for this platform")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "nvimgcodec":
            patch.setattr(tiles, "_cut", None)
        yield request.param


def frame_if_intact(data):
    header = jpeg.read_header(data)
    return header.frame if header and jpeg.is_intact(data, header) else None


def both_ways(data):
    """Decode in part and as a whole; the two must agree in all but the decoder's name."""
    quick, slow = decode(data), decode(data, PILLOW)
    if isinstance(slow, Undecodable):
        assert quick == slow
        return quick
    assert isinstance(quick, Decoded), quick
    assert slow.decoder == "pillow"
    assert np.array_equal(quick.crop, slow.crop)
    for field in ("format", "width", "height", "frames"):
        assert getattr(quick, field) == getattr(slow, field)
    return quick


@settings(max_examples=80, deadline=None)
@given(jpegs())
def test_intact_kinds_are_read_in_part_to_pillows_pixels(way, data):
    answer = both_ways(data)
    pays = tiles.pays(answer.width, answer.height, [centre_crop(answer.width, answer.height)])
    assert answer.decoder == (way if pays or way == "nvimgcodec" else "pillow")


@settings(max_examples=250, deadline=None)
@given(jpegs(), st.data())
def test_damage_gives_the_same_verdict_both_ways(way, data, draws):
    file = bytearray(data)
    scan = file.index(b"\xff\xda") + 14
    for _ in range(draws.draw(st.integers(1, 4))):
        at = draws.draw(st.one_of(st.integers(0, scan), st.integers(0, len(file))))
        match draws.draw(
            st.sampled_from(["cut", "end", "flip", "drop", "insert", "zero", "close"])
        ):
            case "cut":
                del file[at:]
            case "end":
                del file[-2:]
            case "flip" if at < len(file):
                file[at] ^= 1 << draws.draw(st.integers(0, 7))
            case "drop":
                del file[at : at + draws.draw(st.integers(1, 2000))]
            case "insert":
                file[at:at] = draws.draw(st.binary(max_size=60))
            case "zero":
                file[at : at + 500] = bytes(len(file[at : at + 500]))
            case "close":
                file[at:] = b"\xff\xd9"
    both_ways(bytes(file))


WIDE = photo(600, 420)


def arithmetic(data):
    return data.replace(b"\xff\xc0", b"\xff\xc9", 1)


def lossless(data):
    return data.replace(b"\xff\xc0", b"\xff\xc3", 1)


def factors(data, *bytes_):
    """Change the sampling factors of the three components."""
    at = data.index(b"\xff\xc0") + 11
    file = bytearray(data)
    file[at], file[at + 3], file[at + 6] = bytes_
    return bytes(file)


INTACT = encode(WIDE, quality=90, subsampling=2)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(WIDE, progressive=True), id="progressive"),
        pytest.param(encode(WIDE.convert("CMYK")), id="CMYK"),
        pytest.param(encode(photo(300, 300)), id="small"),
        pytest.param(arithmetic(INTACT), id="arithmetic"),
        pytest.param(lossless(INTACT), id="lossless"),
        pytest.param(INTACT.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), id="12-bit"),
        pytest.param(factors(INTACT, 0x22, 0x21, 0x21), id="odd chroma"),
        pytest.param(factors(INTACT, 0x11, 0x22, 0x11), id="chroma finer than luma"),
        pytest.param(INTACT[:-2], id="no EOI"),
        pytest.param(INTACT[:-2] + b"\0\0", id="EOI lost"),
        pytest.param(INTACT[: len(INTACT) * 9 // 10], id="cut below the crop"),
        pytest.param(INTACT[: len(INTACT) // 4], id="cut above the crop"),
        pytest.param(INTACT[:-40] + b"\xff\xd0" + INTACT[-40:], id="stray restart marker"),
        pytest.param(INTACT[:-40] + b"\xff\x01" + INTACT[-40:], id="stray marker"),
    ],
)
def test_other_kinds_and_damage_are_left_to_pillow(way, data):
    answer = both_ways(data)
    assert isinstance(answer, Undecodable) or answer.decoder == "pillow"


def test_what_follows_the_end_changes_nothing(way):
    for tail in (b"\0" * 100, INTACT[:5000], b"\xff\xd0\xff\xd9", b"PK\x03\x04"):
        answer = both_ways(INTACT + tail)
        assert isinstance(answer, Decoded)
        assert answer.decoder == way


def test_a_preview_inside_is_not_taken_for_the_image(way):
    preview = encode(photo(160, 120))
    answer = both_ways(encode(WIDE, exif=b"Exif\0\0" + preview))
    assert isinstance(answer, Decoded)
    assert (answer.decoder, answer.width, answer.height) == (way, 600, 420)


def test_first_picture_of_a_multi_picture_file(way):
    file = io.BytesIO()
    WIDE.save(file, "MPO", save_all=True, append_images=[photo(600, 420, 1)])
    answer = both_ways(file.getvalue())
    assert isinstance(answer, Decoded)
    assert (answer.decoder, answer.format, answer.frames) == (way, "MPO", 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([0, 1, 2, None]), st.integers(0, 20))
def test_frames_are_read_as_pillow_reads_them(width, height, subsampling, interval):
    options = {} if subsampling is None else {"subsampling": subsampling}
    mode = "L" if subsampling is None else "RGB"
    data = encode(photo(width, height, mode=mode), restart_marker_blocks=interval, **options)
    frame = frame_if_intact(data)
    assert frame is not None
    with Image.open(io.BytesIO(data)) as image:
        assert (frame.width, frame.height) == image.size
        assert frame.sampling == tuple((across, down) for _, across, down, _ in image.layer)
    for end in range(len(data)):
        if end % 17 == 0 or end > len(data) - 20:
            assert frame_if_intact(data[:end]) is None


def test_a_lost_or_doubled_restart_interval_is_noticed():
    data = encode(WIDE, restart_marker_blocks=5)
    first, second = data.index(b"\xff\xd0"), data.index(b"\xff\xd1")
    assert frame_if_intact(data) is not None
    assert frame_if_intact(data[:first] + data[second:]) is None
    assert frame_if_intact(data[:second] + data[first:]) is None


@pytest.mark.parametrize("stride", [1, 2, 7, 64])
def test_markers_that_lie_across_two_strides_are_seen(monkeypatch, stride):
    monkeypatch.setattr(jpeg, "_STRIDE", stride)
    data = encode(WIDE, restart_marker_blocks=5)
    first = data.index(b"\xff\xd0")
    assert frame_if_intact(data) is not None
    assert frame_if_intact(data[: first + 1] + b"\xd1" + data[first + 2 :]) is None
    assert frame_if_intact(data[:-1] + b"\xd0") is None
    assert frame_if_intact(data[:-1]) is None
