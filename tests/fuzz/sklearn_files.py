"""Fuzzes the joblib reader, by hand: ``python -m tests.fuzz.sklearn_files --seconds 300``.

Mutations know the format: opcodes, lengths, names, spliced halves of other inputs, and compression
around the result. Every input gives a classifier or a :class:`FileFormatError` with a printable,
short message; nothing is imported, opened, executed or compiled.
"""

import pickle
import pickletools
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing import inert_arrays, inert_pickle, sklearn_files
from code_forensics.index.importing.sklearn_files import read_sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

from tests.fuzz.guided import Target, fuzz

FIXTURES = Path(__file__).parents[1] / "index" / "fixtures"
TOKENS = [
    *(opcode.code.encode("latin-1") for opcode in pickletools.opcodes),
    *(b"numpy\ndtype\n", b"numpy\nndarray\n", b"posix\nsystem\n", b"_codecs\nencode\n"),
    *(b"joblib.numpy_pickle\nNumpyArrayWrapper\n", b"latin1", b"f8", b"<", b"O", b"V8"),
    *(b"shape", b"order", b"subclass", b"dtype", b"allow_mmap", b"numpy_array_alignment_bytes"),
    *(struct.pack("<I", n) for n in (0, 1, 255, 0x7FFFFFFF, 0xFFFFFFFF)),
    *(struct.pack("<Q", n) for n in (0, 1 << 31, 1 << 62, (1 << 64) - 1)),
]


def seeds() -> list[bytes]:
    """Files of other versions, and the three estimators at every protocol."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((12, 4)), np.arange(12) % 2
    models: list[Any] = [
        KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(vectors, labels),
        LogisticRegression().fit(vectors, labels),
        OneClassSVM(kernel="poly").fit(vectors),
    ]
    found = [path.read_bytes() for path in sorted(FIXTURES.glob("*.sav"))]
    return found + [pickle.dumps(model, protocol) for model in models for protocol in range(2, 6)]


def check(data: bytes) -> None:
    """One input: a classifier, or a well-behaved refusal."""
    try:
        read_sklearn(data)
    except FileFormatError as error:
        text = str(error)
        if not text.isprintable() or len(text) > 300:
            raise AssertionError(f"unfit message of {len(text)} characters") from error


def target() -> Target:
    """The joblib reader."""
    return Target(
        check,
        seeds(),
        (inert_arrays, inert_pickle, sklearn_files),
        TOKENS,
        wrap=lambda data: zlib.compress(data, 1),
        suffix="sav",
    )


if __name__ == "__main__":
    sys.exit(fuzz(target(), __doc__ or ""))
