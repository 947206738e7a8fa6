"""Each of the 19 against its published range, and against what its name promises."""

import io
from dataclasses import replace

import numpy as np
import pytest
from code_forensics.train import augment as module
from code_forensics.train.augment import AUGMENTATIONS, Draw, augment
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageStat

PUBLISHED = [
    ("blur", "uniform", 0.1, 2), ("brightness", "uniform", 0.5, 2),
    ("aspect ratio", "uniform", 0.75, 2), ("pixelisation", "uniform", 0.3, 1),
    ("rotation", "uniform", 90, 270), ("contrast", "steps", 0.5, 1.5),
    ("saturation", "steps", 0.5, 1.5), ("jpeg", "steps", 40, 100),
    ("greyscale", "none", 0, 0), ("horizontal flip", "none", 0, 0),
    ("opacity", "steps", 0.2, 1), ("overlay stripes", "steps", 0.05, 0.35),
    ("pad", "steps", 0.01, 0.25), ("resize", "steps", 64, 512),
    ("random crop", "steps", 64, 512), ("scale", "steps", 0.5, 1.5),
    ("sharpen", "steps", 1.2, 2), ("shuffled pixels", "steps", 0, 0.35), ("skew", "steps", -1, 1),
]  # fmt: skip
BY_NAME = {a.name: a for a in AUGMENTATIONS}


def apply(name, image, value, seed=0):
    return BY_NAME[name].apply(image, value, np.random.default_rng(seed))


def array(image):
    return np.asarray(image, dtype=np.int16)


def test_names_order_and_ranges_are_the_published_ones():
    assert [(a.name, a.draw.value, a.low, a.high) for a in AUGMENTATIONS] == PUBLISHED


@pytest.mark.parametrize("chosen", AUGMENTATIONS, ids=lambda a: a.name)
def test_parameters_cover_exactly_the_range(chosen):
    rng = np.random.default_rng(3)
    values = np.array([chosen.value(rng) for _ in range(400)])
    assert values.min() >= chosen.low
    assert values.max() <= chosen.high
    if chosen.draw is Draw.UNIFORM:
        assert len(np.unique(values)) == 400
        assert np.ptp(values) > 0.95 * (chosen.high - chosen.low)
    elif chosen.draw is Draw.STEPS:
        fifth = (chosen.high - chosen.low) / 4
        assert np.unique(values) == pytest.approx([chosen.low + i * fifth for i in range(5)])


@pytest.mark.parametrize("chosen", AUGMENTATIONS, ids=lambda a: a.name)
def test_same_seed_same_image_and_always_rgb(chosen, picture):
    image = picture(1, 91, 70)
    before = image.tobytes()
    for value in (chosen.low, chosen.high):
        first, again = (chosen.apply(image, value, np.random.default_rng(7)) for _ in range(2))
        assert first.mode == "RGB"
        assert min(first.size) >= 1
        assert (first.size, first.tobytes()) == (again.size, again.tobytes())
    assert image.tobytes() == before  # the other views are made from it


@pytest.mark.parametrize("chosen", AUGMENTATIONS, ids=lambda a: a.name)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_tiny_images_pass(chosen, size, picture):
    for value in (chosen.low, chosen.high):
        assert min(chosen.apply(picture(0, *size), value, np.random.default_rng(0)).size) >= 1


def test_jpeg_qualities_are_the_published_five():
    rng = np.random.default_rng(0)
    assert {int(BY_NAME["jpeg"].value(rng)) for _ in range(100)} == {40, 55, 70, 85, 100}


def test_zero_one_or_two_are_applied_in_order(monkeypatch, picture):
    called = []

    def watched(place):
        def note(image, _value, _rng):
            called.append(place)
            return image

        return replace(AUGMENTATIONS[place], apply=note)

    monkeypatch.setattr(module, "AUGMENTATIONS", tuple(watched(i) for i in range(19)))
    counts, seen, rng, image = np.zeros(3), set(), np.random.default_rng(11), picture(1, 8, 8)
    for _ in range(1500):
        called.clear()
        augment(image, rng)
        assert called == sorted(set(called))
        counts[len(called)] += 1
        seen.update(called)
    assert counts / 1500 == pytest.approx([1 / 3] * 3, abs=0.05)
    assert seen == set(range(19))


def test_augment_follows_from_the_seed(picture):
    image = picture(4)
    made = [augment(image, np.random.default_rng(s % 20)) for s in range(40)]
    assert [m.tobytes() for m in made[:20]] == [m.tobytes() for m in made[20:]]
    assert len({m.tobytes() for m in made}) > 10


def test_blur_is_pillows_gaussian(picture):
    image = picture(2)
    expected = image.filter(ImageFilter.GaussianBlur(1.5))
    assert array(apply("blur", image, 1.5)) == pytest.approx(array(expected))


def test_brightness_multiplies(picture):
    image = picture(2)
    assert array(apply("brightness", image, 0.5)) == pytest.approx(array(image) * 0.5, abs=1)


def test_aspect_ratio_keeps_the_area(picture):
    made = apply("aspect ratio", picture(2, 300, 200), 2.0)
    assert made.width / made.height == pytest.approx(2.0, rel=0.02)
    assert made.width * made.height == pytest.approx(60000, rel=0.02)


def test_pixelisation_removes_detail_and_keeps_the_size(picture):
    image = picture(2)
    made = apply("pixelisation", image, 0.3)
    assert made.size == image.size
    assert (
        np.abs(np.diff(array(made), axis=1)).mean() < np.abs(np.diff(array(image), axis=1)).mean()
    )
    assert apply("pixelisation", image, 1.0).tobytes() == image.tobytes()


