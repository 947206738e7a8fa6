"""Facts from headers, against what Pillow was told to write."""

import io

import numpy as np
import pytest
from code_forensics.engine.evaluation.file_facts import ijg_quality, read_facts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))


def written(image=PICTURE, **options):
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 5, 25, 49, 50, 51, 75, 85, 90, 95, 99, 100])
def test_quality_is_the_one_that_the_encoder_was_given(quality):
    facts = read_facts(written(format="JPEG", quality=quality))
    assert facts is not None
    assert facts.quality == quality


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_subsampling_is_the_one_that_the_encoder_was_given(option, name):
    assert read_facts(written(format="JPEG", subsampling=option)).subsampling == name


def test_jpeg_facts():
    data = written(format="JPEG", quality=80, progressive=True, icc_profile=b"x" * 200)
    facts = read_facts(data)
    assert (facts.format, facts.width, facts.height, facts.bytes) == ("JPEG", 56, 40, len(data))
    assert (facts.progressive, facts.icc, facts.exif, facts.mode) == (True, True, False, "RGB")
    other = read_facts(written(format="JPEG", quality=81))
    assert not other.progressive
    assert other.quantisation != facts.quantisation
    assert read_facts(written(format="JPEG", quality=80)).quantisation == facts.quantisation
    assert read_facts(written(PICTURE.convert("L"), format="JPEG")).subsampling == "grey"


def test_exif_is_seen_and_other_formats_have_no_jpeg_facts():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    assert read_facts(written(format="JPEG", exif=exif)).exif is True
    facts = read_facts(written(format="PNG"))
    assert (facts.format, facts.quality, facts.subsampling, facts.progressive) == (
        *("PNG", None, None, None),
    )


def test_a_table_of_another_maker_gives_the_nearest_quality():
    flat = [8] * 64
    assert 1 <= ijg_quality(flat) <= 100
    assert ijg_quality([1] * 64) == 100


@given(st.binary(max_size=300), st.integers(0, 700))
def test_hostile_bytes_never_raise(junk, cut):
    whole = written(format="JPEG", quality=50)
    for data in (junk, whole[:cut] + junk, whole[:cut]):
        facts = read_facts(data)
        assert facts is None or facts.width > 0
