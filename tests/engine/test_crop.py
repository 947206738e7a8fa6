"""The centre crop against the published pipeline's own lines, on images of numbered pixels."""

import numpy as np
import pytest
from code_forensics.engine.decoding.crop import centre_crop
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.engine.encoded import published_crop


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_box_places_every_pixel_where_the_published_crop_does(width, height, size):
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    pixels = np.stack([rows, columns, rows ^ columns], -1).astype(np.uint8)
    box = centre_crop(width, height, size)
    square = np.zeros((size, size, 3), np.uint8)
    part = pixels[box.top : box.bottom, box.left : box.right]
    square[box.y : box.y + box.height, box.x : box.x + box.width] = part
    assert np.array_equal(square, published_crop(Image.fromarray(pixels), size))
    assert box.fills == (width >= size and height >= size)


@pytest.mark.parametrize(("side", "first"), [(225, 0), (227, 2), (229, 2), (231, 4)])
def test_halves_round_to_even(side, first):
    assert centre_crop(side, 224).left == first
    assert centre_crop(224, side).top == first


@pytest.mark.parametrize("sizes", [(0, 5, 224), (5, 0, 224), (5, 5, 0), (-1, 5, 224)])
def test_impossible_lengths_are_refused(sizes):
    with pytest.raises(ValueError, match="no centre crop"):
        centre_crop(*sizes)
