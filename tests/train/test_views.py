import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from code_forensics.train.config import ViewOptions
from code_forensics.train.views import (
    View,
    centre_crop,
    make_views,
    random_resized_crop,
    resized_centre_crop,
)
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared"


def planes(image):
    return np.asarray(image).transpose(2, 0, 1)


def contains(image, view):
    """Whether a view is a window of the image, pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(image), (224, 224, 3))
    return any((w == view.transpose(1, 2, 0)).all() for row in windows for w in row[:, 0])


def test_plain_views_are_untouched_native_windows(picture):
    image = picture(1, 236, 229)
    places = set()
    for seed in range(6):
        view = make_views(image, ViewOptions(), np.random.default_rng(seed))[View.PLAIN]
        assert contains(image, view)
        places.add(view.tobytes())
    assert len(places) > 1


def test_without_augmentation_the_augmented_view_is_a_window_too(picture):
    image = picture(1, 236, 229)
    views = make_views(image, ViewOptions(augmentations=0), np.random.default_rng(3))
    assert views.shape == (4, 3, 224, 224)
    assert views.dtype == np.uint8
    assert contains(image, views[View.AUGMENTED])


def test_views_follow_from_the_seed(picture):
    image = picture(1)
    made = [make_views(image, ViewOptions(), np.random.default_rng(s)) for s in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
def test_crops_keep_their_share_and_aspect_ratio(scale):
    """The crop is read back from a picture whose colours are coordinates."""
    y, x = np.mgrid[0:256, 0:256]
    image = Image.fromarray(np.stack((x, y, x * 0), axis=2).astype(np.uint8))
    areas = []
    for seed in range(200):
        made = random_resized_crop(image, scale, np.random.default_rng(seed))
        assert made.size == (224, 224)
        pixels = np.asarray(made, dtype=float)
        width, height = (np.ptp(pixels[..., c]) + 1 for c in (0, 1))
        assert 0.70 < width / height < 1.43  # 3:4 to 4:3, and a pixel at each side
        areas.append(width * height / 256**2)
    assert min(areas) > scale[0] * 0.85
    assert max(areas) < scale[1] * 1.1
    assert np.ptp(areas) > 0.7 * (scale[1] - scale[0])


def test_a_strip_falls_back_to_its_centre():
    image = Image.new("RGB", (1000, 10))
    image.paste("white", (495, 0, 505, 10))
    made = np.asarray(random_resized_crop(image, (0.9, 1.0), np.random.default_rng(0)))
    assert made[112, 112, 0] == 255
    assert made[112, 5, 0] == 0


@pytest.mark.parametrize(
    "size", [(224, 224), (225, 227), (226, 300), (300, 100), (50, 60), (223, 225), (1, 1)]
)
def test_probes_crop_as_the_published_inference(size, picture):
    script = SHARED / "reference" / "published_pipeline.py"
    if not script.is_file():
        pytest.skip("the published pipeline is not at hand")
    spec = importlib.util.spec_from_file_location("published_pipeline", script)
    published = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(published)
    image = picture(2, *size)
    assert np.array_equal(centre_crop(image), planes(published.center_crop(image)))


def test_the_released_finish_resizes_to_248(picture):
    image = picture(3, 496, 600)
    expected = image.resize((248, 300), Image.Resampling.BICUBIC).crop((12, 38, 236, 262))
    assert np.array_equal(resized_centre_crop(image), planes(expected))
    views = make_views(image, ViewOptions(finish="resize"), np.random.default_rng(0))
    assert np.array_equal(views[View.PLAIN], planes(expected))
    assert math.floor(224 / 0.9) == 248
