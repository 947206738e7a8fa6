"""Every file is also read by joblib or answered by scikit-learn, the independent judges here.

The fixtures were written by scikit-learn 1.0, 1.3, 1.5 and 1.7 on six-dimensional vectors, and
``sklearn_expected.json`` holds what those versions answered for nine queries.
"""

import importlib
import io
import json
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from code_forensics.engine.heads import Kernel, KernelKind, linear_decision, one_class_decision
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.sklearn_files import (
    KNeighbors,
    LinearModel,
    OneClassSvm,
    read_sklearn,
    read_sklearn_file,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

FIXTURES = Path(__file__).parent / "fixtures"
EXPECTED = json.loads((FIXTURES / "sklearn_expected.json").read_text())

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((40, 8)).astype(np.float32)
LABELS = (np.arange(40) % 5 != 0).astype(np.int64)
QUERIES = RNG.standard_normal((30, 8))


def fitted(kind: str) -> Any:
    match kind:
        case "knn":
            return KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(VECTORS, LABELS)
        case "linear":
            model = LogisticRegression(C=0.316, class_weight="balanced", random_state=1)
            return model.fit(VECTORS.astype(np.float64), LABELS)
        case "ocsvm":
            model = OneClassSVM(kernel="poly", gamma="auto", nu=0.1)
            return model.fit(VECTORS[LABELS == 0])
    raise AssertionError(kind)


MODELS = {kind: fitted(kind) for kind in ("knn", "linear", "ocsvm")}


def dumped(model: object, compress: object = 0, protocol: int | None = None) -> bytes:
    out = io.BytesIO()
    joblib.dump(model, out, compress=compress, protocol=protocol)
    return out.getvalue()


def answers(model: object, queries: np.ndarray) -> np.ndarray:
    """What the read classifier says, computed apart from scikit-learn."""
    if isinstance(model, KNeighbors):
        assert model.metric == "cosine"
        unit = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
        return model.labels[(queries @ unit.T).argmax(1)]
    if isinstance(model, LinearModel):
        return linear_decision(queries, model.coef, model.intercept)
    assert isinstance(model, OneClassSvm)
    kernel = Kernel(KernelKind(model.kernel), model.gamma, model.coef0, model.degree)
    return one_class_decision(
        queries, model.support_vectors, model.dual_coef, model.intercept, kernel
    )


def sklearn_answers(model: Any, queries: np.ndarray) -> np.ndarray:
    knn = isinstance(model, KNeighborsClassifier)
    return model.predict(queries) if knn else model.decision_function(queries)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("writer", ["joblib", "pickle"])
def test_installed_versions_at_every_protocol(kind: str, protocol: int, writer: str) -> None:
    model = MODELS[kind]
    data = dumped(model, 0, protocol) if writer == "joblib" else pickle.dumps(model, protocol)
    np.testing.assert_allclose(
        answers(read_sklearn(data), QUERIES), sklearn_answers(model, QUERIES), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_compressed_files(kind: str, method: str) -> None:
    data = dumped(MODELS[kind], (method, 3))
    np.testing.assert_array_equal(
        answers(read_sklearn(data), QUERIES),
        answers(read_sklearn(dumped(MODELS[kind])), QUERIES),
    )
    with pytest.raises(FileFormatError, match=r"too early|damaged"):
        read_sklearn(data[:-9])
    with pytest.raises(FileFormatError, match=r"continues|damaged"):
        read_sklearn(data + b"more")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.sav")), ids=lambda path: path.stem)
def test_files_of_other_versions(path: Path) -> None:
    kind, version = path.stem.split("-")[:2]
    model = read_sklearn_file(path)
    assert model.sklearn_version == version.removeprefix("sklearn")
    # float32 queries are what those versions were asked, so the linear head rounds to float32.
    np.testing.assert_allclose(
        answers(model, np.array(EXPECTED["queries"])), EXPECTED[f"{kind}-{version}"], atol=1e-6
    )


def test_every_fixture_is_there() -> None:
    assert len(list(FIXTURES.glob("*.sav"))) == 12


@pytest.mark.parametrize("kernel", ["linear", "poly", "rbf", "sigmoid"])
def test_every_kernel_equals_scikit_learn(kernel: str) -> None:
    model = OneClassSVM(kernel=kernel, gamma="scale", coef0=0.5, degree=2, nu=0.3).fit(VECTORS)
    decision = answers(read_sklearn(dumped(model)), QUERIES)
    np.testing.assert_allclose(decision, model.decision_function(QUERIES), rtol=1e-9, atol=1e-9)
    assert ((decision > 0) == (model.predict(QUERIES) == 1)).all()


def test_blocks_of_queries_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_sklearn(dumped(MODELS["ocsvm"]))
    whole = answers(model, QUERIES)
    monkeypatch.setattr("code_forensics.engine.heads._BLOCK", 17)
    np.testing.assert_allclose(answers(model, QUERIES), whole, rtol=1e-12)
    assert answers(model, QUERIES[:0]).shape == (0,)


def test_gallery_keeps_vectors_and_labels() -> None:
    model = read_sklearn(dumped(MODELS["knn"]))
    assert isinstance(model, KNeighbors)
    assert model.vectors.dtype == np.float32
    np.testing.assert_array_equal(model.vectors, VECTORS)
    np.testing.assert_array_equal(model.labels, LABELS)
    assert model.n_neighbors == 1


def test_text_labels_fortran_order_and_foreign_byte_order() -> None:
    words = np.where(LABELS == 1, "fake", "real")
    model = KNeighborsClassifier(n_neighbors=3, metric="cosine")
    model.fit(np.asfortranarray(VECTORS), words)
    model._fit_X = np.asfortranarray(model._fit_X).astype(">f4")
    for data in (dumped(model), pickle.dumps(model, 2), pickle.dumps(model, 5)):
        read = read_sklearn(data)
        assert isinstance(read, KNeighbors)
        assert read.vectors.dtype.isnative
        np.testing.assert_array_equal(read.vectors, VECTORS)
        np.testing.assert_array_equal(read.labels, words)


def test_one_class_is_positive_for_what_it_was_fitted_on() -> None:
    real = RNG.standard_normal((200, 4)) * 0.1 + 1
    model = read_sklearn(dumped(OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(real)))
    assert (answers(model, real) > 0).mean() > 0.8
    assert (answers(model, real * 0.1) < 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_fit_X": np.full((40, 8), np.nan)}, "_fit_X"),
        ({"_fit_X": VECTORS[:0]}, "no vectors"),
        ({"_fit_X": VECTORS[0]}, "_fit_X"),
        ({"_fit_X": "text"}, "_fit_X"),
        ({"_y": LABELS[:3]}, "one label"),
        ({"_y": LABELS + 7}, "none of its classes"),
        ({"_y": LABELS - 1}, "none of its classes"),
        ({"_y": LABELS.astype(float)}, "_y"),
        ({"n_neighbors": 0}, "neighbours"),
        ({"n_neighbors": True}, "n_neighbors"),
        ({"n_neighbors": 41}, "neighbours"),
        ({"weights": "distance"}, "vote equally"),
        ({"metric": None}, "metric"),
        ({"classes_": np.array(["real", "fake"], object)}, "array type"),
    ],
    ids=str,
)
def test_unusable_galleries_are_refused(change: dict[str, object], message: str) -> None:
    model = fitted("knn")
    vars(model).update(change)
    for data in (dumped(model), pickle.dumps(model)):
        with pytest.raises(FileFormatError, match=message):
            read_sklearn(data)


def test_unusable_heads_are_refused() -> None:
    three = LogisticRegression().fit(VECTORS, np.arange(40) % 3)
    with pytest.raises(FileFormatError, match="two classes"):
        read_sklearn(dumped(three))
    with pytest.raises(FileFormatError, match="not fitted"):
        read_sklearn(dumped(LogisticRegression()))
    other = fitted("ocsvm")
    other._dual_coef_ = other._dual_coef_[:, 1:]
    with pytest.raises(FileFormatError, match="fit together"):
        read_sklearn(dumped(other))
    other = fitted("ocsvm")
    other.kernel = "precomputed"
    with pytest.raises(FileFormatError, match="kernels"):
        read_sklearn(dumped(other))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no joblib"),
        (b"hello", "no joblib"),
        (b"ZF0x10", "no joblib"),
        (b"\x04\x22\x4d\x18rest", "lz4"),
        (pickle.dumps({"a": 1}), "no estimator"),
        (pickle.dumps([1, 2], 0), "no joblib"),
        (pickle.dumps(np.arange(3)), "no estimator"),
        (pickle.dumps(np.zeros(3, "M8[s]")), "array type"),
        (pickle.dumps(np.zeros(3, [("a", "f4")])), "array type"),
        (pickle.dumps(b"x") + b"tail", "continues"),
        (b"\x80\x05.", "damaged"),
        (b"\x80\x06N.", "protocol"),
        (b"\x80\x04(.", "no estimator"),
        (b"\x80\x04]", "ends inside"),
    ],
    ids=repr,
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        read_sklearn(data)
    assert str(caught.value).isprintable()


def test_a_name_of_the_widest_escapes_makes_no_long_message() -> None:
    wide = ("\U000e0001" * 60).encode()
    for program in (
        b"c" + wide + b"\nsystem\n.",
        b"cnumpy\ndtype\nX" + struct.pack("<I", len(wide)) + wide + b"\x85R.",
    ):
        with pytest.raises(FileFormatError, match="refused") as caught:
            read_sklearn(b"\x80\x04" + program)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_missing_file_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot read"):
        read_sklearn_file(tmp_path / "none.sav")


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
    with pytest.raises(FileFormatError, match=r"refused|no joblib"):
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
