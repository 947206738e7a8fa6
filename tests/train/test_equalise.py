"""After equalising, nothing but the pixels' content can differ between the classes."""

import io

import numpy as np
import pytest
from code_forensics.train.config import EqualiseOptions
from code_forensics.train.equalise import centre, equalise, random_square
from PIL import Image


def test_the_same_picture_stays_the_same_picture(picture):
    """Crop, resize and JPEG are common: two equal members stay equal, whatever is drawn."""
    image, sizes = picture(1, 300, 260), set()
    for seed in range(30):
        a, b = equalise((image, image.copy()), EqualiseOptions(), np.random.default_rng(seed))
        assert a.tobytes() == b.tobytes()
        sizes.add(a.size)
    assert len(sizes) > 15
    assert all(w == h and 195 <= w <= 325 for w, h in sizes)


def test_sizes_become_equal(picture):
    pair = (picture(1, 900, 640), picture(2, 512, 700))
    options = EqualiseOptions(side=400, scale=(0.5, 0.5), quality=(90, 90))
    a, b = equalise(pair, options, np.random.default_rng(0))
    assert a.size == b.size == (200, 200)


@pytest.mark.parametrize("quality", [55, 95])
def test_both_get_the_drawn_quality(quality, picture):
    image = picture(3, 128, 128)
    options = EqualiseOptions(side=128, scale=(1, 1), quality=(quality, quality))
    made = equalise((image,), options, np.random.default_rng(0))[0]
    known = []
    for subsampling in (0, 2):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
        known.append(Image.open(buffer).convert("RGB").tobytes())
    assert made.tobytes() in known


def test_random_square_and_centre(picture):
    image = picture(1, 300, 100)
    assert random_square(image, 300, np.random.default_rng(0)) is image
    assert random_square(image, 120, np.random.default_rng(0)).size == (120, 100)
    assert centre(image, 100, 50).tobytes() == image.crop((100, 25, 200, 75)).tobytes()
