"""Ready vectors that the tests of files and of commands share."""

import numpy as np
from code_forensics.index.importing.ready_vectors import (
    ReadyVectors,
    read_npz,
    read_safetensors,
    write_npz,
    write_safetensors,
)

from tests.conftest import SMALL

RNG = np.random.default_rng(2)
D = SMALL.hidden_size
VECTORS = RNG.standard_normal((40, D)).astype(np.float32)
LABELS = np.tile([0, 1, 1, 1, 1], 8)
READY = ReadyVectors(
    VECTORS,
    tuple("fake" if label else "real" for label in LABELS),
    tuple(f"g{n % 3}" if label else "" for n, label in enumerate(LABELS)),
    tuple("=cmd()\x1b[31m\u202e é"[: n % 15] for n in range(40)),
    "e" * 64,
    "p/1",
)
FORMATS = [(write_npz, read_npz, "a.npz"), (write_safetensors, read_safetensors, "a.safetensors")]


def same(one: ReadyVectors, two: ReadyVectors) -> bool:
    return np.array_equal(one.vectors, two.vectors) and all(
        getattr(one, name) == getattr(two, name)
        for name in ("labels", "generators", "sources", "encoder", "preprocessing")
    )
