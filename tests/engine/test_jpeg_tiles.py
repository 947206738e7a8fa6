"""Cutting tiles out of JPEGs, in C: any parts, any damage, any arguments."""

import io
import subprocess
import sys

import numpy as np
import pytest
from code_forensics.engine.decoding import jpeg, tiles
from code_forensics.engine.decoding.crop import CropBox
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, decode
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.quiet import quiet_warnings
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.engine.jpegs import encode, jpegs, photo

jpeg_tiles = pytest.importorskip(
    "code_forensics.engine.decoding.jpeg_tiles",
    reason="there was no compiler when this was installed",
)


@st.composite
def parts(draw):
    """A JPEG and some parts of it, which may overlap."""
    data = draw(jpegs())
    frame = jpeg.read_header(data).frame
    width, height = frame.width, frame.height
    boxes = []
    for _ in range(draw(st.integers(1, 5))):
        left, right = sorted(draw(st.lists(st.integers(0, width), min_size=2, max_size=2)))
        top, bottom = sorted(draw(st.lists(st.integers(0, height), min_size=2, max_size=2)))
        left, top = min(left, width - 1), min(top, height - 1)
        boxes.append(CropBox(left, top, max(1, right - left), max(1, bottom - top), 0, 0, 224))
    return data, boxes


@settings(max_examples=150, deadline=None)
@given(parts())
def test_any_parts_are_pillows(drawn):
    data, boxes = drawn
    with quiet_warnings(), Image.open(io.BytesIO(data)) as image:
        found = tiles.read_parts(data, *image.size, boxes)
        assert found is not None
        whole = np.asarray(image.convert("RGB"))
    for box, pixels in found.items():
        assert np.array_equal(pixels, whole[box.top : box.bottom, box.left : box.right])


@pytest.mark.parametrize("plan", [ViewPlan(Crops.SIXTEEN), ViewPlan(Crops.FIVE, probe=True)])
def test_several_crops_are_read_in_part(plan):
    data = encode(photo(2000, 1500), quality=88, subsampling=2)
    quick, slow = (decode(data, DecodeOptions(views=plan, region=part)) for part in (True, False))
    assert isinstance(quick, Decoded)
    assert isinstance(slow, Decoded)
    assert (quick.decoder, slow.decoder) == ("tiles", "pillow")
    assert np.array_equal(quick.views, slow.views)


def arguments(data, boxes=((0, 0, 1, 1),)):
    """What the C function takes for a JPEG."""
    header = jpeg.read_header(data)
    columns, rows = header.frame.grid
    return [data, header.start, header.interval, columns, rows, tiles._components(header), boxes]


SMALL = encode(photo(200, 150), quality=75, subsampling=2, restart_marker_blocks=20)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([SMALL, encode(photo(90, 90), quality=100)]), st.data())
def test_damage_has_no_answer_or_one_that_decodes(data, draws):
    whole = bytearray(data)
    start = jpeg.read_header(data).start
    for _ in range(draws.draw(st.integers(1, 3))):
        at = draws.draw(st.integers(start, len(whole) - 1))
        whole[at:at] = draws.draw(st.binary(max_size=3))
        del whole[at : at + draws.draw(st.integers(0, 3))]
    given_ = arguments(data)
    columns, rows = given_[3:5]
    given_[0], given_[6] = bytes(whole), [(0, 0, columns, rows), (1, 1, 3, 3)]
    answer = jpeg_tiles.cut(*given_)
    assert answer is None or [type(one) for one in answer] == [bytes, bytes]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200),
    st.integers(0, 20),
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(
        st.tuples(st.integers(1, 4), st.binary(max_size=40), st.binary(max_size=40)),
        min_size=3,
        max_size=3,
    ),
)
def test_nonsense_has_no_answer(data, interval, columns, rows, components):
    box = (0, 0, columns, rows)
    answer = jpeg_tiles.cut(data, 0, interval, columns, rows, components, [box])
    assert answer is None


@pytest.mark.parametrize(
    ("place", "value", "error"),
    [
        pytest.param(1, -1, ValueError, id="begins before the data"),
        pytest.param(1, len(SMALL) + 1, ValueError, id="begins behind the data"),
        pytest.param(2, -1, ValueError, id="an interval below 0"),
        pytest.param(2, 65536, ValueError, id="an interval above what is"),
        pytest.param(2, 1 << 70, OverflowError, id="an interval out of all range"),
        pytest.param(3, 0, ValueError, id="no columns"),
        pytest.param(3, 2**64 + 7, OverflowError, id="columns out of all range"),
        pytest.param(4, 8193, ValueError, id="too many rows"),
        pytest.param(5, [], ValueError, id="no components"),
        pytest.param(5, [(5, b"", b"")], ValueError, id="too many blocks"),
        pytest.param(5, [(1, b"")], TypeError, id="no table"),
        pytest.param(5, 3, TypeError, id="not components"),
        pytest.param(6, [], ValueError, id="no tiles"),
        pytest.param(6, [(0, 0, 0, 1)], ValueError, id="empty tile"),
        pytest.param(6, [(0, 0, 1, 99)], ValueError, id="tile outside"),
        pytest.param(6, [(0, 0, 1)], TypeError, id="tile of three numbers"),
        pytest.param(6, [(-1, 0, 1, 1)], ValueError, id="tile left of the image"),
        pytest.param(6, [[0, 0, 1, 1]], TypeError, id="tile that is no tuple"),
        pytest.param(5, [[1, b"", b""]], TypeError, id="component that is no tuple"),
        pytest.param(6, 3, TypeError, id="not tiles"),
        pytest.param(0, "text", TypeError, id="not data"),
    ],
)
def test_wrong_arguments_are_errors(place, value, error):
    given_ = arguments(SMALL)
    assert jpeg_tiles.cut(*given_) is not None
    given_[place] = value
    with pytest.raises(error):
        jpeg_tiles.cut(*given_)


