"""Reading part of a JPEG against Pillow reading all of it: the same pixels, the same verdict."""

import io
import subprocess
import sys

import numpy as np
import pytest
from code_forensics.engine.decoding import jpeg, region
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, Undecodable, decode
from code_forensics.engine.decoding.jpeg import intact_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

PILLOW = DecodeOptions(region=False)
pytestmark = pytest.mark.skipif(
    region.region_version() is None, reason="nvImageCodec has no wheel for this platform"
)


def photo(width, height, seed=0, mode="RGB"):
    """Smooth colours with sensor-like noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 24 + 2, width // 24 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.int16) + rng.integers(-9, 10, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert(mode)


def encode(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def resampled(data):
    """Declare a 4:2:2 JPEG 4:4:0, or a 4:2:0 one 4:1:1, which Pillow cannot write.

    Both keep the number of blocks in a coded unit, so that the stream stays valid; the blocks
    only come to lie elsewhere.
    """
    at = data.index(b"\xff\xc0") + 2
    height, width = int.from_bytes(data[at + 3 : at + 5]), int.from_bytes(data[at + 5 : at + 7])
    if data[at + 9] == 0x21:
        height, width, luma = -(-height // 8) * 16, -(-width // 16) * 8, 0x12
    else:
        height, width, luma = -(-height // 16) * 8, -(-width // 16) * 32, 0x41
    sizes = height.to_bytes(2) + width.to_bytes(2)
    return data[: at + 3] + sizes + data[at + 7 : at + 9] + bytes([luma]) + data[at + 10 :]


def both_ways(data):
    """Decode with and without nvImageCodec; the two must agree in all but the decoder's name."""
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


