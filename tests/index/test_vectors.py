"""The flat index: who searches with how many threads, and by which products."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import faiss
import numpy as np
import pytest
from code_forensics.index.searching import vectors
from code_forensics.index.searching.vectors import SPLIT, VectorIndex


class Spy:
    """A FAISS index that notes the threads it may use."""

    def __init__(self, flat: object) -> None:
        self._flat = flat
        self.threads: list[int] = []

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.threads.append(faiss.omp_get_max_threads())
        return self._flat.search(queries, k)  # type: ignore[attr-defined,no-any-return]


def _in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_only_large_calls_of_the_main_thread_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0).normal(size=(SPLIT, 8)).astype(np.float32)
    index = VectorIndex(8)
    index.add(np.arange(SPLIT), drawn)
    spy = Spy(index._flat)
    monkeypatch.setattr(index, "_flat", spy)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        whole = index.search(drawn, 3)
        small = index.search(drawn[:16], 3)
        _in_thread(lambda: index.search(drawn, 3))
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
    assert spy.threads == [3, 1, 1]
    for one, other in zip(small, whole, strict=True):
        assert np.array_equal(one, other[:16])


_LOADS = """
import os
from code_forensics.index.searching import vectors
before = dict(os.environ)
seen = []
real = vectors._newest
vectors._newest = lambda features: seen.append(dict(features)) or real(features)
vectors.faiss_module()
assert dict(os.environ) == before
print(len(seen), bool(seen and seen[0]))
"""


def test_faiss_is_told_of_the_processor_and_the_environment_is_left_alone() -> None:
    clean = {name: value for name, value in os.environ.items() if name != vectors._CORE}
    for environment, expected in (
        (clean, "1 True"),
        ({**clean, vectors._CORE: "Nehalem"}, "0 False"),
    ):
        command = [sys.executable, "-c", _LOADS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


@pytest.mark.parametrize(
    ("features", "core"),
    [
        ({"AVX512_SKX": True, "AVX2": True, "FMA3": True}, "SKYLAKEX"),
        ({"AVX512_SKX": False, "AVX2": True, "FMA3": True}, "HASWELL"),
        ({"AVX2": True, "FMA3": False}, None),
        ({}, None),
    ],
)
def test_the_newest_products_are_chosen(features: dict[str, bool], core: str | None) -> None:
    assert vectors._newest(features) == core