def tables(counts, symbols):
    return bytes([*counts, *[0] * (16 - len(counts)), *symbols])


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(15), id="short"),
        pytest.param(tables([3], [1, 2, 3]), id="three codes of one bit"),
        pytest.param(tables([1, 3], [1, 2, 3, 4]), id="more codes than there are"),
        pytest.param(tables([2], [0, 1]), id="the code of ones alone"),
        pytest.param(tables([1, 2], [0, 1, 2]), id="the longer code of ones alone"),
        pytest.param(tables([1], []), id="no symbols"),
        pytest.param(tables([1], [0, 0]), id="symbols left over"),
        pytest.param(bytes([255] * 16) + bytes(300), id="too many symbols"),
    ],
)
def test_what_is_no_table_has_no_answer(table):
    given_ = arguments(SMALL)
    (blocks, dc, ac), *others = given_[5]
    for components in ([(blocks, table, ac), *others], [(blocks, dc, table), *others]):
        given_[5] = components
        assert jpeg_tiles.cut(*given_) is None


def test_long_codes_and_full_blocks():
    """All 63 AC coefficients of noise, by tables of which most codes are longer than a look-up."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), quality=100, subsampling=0)
    found = tiles.read_parts(data, 240, 240, [CropBox(90, 100, 60, 70, 0, 0, 224)])
    with Image.open(io.BytesIO(data)) as image:
        whole = np.asarray(image)
    assert found is not None
    (pixels,) = found.values()
    assert np.array_equal(pixels, whole[100:170, 90:150])


def grey(width, height, dc, ac, coded, extra=b""):
    """A JPEG from its parts."""
    sizes = height.to_bytes(2) + width.to_bytes(2)
    segments = (
        (0xDB, b"\0" + b"\1" * 64),
        (0xC0, b"\x08" + sizes + b"\1\1\x11\0"),
        (0xC4, b"\0" + dc),
        (0xC4, b"\x10" + ac),
        (0xDA, b"\1\1\0\0\x3f\0"),
    )
    whole = b"".join(tiles._segment(marker, body) for marker, body in segments)
    return b"\xff\xd8" + extra + whole + coded + b"\xff\xd9"


ONE = tables([1], [0])
"""One code, of one bit: no difference, or the end of a block."""


@pytest.mark.parametrize(
    ("width", "height", "dc", "good"),
    [
        pytest.param(600, 420, ONE, True, id="usual"),
        pytest.param(600, 420, tables([2], [0, 1]), False, id="a DC table with the code of ones"),
        pytest.param(65500, 8, ONE, True, id="as wide as may be"),
        pytest.param(65501, 8, ONE, False, id="too wide"),
        pytest.param(8, 65501, ONE, False, id="too high"),
    ],
)
def test_what_pillow_refuses_is_refused(width, height, dc, good):
    blocks = -(-width // 8) * -(-height // 8)
    data = grey(width, height, dc, ONE, bytes(-(-2 * blocks // 8)))
    with Image.open(io.BytesIO(data)) as image:
        if good:
            image.load()
        else:
            with pytest.raises(OSError, match="broken data stream"):
                image.load()
    box = CropBox(0, 0, 8, 8, 0, 0, 224)
    assert (tiles.read_parts(data, width, height, [box]) is not None) == good


@pytest.mark.parametrize(
    ("extra", "good"),
    [
        pytest.param(b"\xff\xe2\0\x04ab" * 900, True, id="many small segments"),
        pytest.param(b"\xff\xe2\0\x04ab" * 1000, False, id="a thousand and more"),
        pytest.param(b"\xff\xe1\xff\xff" + bytes(65533), True, id="a large one that tells nothing"),
        pytest.param(
            b"\xff\xe0\xff\xff" + b"JFIF\0" + bytes(65528), True, id="a large one, cut short"
        ),
        pytest.param((b"\xff\xdb\0\x43\1" + b"\1" * 64) * 999, False, id="tables without end"),
    ],
)
def test_a_header_out_of_the_ordinary_is_left_to_pillow(extra, good):
    data = grey(600, 420, ONE, ONE, bytes(-(-2 * 75 * 53 // 8)), extra)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    box = CropBox(0, 0, 8, 8, 0, 0, 224)
    assert (tiles.read_parts(data, 600, 420, [box]) is not None) == good


WITHOUT = """
import sys
sys.modules["code_forensics.engine.decoding.jpeg_tiles"] = None
from code_forensics.engine.decoding.decode import Decoded, decode, decoder_versions, load_decoders
from code_forensics.engine.decoding import tiles
load_decoders()
answer = decode(sys.stdin.buffer.read())
assert not tiles.can_cut() and "jpeg_tiles" not in decoder_versions()
assert isinstance(answer, Decoded) and answer.decoder != "tiles"
sys.stdout.buffer.write(answer.crop.tobytes())
"""


def test_without_the_compiled_part_the_crop_is_the_same():
    data = encode(photo(600, 420), quality=90)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=data, capture_output=True, check=False
    )
    assert done.stderr == b""
    answer = decode(data)
    assert isinstance(answer, Decoded)
    assert answer.decoder == "tiles"
    assert done.stdout == answer.crop.tobytes()