@st.composite
def jpegs(draw):
    """Intact JPEGs of the kinds that may be read in part."""
    mode = draw(st.sampled_from(["RGB", "RGB", "RGB", "L"]))
    width = draw(st.integers(130, 700))  # narrow ones are padded
    height = draw(st.integers(-(-2 * 224 * 224 // width) + 40, 900))
    image = photo(*draw(st.permutations([width, height])), draw(st.integers(0, 9)), mode)
    quality = draw(st.integers(1, 100))
    options = {
        "quality": quality,
        "optimize": quality < 60 and draw(st.booleans()),  # Pillow's writer has too small a buffer
        "restart_marker_blocks": draw(st.sampled_from([0, 0, 1, 7, 50])),
        "exif": draw(
            st.sampled_from([b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0", b"Exif\0\0\xff\xd9\xff\xda"])
        ),
    }
    if mode == "L":
        return encode(image, **options)
    subsampling = draw(st.sampled_from([0, 1, 2]))
    if subsampling == 0:
        return encode(image, subsampling=0, keep_rgb=draw(st.booleans()), **options)
    data = encode(image, subsampling=subsampling, **options)
    return resampled(data) if draw(st.booleans()) else data


@settings(max_examples=80, deadline=None)
@given(jpegs())
def test_intact_kinds_are_read_in_part_to_pillows_pixels(data):
    assert both_ways(data).decoder == "nvimgcodec"


@settings(max_examples=250, deadline=None)
@given(jpegs(), st.data())
def test_damage_gives_the_same_verdict_both_ways(data, draws):
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
def test_other_kinds_and_damage_are_left_to_pillow(data):
    answer = both_ways(data)
    assert isinstance(answer, Undecodable) or answer.decoder == "pillow"


def test_what_follows_the_end_changes_nothing():
    for tail in (b"\0" * 100, INTACT[:5000], b"\xff\xd0\xff\xd9", b"PK\x03\x04"):
        answer = both_ways(INTACT + tail)
        assert isinstance(answer, Decoded)
        assert answer.decoder == "nvimgcodec"


def test_a_preview_inside_is_not_taken_for_the_image():
    preview = encode(photo(160, 120))
    answer = both_ways(encode(WIDE, exif=b"Exif\0\0" + preview))
    assert isinstance(answer, Decoded)
    assert (answer.decoder, answer.width, answer.height) == ("nvimgcodec", 600, 420)


def test_first_picture_of_a_multi_picture_file():
    file = io.BytesIO()
    WIDE.save(file, "MPO", save_all=True, append_images=[photo(600, 420, 1)])
    answer = both_ways(file.getvalue())
    assert isinstance(answer, Decoded)
    assert (answer.decoder, answer.format, answer.frames) == ("nvimgcodec", "MPO", 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([0, 1, 2, None]), st.integers(0, 20))
def test_frames_are_read_as_pillow_reads_them(width, height, subsampling, interval):
    options = {} if subsampling is None else {"subsampling": subsampling}
    mode = "L" if subsampling is None else "RGB"
    data = encode(photo(width, height, mode=mode), restart_marker_blocks=interval, **options)
    frame = intact_frame(data)
    assert frame is not None
    with Image.open(io.BytesIO(data)) as image:
        assert (frame.width, frame.height) == image.size
        assert frame.sampling == tuple((across, down) for _, across, down, _ in image.layer)
    for end in range(len(data)):
        if end % 17 == 0 or end > len(data) - 20:
            assert intact_frame(data[:end]) is None


def test_a_lost_or_doubled_restart_interval_is_noticed():
    data = encode(WIDE, restart_marker_blocks=5)
    first, second = data.index(b"\xff\xd0"), data.index(b"\xff\xd1")
    assert intact_frame(data) is not None
    assert intact_frame(data[:first] + data[second:]) is None
    assert intact_frame(data[:second] + data[first:]) is None


@pytest.mark.parametrize("stride", [1, 2, 7, 64])
def test_markers_that_lie_across_two_strides_are_seen(monkeypatch, stride):
    monkeypatch.setattr(jpeg, "_STRIDE", stride)
    data = encode(WIDE, restart_marker_blocks=5)
    first = data.index(b"\xff\xd0")
    assert intact_frame(data) is not None
    assert intact_frame(data[: first + 1] + b"\xd1" + data[first + 2 :]) is None
    assert intact_frame(data[:-1] + b"\xd0") is None
    assert intact_frame(data[:-1]) is None


def test_other_pixels_in_the_probe_switch_it_off(monkeypatch):
    def off_by_one(self, data, box):
        return np.ones((box.height, box.width, 3), np.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(region.RegionDecoder, "read", off_by_one)
        region._load.cache_clear()
        assert region.region_version() is None
        answer = decode(INTACT)
    region._load.cache_clear()
    assert isinstance(answer, Decoded)
    assert answer.decoder == "pillow"
    assert region.region_version() is not None


def test_a_missing_package_is_no_error(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(region, "_MODULE", "nvidia.no_such_codec")
        region._load.cache_clear()
        assert region.region_version() is None
        assert isinstance(decode(INTACT), Decoded)
    region._load.cache_clear()


QUIET = """
import io, os, sys
from PIL import Image
environment = dict(os.environ)
from code_forensics.engine.decoding.decode import decode
assert not any(name.startswith("nvidia") for name in sys.modules)
file = io.BytesIO()
Image.effect_noise((600, 500), 60).convert("RGB").save(file, "JPEG")
assert decode(file.getvalue()).decoder == "nvimgcodec"
assert dict(os.environ) == environment
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        os._exit(decode(file.getvalue()).decoder != "nvimgcodec")
    assert os.waitpid(child, 0)[1] == 0
"""

DROPPED = """
import io, os, sys
from PIL import Image
from code_forensics.engine.decoding.decode import decode
from code_forensics.engine.quiet import native_messages_dropped
file = io.BytesIO()
Image.effect_noise((600, 500), 60).convert("RGB").save(file, "JPEG")
cut = file.getvalue()[:9000] + bytes([255, 217])
def broken():
    assert decode(cut).decoder == "nvimgcodec"
with native_messages_dropped():
    broken()
    os.write(2, b"dropped")
    print("python speaks", file=sys.stderr)
os.write(2, b"and so does C")
"""


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_first_use_is_lazy_silent_and_leaves_no_trace():
    done = run(QUIET)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_native_messages_can_be_dropped_for_a_whole_process():
    done = run(DROPPED)
    assert (done.returncode, done.stderr) == (0, "python speaks\nand so does C")
