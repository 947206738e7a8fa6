"""Further views of a picture: where they lie, which pixels they hold, how the probe changes them."""

import io

import numpy as np
import pytest
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, decode
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import CHANGES, SIZE, ViewPlan
from code_forensics.engine.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 3000)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, name: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def views(data: bytes, plan: ViewPlan, region: bool = True) -> np.ndarray:
    answer = decode(data, DecodeOptions(views=plan, region=region))
    assert isinstance(answer, Decoded)
    return answer.views


@given(SIDES, SIDES, st.sampled_from(Crops), st.booleans())
def test_geometry(width: int, height: int, layout: Crops, probe: bool) -> None:
    plan = ViewPlan(layout, probe)
    places = plan.places(width, height)
    assert len(places) == len(set(places))
    assert plan.count(width, height) == len(places) + 4 * probe <= plan.most
    assert (places[0].left, places[0].top) == (
        round((width - SIZE) / 2) if width >= SIZE else -((SIZE - width) // 2),
        round((height - SIZE) / 2) if height >= SIZE else -((SIZE - height) // 2),
    )
    for place in places[1:]:
        if width >= SIZE:
            assert 0 <= place.left <= width - SIZE
        if height >= SIZE:
            assert 0 <= place.top <= height - SIZE


@pytest.mark.parametrize(
    ("layout", "side"),
    [(Crops.GRID, side) for side in (225, 448, 700, 1344)]
    + [(Crops.SIXTEEN, side) for side in (225, 448, 700, 896)],
)
def test_a_grid_covers_everything_up_to_its_size(layout: Crops, side: int) -> None:
    seen = np.zeros((side, side), bool)
    for place in ViewPlan(layout).places(side, side):
        seen[place.top : place.top + SIZE, place.left : place.left + SIZE] = True
    assert seen.all()


def test_five_is_the_middle_and_the_corners() -> None:
    places = ViewPlan(Crops.FIVE).places(1000, 600)
    assert [(p.left, p.top) for p in places] == [(388, 188), (0, 0), (776, 0), (0, 376), (776, 376)]
    assert len(ViewPlan(Crops.FIVE).places(1000, 100)) == 3
    assert len(ViewPlan(Crops.GRID).places(200, 224)) == 1


def test_sixteen_are_evenly_spread_and_the_middle_comes_first() -> None:
    places = [(p.left, p.top) for p in ViewPlan(Crops.SIXTEEN).places(2000, 1000)]
    assert places[0] == (888, 388)
    spread = [(left, top) for top in (0, 259, 517, 776) for left in (0, 592, 1184, 1776)]
    assert sorted(places[1:]) == sorted(spread)
    assert len(ViewPlan(Crops.SIXTEEN).places(512, 512)) == 9  # the ninth is the middle
    assert len(ViewPlan(Crops.SIXTEEN).places(300, 300)) == 5


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
@pytest.mark.parametrize("layout", list(Crops))
@pytest.mark.parametrize("size", [(700, 500), (150, 500), (90, 70)])
def test_crops_hold_the_pixels_of_their_places(
    name: str, layout: Crops, size: tuple[int, int]
) -> None:
    data = encoded(noise(*size), name)
    with Image.open(io.BytesIO(data)) as image:
        padded = np.pad(np.asarray(image.convert("RGB")), ((SIZE, SIZE), (SIZE, SIZE), (0, 0)))
    plan = ViewPlan(layout)
    found = views(data, plan)
    for view, place in zip(found, plan.places(*size), strict=True):
        left, top = place.left + SIZE, place.top + SIZE
        assert np.array_equal(view, padded[top : top + SIZE, left : left + SIZE])


@pytest.mark.parametrize("size", [(1200, 900), (640, 480), (310, 300), (224, 224), (100, 300)])
def test_the_probe_does_not_depend_on_the_decoder(size: tuple[int, int]) -> None:
    data = encoded(noise(*size), "JPEG", quality=92)
    plan = ViewPlan(probe=True)
    quick, slow = views(data, plan), views(data, plan, region=False)
    assert np.array_equal(quick, slow)
    assert np.array_equal(quick[0], views(data, ViewPlan())[0])
    assert len(quick) == 1 + len(CHANGES)


def test_the_changes_are_what_they_say() -> None:
    image = noise(1000, 800)
    centre, jpeg_75, jpeg_90, smaller, shifted = views(
        encoded(image, "PNG"), ViewPlan(probe=True)
    ).astype(int)
    assert np.array_equal(shifted[:-8, :-8], centre[8:, 8:])
    errors = [np.abs(view - centre).mean() for view in (jpeg_75, jpeg_90)]
    assert 20 > errors[0] > errors[1] > 0
    whole = image.resize((750, 600), Image.Resampling.BICUBIC)
    expected = np.asarray(whole)[188:412, 263:487].astype(int)
    inner = (slice(8, -8), slice(8, -8))  # the part's own edge is near; the phase is the same
    assert np.abs(smaller[inner] - expected[inner]).mean() < 1


def test_plans_in_run_records() -> None:
    for layout in Crops:
        for probe in (False, True):
            plan = ViewPlan(layout, probe)
            assert ViewPlan.of(plan.record()) == plan
    assert ViewPlan().id == ""
    assert ViewPlan.of(None) == ViewPlan()
    with pytest.raises(InputError, match="otherwise"):
        ViewPlan.of({"crops": "grid", "probe": False, "id": "grid/0"})