@pytest.mark.parametrize("degrees", [90.0, 113.0, 180.0, 237.5, 270.0])
@pytest.mark.parametrize("size", [(200, 120), (90, 300)])
def test_rotation_shows_no_background(degrees, size):
    made = apply("rotation", Image.new("RGB", size, "white"), degrees)
    inner = array(made)[2:-2, 2:-2]  # the nearest neighbour may round one pixel out
    assert inner.min() == 255
    if degrees == 180:
        assert abs(made.width - size[0]) <= 1
    if degrees in (90, 270):
        assert abs(made.width - size[1]) <= 1


def test_contrast_and_saturation_move_away_from_grey(picture):
    image = picture(2)
    mean = int(ImageStat.Stat(image.convert("L")).mean[0] + 0.5)
    expected = mean + 0.5 * (array(image) - mean)
    assert array(apply("contrast", image, 0.5)) == pytest.approx(expected, abs=1)
    grey = array(image.convert("L").convert("RGB"))
    expected = (grey + 0.5 * (array(image) - grey)).clip(0, 255)
    assert array(apply("saturation", image, 0.5)) == pytest.approx(expected, abs=1)


def test_jpeg_is_that_of_its_quality(picture):
    image = picture(2)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=55)
    assert apply("jpeg", image, 55).tobytes() == Image.open(buffer).convert("RGB").tobytes()


def test_greyscale_and_flip(picture):
    image = picture(2)
    grey = array(apply("greyscale", image, 0))
    luma = array(image) @ [0.299, 0.587, 0.114]
    assert np.ptp(grey, axis=2).max() == 0
    assert grey[..., 0] == pytest.approx(luma, abs=1)
    assert np.array_equal(array(apply("horizontal flip", image, 0)), array(image)[:, ::-1])


def test_opacity_blends_with_white(picture):
    image = picture(2)
    expected = 255 * 0.8 + array(image) * 0.2
    assert array(apply("opacity", image, 0.2)) == pytest.approx(expected, abs=1)
    assert apply("opacity", image, 1.0).tobytes() == image.tobytes()


@pytest.mark.parametrize("width", [0.05, 0.2, 0.35])
def test_stripes_cover_their_share_with_white(width):
    made = array(apply("overlay stripes", Image.new("RGB", (400, 800)), width))
    assert set(np.unique(made)) == {0, 255}
    assert np.ptp(made, axis=1).max() == 0  # horizontal
    assert (made == 255).mean() == pytest.approx(width, abs=0.012)
    starts = np.flatnonzero(np.diff(made[:, 0, 0]) > 0)
    assert np.diff(starts) == pytest.approx(200, abs=1)  # half of the shorter side


def test_pad_adds_black_on_each_side(picture):
    image = picture(2, 200, 100)
    made = apply("pad", image, 0.25)
    assert made.size == (300, 150)
    assert made.crop((50, 25, 250, 125)).tobytes() == image.tobytes()
    assert ImageStat.Stat(made).sum == ImageStat.Stat(image).sum


def test_resize_crop_and_scale_give_their_sizes(picture):
    image = picture(2, 210, 140)
    assert apply("resize", image, 176).size == (176, 176)
    assert apply("scale", image, 0.5).size == (105, 70)
    assert apply("scale", image, 1.5).size == (315, 210)
    cut = apply("random crop", image, 64)
    windows = np.lib.stride_tricks.sliding_window_view(array(image), (64, 64, 3)).squeeze(2)
    assert (windows == array(cut)).all(axis=(2, 3, 4)).any()
    padded = apply("random crop", image, 512)
    assert padded.size == (512, 512)
    assert ImageStat.Stat(padded).sum == ImageStat.Stat(image).sum  # zeros around it
    assert (
        apply("random crop", picture(3), 64, 1).tobytes()
        != apply("random crop", picture(3), 64, 2).tobytes()
    )


def test_sharpen_is_pillows(picture):
    image = picture(2)
    expected = ImageEnhance.Sharpness(image).enhance(1.6)
    assert apply("sharpen", image, 1.6).tobytes() == expected.tobytes()
    assert ImageChops.difference(apply("sharpen", image, 1.2), image).getbbox()


def test_shuffle_moves_its_share_of_the_pixels():
    image = Image.fromarray(np.arange(100 * 100 * 3).reshape(100, 100, 3).astype(np.uint8))
    made = array(apply("shuffled pixels", image, 0.35))
    rows = lambda a: np.sort(a.reshape(-1, 3).view("i2,i2,i2"), axis=0)  # noqa: E731
    assert np.array_equal(rows(made), rows(array(image)))  # nothing is lost
    assert 0.3 < (made != array(image)).any(axis=2).mean() <= 0.35
    assert apply("shuffled pixels", image, 0.0).tobytes() == image.tobytes()


@pytest.mark.parametrize("factor", [-1.0, -0.5, 0.5, 1.0])
def test_skew_moves_rows_by_their_distance_from_the_middle(factor):
    image = Image.new("RGB", (200, 100))
    image.paste("white", (99, 0, 102, 100))
    made = array(apply("skew", image, factor))[..., 0]
    for row in (20, 50, 80):
        shift = (made[row] * np.arange(200)).sum() / made[row].sum() - 100
        assert shift == pytest.approx(-factor * (row - 50), abs=1.5)
