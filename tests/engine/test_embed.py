"""Embedding: the same vector in any company, batch, thread or slot."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding import embed
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.devices import require_precision
from code_forensics.engine.embedding.embed import (
    CpuRunner,
    Embedder,
    Forward,
    bfloat16_pays,
    bfloat16_unit,
)
from code_forensics.engine.embedding.embed_cuda import SlottedRunner
from code_forensics.engine.embedding.encoder import Encoder, fold_normalisation
from code_forensics.engine.embedding.fused import FusedEncoder, fusible
from code_forensics.engine.embedding.passes import (
    BFLOAT16_PASS,
    FLOAT32_PASS,
    pass_size,
    place_leaves_no_trace,
)
from code_forensics.engine.embedding.weights import build_encoder
from code_forensics.engine.errors import DeviceError

from tests.conftest import SMALL, draw_checkpoint

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def _crops(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_is_the_same_in_any_company_and_call(precision: str) -> None:
    embedder = Embedder(draw_checkpoint(SMALL), "cpu", precision)  # type: ignore[arg-type]
    crops = _crops(2 * BFLOAT16_PASS + 7)
    together = embedder.embed(crops)
    assert np.array_equal(together[::-1], embedder.embed(crops[::-1]))
    for row in (0, 3, len(crops) - 1):
        assert np.array_equal(together[row], embedder.embed(crops[row : row + 1])[0])
    assert embedder.embed(crops[:0]).shape == (0, SMALL.hidden_size)


def test_one_image_a_pass_where_its_place_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, num_hidden_layers=7)  # not asked for elsewhere, so not remembered
    whole = Encoder.forward

    def with_place(self: Encoder, images: torch.Tensor) -> torch.Tensor:
        place = torch.arange(len(images), dtype=torch.float32)[:, None]
        return whole(self, images) * (1 + place * 1e-7)

    monkeypatch.setattr(Encoder, "forward", with_place)
    assert pass_size(config, "float32") == 1
    monkeypatch.undo()
    place_leaves_no_trace.cache_clear()
    assert pass_size(config, "float32") in (1, FLOAT32_PASS)  # by this machine's products
    assert pass_size(config, "bfloat16") == BFLOAT16_PASS


def test_float32_does_not_depend_on_the_size_of_a_pass_or_on_threads(deit: Path) -> None:
    forward = Forward(build_encoder(read_checkpoint(deit)))
    crops = _crops(8)
    results = []
    before = torch.get_num_threads()
    try:
        for threads, size in ((1, 1), (1, 4), (1, 8), (2, 1)):
            torch.set_num_threads(threads)
            vectors = np.empty((len(crops), 192), np.float32)
            CpuRunner(forward, size)(crops, vectors)
            results.append(vectors)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert np.abs(results[0] - other).max() <= 1e-5
    assert np.array_equal(results[0], results[3])  # one thread or two, same bits


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_threads_share_an_embedder(precision: str) -> None:
    embedder = Embedder(draw_checkpoint(SMALL), "cpu", precision)  # type: ignore[arg-type]
    crops = _crops(24)
    expected = embedder.embed(crops)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(embedder.embed, np.split(crops, 8)))
    assert np.array_equal(np.concatenate(parts), expected)


def test_the_fused_pass_is_the_encoder_s_own() -> None:
    encoder = fold_normalisation(build_encoder(draw_checkpoint(SMALL))).to(torch.bfloat16)
    if not fusible(encoder):
        pytest.skip("this processor or torch has no fused products")
    exact = fold_normalisation(build_encoder(draw_checkpoint(SMALL)))
    images = torch.from_numpy(_crops(4)).permute(0, 3, 1, 2).float() - 128
    with torch.inference_mode():
        expected = exact(images)
        plain = encoder(images.bfloat16()).float()
        fused = FusedEncoder(encoder)(images.bfloat16()).float()
    scale = expected.abs().max()
    assert (fused - expected).abs().max() <= 1.5 * (plain - expected).abs().max()
    assert (fused - expected).abs().max() < 0.05 * scale


def test_without_fused_products_the_plain_pass_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, crops = draw_checkpoint(SMALL), _crops(3)
    with_them = Embedder(checkpoint, "cpu", "bfloat16").embed(crops)

    def refuse(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr("code_forensics.engine.embedding.fused._linear", refuse)
    encoder = build_encoder(checkpoint).to(torch.bfloat16)
    assert not fusible(encoder)
    without = Embedder(checkpoint, "cpu", "bfloat16").embed(crops)
    assert np.abs(with_them - without).max() < 0.1 * np.abs(without).max()


def test_a_precision_that_a_device_lacks_is_one_line() -> None:
    with pytest.raises(DeviceError, match="float16 is for CUDA") as caught:
        Embedder(draw_checkpoint(SMALL), "cpu", "float16")
    assert "bfloat16" in caught.value.hint
    require_precision("cpu", "bfloat16")


def test_bfloat16_pays_where_the_processor_says_so_or_a_product_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def pays(fast: bool, **known: bool) -> tuple[bool, str]:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
        monkeypatch.setattr(embed, "_product_is_faster", lambda: fast)
        return bfloat16_pays("cpu"), bfloat16_unit("cpu")

    assert pays(False, amx_bf16=True, avx512_bf16=True) == (True, "amx")
    assert pays(False, avx512_bf16=True) == (False, "avx512_bf16")  # slower than float32 there
    assert pays(True, avx512_bf16=True) == (True, "avx512_bf16")
    assert pays(True) == (False, "")


def test_products_are_compared_by_their_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    def linear(rows: torch.Tensor, _: torch.Tensor) -> None:
        time.sleep(0.001 if rows.dtype is fast else 0.004)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    fast = torch.bfloat16
    assert embed._product_is_faster()
    fast = torch.float32
    assert not embed._product_is_faster()


class FakeSlot:
    """A slot whose vectors are the crops' means; fails on a crop of 255s."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.means = np.empty(0)

    def start(self, crops: np.ndarray) -> None:
        assert self.busy.acquire(blocking=False), "two passes in one slot"
        self.means = crops.reshape(len(crops), -1).mean(axis=1)
        if (self.means == 255).any():
            self.busy.release()
            raise RuntimeError("out of memory")

    def finish(self, vectors: np.ndarray) -> None:
        vectors[:] = self.means[: len(vectors), None]
        self.busy.release()


