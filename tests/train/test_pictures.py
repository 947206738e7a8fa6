"""The pictures beside the collected data: cut as listed, and nothing else in their place."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from code_forensics.train.errors import DataError
from code_forensics.train.starter.pictures import (
    LATER,
    LIST,
    SMALL_QUALITY,
    cut,
    listed,
    read_list,
)
from PIL import Image

from tests.conftest import draw_photo


@pytest.fixture
def row(tmp_path: Path) -> dict[str, str]:
    picture = draw_photo(tmp_path / "kit-ui-1.2.0" / "img" / "a.png", 3, (900, 700))
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    return {"file": "real/s/0000.png", "package": "@kit/ui", "version": "1.2.0",
            "member": "img/a.png", "sha256": digest, "divide": "1", "shorter": "0", "left": "250", "top": "0"}  # fmt: skip


def test_squares_are_cut_from_the_picture_and_from_its_half(row, tmp_path: Path) -> None:
    whole = Image.open(tmp_path / "kit-ui-1.2.0" / "img" / "a.png").convert("RGB")
    half = whole.resize((450, 350), Image.Resampling.LANCZOS)
    (_, first), (_, second) = cut([row, {**row, "divide": "2", "left": "100"}], tmp_path)
    assert np.array_equal(first, whole.crop((250, 0, 498, 248)))
    assert np.array_equal(second, half.crop((100, 0, 348, 248)))


def test_a_picture_made_small_is_compressed_as_web_sites_do(row, tmp_path: Path) -> None:
    whole = Image.open(tmp_path / "kit-ui-1.2.0" / "img" / "a.png").convert("RGB")
    file = io.BytesIO()
    whole.resize((514, 400), Image.Resampling.LANCZOS).save(file, "WEBP", quality=SMALL_QUALITY)
    small = Image.open(file).convert("RGB")
    [(_, square)] = cut([{**row, "shorter": "400"}], tmp_path)
    assert np.array_equal(square, small.crop((250, 0, 498, 248)))


def test_another_picture_is_refused(row, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the picture of the list"):
        list(cut([{**row, "sha256": "0" * 64}], tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        list(cut([{**row, "version": "1.3.0"}], tmp_path))


@pytest.mark.parametrize(("file", "count"), [(LIST, 2932), (LATER, 1028)])
def test_the_lists_are_whole_and_lead_nowhere_else(file: Path, count: int) -> None:
    rows = read_list(file)
    assert len({row["file"] for row in rows}) == len(rows) == count
    for row in rows:
        assert len(row["sha256"]) == 64
        assert (row["divide"], row["shorter"]) in {("1", "0"), ("2", "0"), ("1", "400")}
        assert row["file"].startswith("fake/" if row["generator"] else "real/")
        for name in (row["file"], row["member"]):
            assert ".." not in Path(name).parts and not Path(name).is_absolute()


def test_the_pictures_that_came_later_are_none_of_those_before() -> None:
    before, later = ({row["sha256"] for row in rows} for rows in (listed(), read_list(LATER)))
    assert not before & later
    sources = [{row["file"].split("/")[1] for row in rows} for rows in (listed(), read_list(LATER))]
    assert not sources[0] & sources[1]


def test_the_further_squares_are_others_of_the_same_photographs() -> None:
    rows = listed()
    assert len({row["file"] for row in rows}) == len(rows) == 2932 + 1393
    places = {tuple(row[k] for k in ("sha256", "divide", "shorter", "left", "top")) for row in rows}
    assert len(places) == len(rows)
    for row in rows[2932:]:
        assert row["divide"] in {"1", "2", "4"}
        assert row["shorter"] == "0" and not row["generator"]
        assert row["file"].split("/")[:2] == row["of"].split("/")[:2]
        assert ".." not in Path(row["file"]).parts
