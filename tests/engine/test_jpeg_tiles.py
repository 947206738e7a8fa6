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
        pytest.param(3, 0, ValueError, id="no columns"),
        pytest.param(4, 8193, ValueError, id="too many rows"),
        pytest.param(5, [], ValueError, id="no components"),
        pytest.param(5, [(5, b"", b"")], ValueError, id="too many blocks"),
        pytest.param(5, [(1, b"")], TypeError, id="no table"),
        pytest.param(5, 3, TypeError, id="not components"),
        pytest.param(6, [], ValueError, id="no tiles"),
        pytest.param(6, [(0, 0, 0, 1)], ValueError, id="empty tile"),
        pytest.param(6, [(0, 0, 1, 99)], ValueError, id="tile outside"),
        pytest.param(6, [(0, 0, 1)], TypeError, id="tile of three numbers"),
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
