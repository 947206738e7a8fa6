"""Hostile files in the place of scikit-learn's: nothing runs, nothing grows, nothing escapes."""

import importlib
import io
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.sklearn_files import (
    KNeighbors,
    LinearModel,
    OneClassSvm,
    read_sklearn,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.index.sklearn_samples import (
    FIXTURES,
    MODELS,
    dumped,
    fitted,
)

_audit: list[list[str]] = []


def _record(event: str, args: object) -> None:
    for events in _audit:
        events.append(event)


@pytest.fixture(scope="module")
def _hook() -> None:
    sys.addaudithook(_record)  # there is no way to remove one; it does nothing outside of a test


@pytest.fixture
def audited(_hook: None) -> Iterator[list[str]]:
    """Imports, files, processes, code and pickle globals that the interpreter sees in a test."""
    _audit.append([])
    yield _audit[-1]
    _audit.clear()


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def _malicious() -> list[bytes]:
    payloads: list[bytes] = []
    hidden = fitted("knn")
    hidden.metric_params = _Call(os.system, "touch pwned")
    for protocol in range(2, 6):
        payloads += [
            pickle.dumps(_Call(os.system, "touch pwned"), protocol),
            pickle.dumps(_Call(eval, "open('pwned', 'w')"), protocol),
            pickle.dumps(_Call(getattr, _Call(importlib.import_module, "os"), "system"), protocol),
            pickle.dumps(_Call(pickle.loads, pickle.dumps(_Call(os.system, "true"))), protocol),
            pickle.dumps(_Call(np.load, "x.npy"), protocol),
            pickle.dumps(_Call(open, "pwned", "w"), protocol),
            pickle.dumps(hidden, protocol),
            dumped(hidden, 0, protocol),
        ]
    payloads += [
        b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.",
        b"\x80\x02c__builtin__\nexec\nX\x04\x00\x00\x00pass\x85R.",
        b"(S'touch pwned'\nios\nsystem\n.",  # INST
        b"\x80\x02(cos\nsystem\nX\x04\x00\x00\x00true" + b"o.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02Pabc\n.",  # PERSID
        b"\x80\x02K\x01Q.",  # BINPERSID
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.",
        b"\x80\x04\x8c\x0enumpy.f2py.foo\x8c\x06system\x93)R.",
        b"\x80\x02csklearn.neighbors._classification\nKNeighborsClassifier\n)R.",
        b"\x80\x02csklearn.neighbors._classification\nKNeighborsClassifier\nK\x01\x85\x81.",
        b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        b"\x80\x04\x8c\x0bos\ncposix\nsys\x8c\x03a b\x93.",
    ]
    return payloads


@pytest.mark.parametrize("payload", _malicious(), ids=lambda payload: f"{zlib.crc32(payload):08x}")
def test_malicious_pickles_do_nothing(payload: bytes, audited: list[str]) -> None:
    audited.clear()
    with pytest.raises(FileFormatError, match=r"refused|not a joblib"):
        try:
            read_sklearn(payload)
        finally:
            events = audited[:]
    assert events == []


def test_the_audit_sees_what_pickle_would_do(audited: list[str]) -> None:
    pickle.loads(pickle.dumps(_Call(os.system, "true")))
    assert {"pickle.find_class", "os.system"} <= set(audited)


def _bombs() -> dict[str, bytes]:
    knn = b"\x80\x04csklearn.neighbors._classification\nKNeighborsClassifier\n)\x81}"
    # Each tuple holds the one before it twice: hashing or printing the last takes for ever.
    laugh = b")\x940" + b"".join(bytes([0x68, i, 0x68, i, 0x86, 0x94, 0x30]) for i in range(250))
    laugh += bytes([0x68, 250])
    big_array = (
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}("
        b"\x8c\x08subclasscnumpy\nndarray\n"
        b"\x8c\x05shape\x8a\x06\x00\x00\x00\x00\x00\x10\x85"
        b"\x8c\x05order\x8c\x01C"
        b"\x8c\x05dtypecnumpy\ndtype\n\x8c\x02f8\x85R"
        b"ub" + b"\0" * 100 + b"."
    )
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    return {
        "shared tuples as a dict key": knn + laugh + b"Ns.",
        "shared tuples as a name": b"\x80\x04" + laugh + b"\x94h\x00\x93.",
        "shared tuples as a dtype": b"\x80\x04cnumpy\ndtype\n" + laugh + b"\x85R.",
        "an array of a petabyte": big_array,
        "text of 4 GiB": b"\x80\x04X\xff\xff\xff\xffabc.",
        "bytes of 16 EiB": b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        "an integer of 2 GiB": b"\x80\x04\x8b\xff\xff\xff\x7fabc.",
        "empty dicts without end": b"\x80\x04" + b"}" * 5_000_000 + b".",
        "marks without end": b"\x80\x04" + b"(" * 5_000_000 + b"t.",
        "deep tuples": b"\x80\x04)" + b"\x85" * 5_000_000 + b".",
        "the same text encoded again": b"\x80\x04c_codecs\nencode\n\x94"
        + text
        + b"\x94"
        + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 500
        + b".",
    }


@pytest.mark.parametrize("name", _bombs())
def test_bombs_are_refused_in_little_memory(name: str) -> None:
    data = _bombs()[name]
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError):
            read_sklearn(data)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_compression_bombs_are_refused(method: str) -> None:
    zeros = io.BytesIO()
    joblib.dump(np.zeros(64 << 20, np.uint8), zeros, compress=(method, 1))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="decompresses to more"):
            read_sklearn(zeros.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_size_limit_holds_before_and_after_decompression() -> None:
    data = dumped(MODELS["knn"])
    with pytest.raises(FileFormatError, match="larger"):
        read_sklearn(data, max_bytes=len(data) - 1)
    with pytest.raises(FileFormatError, match="decompresses"):
        read_sklearn(dumped(MODELS["knn"], 9), max_bytes=len(data) - 1)
    assert read_sklearn(data, max_bytes=len(data))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("ocsvm", "coef0", 2**100),
        ("ocsvm", "degree", 2**100),
        ("ocsvm", "_gamma", float("nan")),
        ("linear", "classes_", np.frombuffer(b"\xff\xff\xff\x7f" * 2, "<U1")),
        ("linear", "classes_", np.frombuffer(b"\x00\x11\x00\x00" * 2, ">U1")),
        ("knn", "classes_", np.frombuffer(b"\xff\xff\xff\x7f" * 2, "<U1")),
        ("knn", "n_neighbors", 2**100),
    ],
)
def test_values_that_no_classifier_has_are_refused(kind: str, name: str, value: object) -> None:
    model = fitted(kind)
    setattr(model, name, value)
    for data in (pickle.dumps(model, 4), dumped(model)):
        with pytest.raises(FileFormatError):
            read_sklearn(data)


