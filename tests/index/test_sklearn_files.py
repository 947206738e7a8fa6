"""Every file is also read by joblib or answered by scikit-learn, the independent judges here.

The fixtures were written by scikit-learn 1.0, 1.3, 1.5 and 1.7 on six-dimensional vectors, and
``sklearn_expected.json`` holds what those versions answered for nine queries."""

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.errors import FileFormatError
from code_forensics.index.importing.sklearn_files import (
    KNeighbors,
    read_sklearn,
    read_sklearn_file,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

from tests.index.sklearn_samples import (
    FIXTURES,
    LABELS,
    MODELS,
    QUERIES,
    RNG,
    VECTORS,
    answers,
    dumped,
    fitted,
    sklearn_answers,
)

EXPECTED = json.loads((FIXTURES / "sklearn_expected.json").read_text())


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
        (b"", "not a joblib"),
        (b"hello", "not a joblib"),
        (b"ZF0x10", "not a joblib"),
        (b"\x04\x22\x4d\x18rest", "lz4"),
        (pickle.dumps({"a": 1}), "no estimator"),
        (pickle.dumps([1, 2], 0), "not a joblib"),
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