def _small_crops(values: range) -> np.ndarray:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_slots_are_shared_by_threads_without_waiting_in_circles() -> None:
    runner = SlottedRunner([FakeSlot(), FakeSlot()], size=3)

    def call(first: int) -> bool:
        crops = _small_crops(range(first, first + 20))  # more passes than slots
        vectors = np.zeros((20, 1), np.float32)
        runner(crops, vectors)
        return np.array_equal(vectors[:, 0], np.arange(first, first + 20))

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(call, first % 200) for first in range(200)]
        assert all(result.result(timeout=60) for result in results)


def test_a_failing_pass_gives_its_slots_back() -> None:
    class Lenient(FakeSlot):
        def start(self, crops: np.ndarray) -> None:
            if self.busy.locked():  # dropped after an error, as a CUDA slot drops it
                self.busy.release()
            super().start(crops)

    runner = SlottedRunner([Lenient(), Lenient()], size=3)
    for _ in range(5):
        with pytest.raises(RuntimeError, match="out of memory"):
            runner(_small_crops(range(247, 256)), np.zeros((9, 1), np.float32))
    vectors = np.zeros((9, 1), np.float32)
    runner(_small_crops(range(9)), vectors)
    assert np.array_equal(vectors[:, 0], np.arange(9))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_cuda_vectors_are_the_same_in_any_company_and_thread(precision: str) -> None:
    embedder = Embedder(draw_checkpoint(SMALL), "cuda", precision)  # type: ignore[arg-type]
    crops = _crops(embedder.batch + 40)
    together = embedder.embed(crops)
    assert np.array_equal(together[::-1], embedder.embed(crops[::-1]))
    assert np.array_equal(together[[5]], embedder.embed(crops[[5]]))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(embedder.embed, np.array_split(crops, 7)))
    assert np.array_equal(np.concatenate(parts), together)


@pytest.mark.cuda
@needs_cuda
def test_cuda_float32_is_the_cpu_s(deit: Path) -> None:
    checkpoint, crops = read_checkpoint(deit), _crops(5)
    gap = Embedder(checkpoint, "cuda").embed(crops) - Embedder(checkpoint, "cpu").embed(crops)
    assert np.abs(gap).max() <= 1e-4
