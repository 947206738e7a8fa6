"""FAISS on a GPU: the CPU's rows, or none; the GPU's part is played by a stand-in."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from code_forensics.index.searching import gpu_search as gpu_search_module
from code_forensics.index.searching import vectors
from code_forensics.index.searching.gpu_search import MAX_K, GpuSearch, try_elsewhere
from code_forensics.index.searching.gpu_search import gpu_search as searching
from code_forensics.index.searching.vectors import VectorIndex


def gpu_search(module: object, flat: object) -> GpuSearch | None:
    """With a trial that went well."""
    return searching(module, flat, lambda: "")


class StandIn:
    """A module like faiss-gpu whose GPU index is the CPU's, and notices two searches at once."""

    def __init__(self, gpus: int = 1, memory: bool = True) -> None:
        self.gpus, self.memory, self.fails, self.inside, self.scratch = gpus, memory, False, 0, 0
        self.StandardGpuResources = lambda: SimpleNamespace(setTempMemory=self.reserve)

    def get_num_gpus(self) -> int:
        return self.gpus

    def reserve(self, size: int) -> None:
        self.scratch = size

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.inside += 1
        assert self.inside == 1
        yield
        self.inside -= 1

    def index_cpu_to_gpu_multiple_py(
        self, resources: list[object], flat: object, options: SimpleNamespace
    ) -> object:
        assert options.shard and len(resources) == self.gpus
        parts = faiss.IndexShards(flat.d, False, True)
        vectors = flat.reconstruct_n(0, flat.ntotal)
        self.parts = []
        for part in np.array_split(vectors, self.gpus):
            self.parts.append(faiss.IndexFlatIP(flat.d))
            self.parts[-1].add(part)
            parts.add_shard(self.parts[-1])
        return parts

    def GpuMultipleClonerOptions(self) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(shard=False)

    def index_cpu_to_gpu(self, resources: object, device: int, flat: object) -> object:
        if not self.memory:
            raise RuntimeError("cudaMalloc: out of memory")
        copy = faiss.clone_index(flat)

        def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            if self.fails:
                raise RuntimeError("CUDA error 2")
            with self.alone():
                return copy.search(queries, k)

        return SimpleNamespace(search=search)


@pytest.fixture
def flat() -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(16)
    index.add(_units(500, 0))
    return index


def _units(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("gpus", [1, 3])
def test_rows_are_numpy_s(flat: faiss.IndexFlatIP, gpus: int) -> None:
    queries = _units(20, 1)
    module = StandIn(gpus)
    search = gpu_search(module, flat)
    assert search is not None
    rows = search.rows(queries, 5)
    expected = np.argsort(-(queries @ _units(500, 0).T), axis=1)[:, :5]
    assert np.array_equal(rows, expected)
    assert 0 < module.scratch < 1 << 30


def test_threads_take_turns(flat: faiss.IndexFlatIP) -> None:
    search = gpu_search(StandIn(), flat)
    assert search is not None
    queries = _units(64, 2)
    expected = search.rows(queries, 3)
    assert expected is not None
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda part: search.rows(part, 3), np.split(queries, 16)))
    assert np.array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("module", [faiss, StandIn(gpus=0), StandIn(memory=False)])
def test_no_gpu_no_search(module: object, flat: faiss.IndexFlatIP) -> None:
    if module is faiss and getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("there is a GPU")
    assert gpu_search(module, flat) is None


def test_faiss_without_kernels_for_the_gpu_searches_on_the_cpu(
    flat: faiss.IndexFlatIP, caplog: pytest.LogCaptureFixture
) -> None:
    assert searching(StandIn(), flat, lambda: "CUDA error 209 no kernel image") is None
    assert "FAISS cannot search on this GPU (CUDA error 209 no kernel image)" in caplog.text


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        ("pass", ""),
        ("import os, sys; sys.stderr.write('x\\nCUDA error 209\\n'); os.abort()", "CUDA error 209"),
        ("import os; os._exit(3)", "a trial ended with 3"),
        ("import time; time.sleep(60)", "timed out"),
    ],
)
def test_a_trial_in_another_process_may_be_lost(
    trial: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_search_module, "_TRIAL", trial)
    monkeypatch.setattr(gpu_search_module, "_TRIAL_SECONDS", 2.0)
    found = try_elsewhere.__wrapped__()
    assert reason in found if reason else not found


def test_the_trial_itself_runs() -> None:
    """Without a GPU it has none to search on; what it calls before is FAISS's own."""
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        pytest.skip("there is a GPU")
    found = try_elsewhere.__wrapped__()
    assert not found or "get_num_gpus" in found  # faiss-cpu may not know the word


def test_what_a_gpu_cannot_do_is_left_to_the_cpu(flat: faiss.IndexFlatIP) -> None:
    module = StandIn()
    search = gpu_search(module, flat)
    assert search is not None
    assert search.rows(_units(2, 3), MAX_K + 1) is None
    assert search.rows(_units(2, 3), 600) is None  # more than there are: FAISS fills up with -1
    module.fails = True
    assert search.rows(_units(2, 3), 5) is None


def test_an_index_answers_the_same_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    index, module = VectorIndex(16), StandIn()
    monkeypatch.setattr(vectors, "gpu_search", lambda _, flat: gpu_search(module, flat))
    assert not index.use_gpu()  # nothing is to be copied
    index.add(np.arange(500), _units(500, 0))
    queries = _units(40, 5) * 3
    keys, cosines = index.search(queries, 5)
    assert index.use_gpu()
    asked = []
    rows = GpuSearch.rows
    monkeypatch.setattr(GpuSearch, "rows", lambda *given: asked.append(1) or rows(*given))
    for _ in range(2):  # by the GPU, then without it: it fails
        again, same = index.search(queries, 5)
        assert np.array_equal(again, keys) and np.array_equal(same, cosines)
        module.fails = True
    assert len(asked) == 2
    index.add(np.array([500]), queries[:1])  # the copy would not know it
    assert index.search(queries[:1], 1)[0][0, 0] == 500 and len(asked) == 2


@pytest.mark.cuda
def test_a_real_gpu_gives_the_cpu_s_rows(flat: faiss.IndexFlatIP) -> None:
    search = searching(faiss, flat)
    if search is None:
        pytest.skip("needs faiss-gpu and a GPU")
    queries = _units(20, 4)
    assert np.array_equal(search.rows(queries, 5), flat.search(queries, 5)[1])
