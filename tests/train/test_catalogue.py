"""Catalogues that are joined are what adding each image by itself would make."""

from dataclasses import fields

import numpy as np
import pytest
from code_forensics.train.catalogue import Catalogue, CatalogueBuilder, Label
from hypothesis import given
from hypothesis import strategies as st

IMAGE = st.tuples(
    st.sampled_from(["a.tar", "b.tar", "c/1.png", "c/2.png"]), st.sampled_from(Label),
    st.sampled_from(["", "sdxl", "reconstruction:x"]), st.sampled_from(["one", "two"]),
    st.integers(0, 9), st.integers(0, 1 << 40), st.integers(-1, 1 << 50),
)  # fmt: skip
IMAGES = st.lists(IMAGE, max_size=6)


def catalogue_of(images: list[tuple]) -> Catalogue:
    builder = CatalogueBuilder()
    for container, label, generator, source, record, size, offset in images:
        builder.add(
            container, label, generator=generator, source=source, record=record, size=size,
            offset=offset,
        )  # fmt: skip
    return builder.build()


@given(IMAGES, IMAGES)
def test_two_catalogues_joined(images: list[tuple], others: list[tuple]) -> None:
    renumbered = [(*other[:4], other[4] + 100, *other[5:]) for other in others]
    records = np.array([other[4] for other in renumbered], dtype=np.int32)
    joined = catalogue_of(images).extended(catalogue_of(others), records)
    whole = catalogue_of(images + renumbered)
    for field in fields(Catalogue):
        ours, theirs = getattr(joined, field.name), getattr(whole, field.name)
        if field.name == "digest":
            continue
        assert np.array_equal(ours, theirs)
        assert getattr(ours, "dtype", None) == getattr(theirs, "dtype", None)


def test_images_are_not_added_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [("a.tar", Label.REAL, "", "one", n, 5, n) for n in range(20)]
    one, other = catalogue_of(images), catalogue_of(images[:3])
    monkeypatch.setattr(CatalogueBuilder, "add", pytest.fail)
    joined = one.extended(other, np.arange(3, dtype=np.int32))
    assert len(joined) == 23
    assert joined.digest not in (one.digest, other.digest)
    assert joined.digest != other.extended(one, one.record).digest  # the order tells