def test_a_scalar_of_no_text_is_refused() -> None:
    model = fitted("ocsvm")
    model.kernel = np.array("\ud800", "<U1")[()]
    data = pickle.dumps(model, 4).replace(b"\x00\xd8\x00\x00", b"\xff\xff\xff\x7f")
    assert b"\xff\xff\xff\x7f" in data
    with pytest.raises(FileFormatError):
        read_sklearn(data)


SEEDS = [
    *(dumped(model) for model in MODELS.values()),
    *(pickle.dumps(model, 5) for model in MODELS.values()),
    pickle.dumps(MODELS["ocsvm"], 2),
    dumped(MODELS["linear"], 3),
    *(path.read_bytes() for path in FIXTURES.glob("*.sav")),
]


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def check_never_fails(data: bytes) -> None:
    try:
        model = read_sklearn(data)
    except FileFormatError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 300
    else:
        assert isinstance(model, KNeighbors | LinearModel | OneClassSvm)


mutations = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 8),
        st.binary(max_size=8) | st.sampled_from(OPCODES),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(SEEDS), mutations, st.floats(0, 1))
@example(SEEDS[0], [(0.0, 0, b"")], 0.5)
def test_mutated_files_are_read_or_refused(
    seed: bytes, edits: list[tuple[float, int, bytes]], keep: float
) -> None:
    data = bytearray(seed)
    for place, removed, added in edits:
        at = int(place * len(data))
        data[at : at + removed] = added
    check_never_fails(bytes(data))
    check_never_fails(bytes(data[: int(keep * len(data))]))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(OPCODES) | st.binary(max_size=5), max_size=40))
def test_random_programs_are_refused(program: list[bytes]) -> None:
    check_never_fails(b"\x80\x04" + b"".join(program) + b".")
