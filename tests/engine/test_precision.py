"""The precision band against float32's own answers, on drawn and on real images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.precision import (
    Audit,
    PrecisionBand,
    calibration_crops,
    cosine_band,
    score_errors,
)
from code_forensics.engine.judging.hits import Hits, search_both
from code_forensics.engine.judging.scores import FLOOR
from PIL import Image

from tests.conftest import SHARED, SMALL, draw_checkpoint


@dataclass
class BruteGallery:
    """Exact search in numpy."""

    vectors: np.ndarray
    fake: np.ndarray
    encoder_sha256: str = ""
    preprocessing: str = ""

    def search(self, label: str, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(self.fake == (label == "fake"))
        cosines = _unit(vectors) @ _unit(self.vectors[rows]).T
        keys = np.full((len(vectors), k), -1, np.int64)
        best = np.full((len(vectors), k), -np.inf)
        order = np.argsort(-cosines, axis=1)[:, :k]
        keys[:, : order.shape[1]] = rows[order]
        best[:, : order.shape[1]] = np.take_along_axis(cosines, order, axis=1)
        return keys, best

    def describe(self, keys: object) -> dict[int, object]:
        return {}


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _margins(hits: Hits) -> np.ndarray:
    return hits.fake[:, 0] - hits.real[:, 0]


def _hits(real: list[list[float]], fake: list[list[float]]) -> Hits:
    keys = np.zeros((len(real), len(real[0])), np.int64)
    return Hits(keys, np.array(real), keys, np.array(fake))


def _embedders(checkpoint: object) -> tuple[Embedder, Embedder]:
    return Embedder(checkpoint, "cpu", "bfloat16"), Embedder(checkpoint, "cpu")  # type: ignore[arg-type]


def test_the_error_is_the_largest_over_all_pairs_of_ranks() -> None:
    rng = np.random.default_rng(0)
    reduced = _hits(*(rng.uniform(-1, 1, (2, 20, 3)).tolist()))
    exact = _hits(*(rng.uniform(-1, 1, (2, 20, 3)).tolist()))
    for row, error in enumerate(score_errors(reduced, exact)):
        pairs = [
            abs(
                (reduced.fake[row, i] - reduced.real[row, j])
                - (exact.fake[row, i] - exact.real[row, j])
            )
            for i in range(3)
            for j in range(3)
        ]
        nearest = [max(h.fake[row, 0], h.real[row, 0]) for h in (reduced, exact)]
        means = [(1 - h.real[row].mean(), 1 - h.fake[row].mean()) for h in (reduced, exact)]
        (score, unit), (truth, _) = [((r - f) / (r + f + FLOOR), r + f + FLOOR) for r, f in means]
        wanted = max(*pairs, abs(nearest[0] - nearest[1]), abs(score - truth) * unit)
        assert error == pytest.approx(wanted, abs=1e-12)


def test_a_class_that_is_too_small_adds_no_error() -> None:
    nothing = -np.inf
    reduced = _hits([[0.5, nothing]], [[nothing, nothing]])
    exact = _hits([[0.4, nothing]], [[nothing, nothing]])
    assert score_errors(reduced, exact) == pytest.approx([0.1])


def test_the_band_is_the_sample_s_largest_error_times_safety() -> None:
    reduced, exact = _embedders(draw_checkpoint(SMALL))
    crops = calibration_crops(24, seed=3)
    gallery = BruteGallery(exact.embed(calibration_crops(40, seed=4)), np.arange(40) % 3 == 0)
    band = cosine_band(reduced, exact, gallery, 1, crops, safety=1.5)
    apart = _margins(search_both(gallery, reduced.embed(crops), 1)) - _margins(
        search_both(gallery, exact.embed(crops), 1)
    )
    assert band.largest >= np.abs(apart).max() > 0
    assert band.width == pytest.approx(1.5 * band.largest)
    assert (band.sample, band.k, band.precision) == (24, 1, "bfloat16")
    assert cosine_band(reduced, exact, gallery, 1, crops, safety=1.5) == band


def test_a_band_needs_two_precisions_of_one_encoder() -> None:
    reduced, exact = _embedders(draw_checkpoint(SMALL))
    stranger = Embedder(draw_checkpoint(SMALL, seed=1), "cpu")
    gallery = BruteGallery(np.eye(24, dtype=np.float32), np.arange(24) % 2 == 0)
    for pair in ((reduced, stranger), (exact, reduced)):
        with pytest.raises(ValueError, match="one encoder"):
            cosine_band(*pair, gallery)
    with pytest.raises(ValueError, match="no band"):
        cosine_band(reduced, exact, gallery, 1, np.empty((0, 224, 224, 3), np.uint8))


def test_the_sample_is_the_same_every_time_and_varied() -> None:
    crops = calibration_crops(16)
    assert crops.shape == (16, 224, 224, 3)
    assert crops.dtype == np.uint8
    assert np.array_equal(crops, calibration_crops(16))
    deviations = crops.astype(float).std(axis=(1, 2, 3))
    assert deviations.min() < 40
    assert deviations.max() > 60


def test_an_audit_widens_the_band_and_says_so() -> None:
    band = PrecisionBand(0.02, 0.01, 256, 2.0, 1, "bfloat16")
    audit = Audit(band, every=3)
    assert [audit.due() for _ in range(7)] == [True, False, False, True, False, False, True]
    exact = _hits([[0.5]], [[0.6]])
    audit.learn(_hits([[0.5]], [[0.605]]), exact)
    assert (audit.images, audit.held) == (1, True)
    assert audit.width == 0.02
    audit.learn(_hits([[0.5]], [[0.65]]), exact)
    assert not audit.held
    moved = (0.15 / 0.86 - 0.1 / 0.91) * 0.86  # the score's error, in units of a cosine
    assert audit.largest == pytest.approx(moved) and moved > 0.05
    assert audit.width == pytest.approx(2 * moved)


def _real_crops(count: int) -> tuple[np.ndarray, np.ndarray]:
    files = sorted((SHARED / "data" / "train").glob("*/*/*.jpg"))
    if not files:
        pytest.skip("the images of ../shared are not here")
    files = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:count]]
    crops = np.zeros((count, 224, 224, 3), np.uint8)
    for row, file in enumerate(files):
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))[:224, :224]
        crops[row, : pixels.shape[0], : pixels.shape[1]] = pixels
    return crops, np.array([file.parts[-3] == "fake" for file in files])


def test_labels_of_real_images_are_float32_s(deit: Path) -> None:
    """Every answer outside the band agrees; the rest are embedded again, so all agree."""
    crops, fake = _real_crops(360)
    reduced, exact = _embedders(read_checkpoint(deit))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        truth, approximate = exact.embed(crops), reduced.embed(crops[200:])
        gallery = BruteGallery(truth[:200], fake[:200])
        bands = {k: cosine_band(reduced, exact, gallery, k, calibration_crops(48)) for k in (1, 5)}
    finally:
        torch.set_num_threads(before)
    for k, band in bands.items():
        wanted = search_both(gallery, truth[200:], k)
        found = search_both(gallery, approximate, k)
        assert score_errors(found, wanted).max() > 0  # else nothing is tested
        middle = (k - 1) // 2  # most of k are fakes if and only if this fake beats this real
        margin = found.fake[:, middle] - found.real[:, middle]
        settled = np.abs(margin) > band.width
        assert 0.3 < settled.mean() < 1.0
        expected = wanted.fake[:, middle] > wanted.real[:, middle]
        assert np.array_equal((margin > 0)[settled], expected[settled])


def test_bfloat16_and_float32_agree_in_direction_on_drawn_pictures() -> None:
    reduced, exact = _embedders(draw_checkpoint(SMALL))
    crops = calibration_crops(12, seed=9)
    cosine = (_unit(reduced.embed(crops)) * _unit(exact.embed(crops))).sum(axis=1)
    assert cosine.min() > 0.999
    assert cosine.max() < 1  # bfloat16 was at work
