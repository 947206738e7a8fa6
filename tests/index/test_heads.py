"""Classifiers beside nearest neighbours: answers against scikit-learn, storage, damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from code_forensics.cli.import_export import head_of
from code_forensics.engine.errors import CheckpointError
from code_forensics.engine.heads import Kernel, KernelKind
from code_forensics.engine.judging.heads import (
    HeadAnswer,
    HeadKind,
    LinearHead,
    SvmHead,
    judged_by_head,
    read_head,
)
from code_forensics.engine.judging.judgement import Judgement
from code_forensics.engine.results import Label, Neighbour, Verdict
from code_forensics.index.errors import FileFormatError, WorkspaceError
from code_forensics.index.importing.sklearn_files import LinearModel, OneClassSvm, read_sklearn
from code_forensics.index.workspace import Workspace
from safetensors.numpy import load, save
from sklearn.linear_model import LogisticRegression
from sklearn.svm import OneClassSVM

from tests.index.test_sklearn_files import dumped

RNG = np.random.default_rng(4)
FITTED = RNG.standard_normal((200, 12)).astype(np.float32)
LABELS = (np.arange(200) % 5 != 0).astype(np.int64)
FITTED[LABELS == 1, :3] += 0.8
QUERIES = RNG.standard_normal((300, 12)).astype(np.float32) * 1.5
LOGISTIC = LogisticRegression(C=0.316, class_weight="balanced").fit(
    FITTED.astype(np.float64), LABELS
)


def read(model: object) -> LinearHead | SvmHead:
    loaded = read_sklearn(dumped(model))
    assert isinstance(loaded, LinearModel | OneClassSvm)
    return head_of(loaded, Path("head.sav"))


def words(answers: list[HeadAnswer]) -> list[str]:
    return [str(answer.label) for answer in answers]


def test_linear_answers_equal_scikit_learn() -> None:
    answers = read(LOGISTIC).decide(QUERIES)
    wide = QUERIES.astype(np.float64)
    expected = ["fake" if label else "real" for label in LOGISTIC.predict(wide)]
    assert words(answers) == expected and set(expected) == {"real", "fake"}
    np.testing.assert_allclose(
        [a.score for a in answers], LOGISTIC.decision_function(wide), rtol=1e-9
    )
    np.testing.assert_allclose(
        [a.p_fake for a in answers], LOGISTIC.predict_proba(wide)[:, 1], rtol=1e-9
    )


def test_a_linear_file_whose_second_class_is_real_is_turned() -> None:
    texts = np.where(LABELS == 1, "fake", "real")  # in alphabetical order, fake comes first
    model = LogisticRegression().fit(FITTED.astype(np.float64), texts)
    assert model.classes_.tolist() == ["fake", "real"]
    answers = read(model).decide(QUERIES)
    assert words(answers) == model.predict(QUERIES.astype(np.float64)).tolist()
    decision = model.decision_function(QUERIES.astype(np.float64))
    np.testing.assert_allclose([a.score for a in answers], -decision, rtol=1e-9)


def test_a_linear_file_of_other_classes_is_refused() -> None:
    model = LogisticRegression().fit(FITTED, np.where(LABELS == 1, "dog", "cat"))
    with pytest.raises(FileFormatError, match="not real and fake"):
        read(model)


@pytest.mark.parametrize("kernel", ["poly", "rbf", "linear", "sigmoid"])
def test_svm_answers_equal_scikit_learn(kernel: str) -> None:
    svm = OneClassSVM(kernel=kernel, gamma="auto", nu=0.1, coef0=0.3).fit(FITTED[LABELS == 0])
    answers = read(svm).decide(QUERIES)
    assert words(answers) == ["real" if inside == 1 else "fake" for inside in svm.predict(QUERIES)]
    np.testing.assert_allclose(
        [-a.score for a in answers], svm.decision_function(QUERIES), rtol=1e-9, atol=1e-12
    )
    assert {a.p_fake for a in answers} == {None}


def test_an_inlier_of_the_svm_is_real() -> None:
    """The published demo prints it the other way round."""
    reals = (RNG.standard_normal((300, 6)) * 0.1 + 1).astype(np.float32)
    head = read(OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(reals))
    assert words(head.decide(reals)).count("real") > 240
    assert set(words(head.decide(reals * 0.1))) == {"fake"}


@pytest.mark.parametrize("kind", ["linear", "svm"])
def test_an_answer_depends_on_its_own_vector_alone(kind: str) -> None:
    head = HEADS[kind]
    together = head.decide(QUERIES)
    assert together == [head.decide(query[None])[0] for query in QUERIES]
    assert together[::-1] == head.decide(QUERIES[::-1])
    assert head.decide(QUERIES[:0]) == []


def test_extreme_scores_have_probabilities() -> None:
    head = LinearHead(np.array([1.0]), 0.0)
    answers = head.decide(np.array([[-1e30], [-800.0], [0.0], [800.0], [1e30]], np.float32))
    assert [a.p_fake for a in answers] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert [a.label for a in answers] == [Label.REAL] * 3 + [Label.FAKE] * 2


def heads() -> dict[str, LinearHead | SvmHead]:
    svm = OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(FITTED[LABELS == 0])
    return {"linear": read(LOGISTIC), "svm": read(svm)}


HEADS = heads()


@pytest.mark.parametrize("kind", ["linear", "svm"])
def test_the_stored_form_gives_the_same_head(kind: str) -> None:
    data = HEADS[kind].to_bytes()
    again = read_head(data, "test")
    assert again.kind == kind and again.dimension == 12
    assert again.decide(QUERIES) == HEADS[kind].decide(QUERIES)
    assert again.to_bytes() == data
    assert {tensor.dtype.kind for tensor in load(data).values()} <= {"f", "i"}


def described(description: object, **tensors: np.ndarray) -> bytes:
    return save(tensors, {"head": json.dumps(description)})


ONE = np.ones(1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\xff" * 30,
        HEADS["svm"].to_bytes()[:-8],
        save({"coef": np.ones(3), "intercept": ONE}),
        save({"coef": np.ones(3), "intercept": ONE}, {"head": "[1]"}),
        save({"coef": np.ones(3), "intercept": ONE}, {"head": "{"}),
        save({"coef": np.ones(3), "intercept": ONE}, {"head": "[" * 100_000}),
        described({"format": 2, "kind": "linear"}, coef=np.ones(3), intercept=ONE),
        described({"format": 1, "kind": "knn"}, coef=np.ones(3), intercept=ONE),
        described({"format": 1, "kind": "linear"}, coef=np.ones(3)),
        described({"format": 1, "kind": "linear"}, coef=np.ones((3, 1)), intercept=ONE),
        described({"format": 1, "kind": "linear"}, coef=np.ones(3, "f4"), intercept=ONE),
        described({"format": 1, "kind": "linear"}, coef=np.ones(3) * np.nan, intercept=ONE),
        described({"format": 1, "kind": "linear"}, coef=np.ones(3), intercept=np.ones(2)),
        described(
            {"format": 1, "kind": "svm", "kernel": "poly"},
            support_vectors=np.ones((3, 2)), dual_coef=np.ones(2), intercept=ONE, gamma=ONE,
            coef0=ONE, degree=np.array([3]),
        ),
        described(
            {"format": 1, "kind": "svm", "kernel": "precomputed"},
            support_vectors=np.ones((3, 2)), dual_coef=np.ones(3), intercept=ONE, gamma=ONE,
            coef0=ONE, degree=np.array([3]),
        ),
    ],
)  # fmt: skip
def test_damaged_documents_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="no usable classifier"):
        read_head(data, "test")


def test_a_kernel_is_what_it_was() -> None:
    kernel = Kernel(KernelKind.RBF, 0.25, 1.5, 2)
    head = SvmHead(FITTED[:5].astype(np.float64), np.arange(5.0), -0.5, kernel)
    again = read_head(head.to_bytes(), "test")
    assert isinstance(again, SvmHead) and again.kernel == kernel and again.intercept == -0.5


def test_a_head_gives_the_verdict_and_the_neighbours_stay_as_evidence() -> None:
    neighbours = (
        Neighbour(1, "g:1", Label.REAL, "", "s", 0.9),
        Neighbour(2, "g:2", Label.FAKE, "sdxl", "s", 0.8),
    )
    before = Judgement(
        knn=Label.REAL,
        verdict=Verdict.INCONCLUSIVE,
        reason="between_thresholds",
        p_fake=0.4,
        log10_lr=-0.2,
        score=-0.1,
        margin=-0.1,
        real_similarity=0.9,
        fake_similarity=0.8,
        generator=None,
        attribution=None,
        attribution_certainty=None,
        neighbours=neighbours,
        crops=(),
        probe=(),
    )
    fake = judged_by_head(before, HeadAnswer(Label.FAKE, 1.5, 0.8), HeadKind.LINEAR)
    assert (fake.verdict, fake.reason, fake.p_fake) == (Verdict.FAKE, None, 0.8)
    assert (fake.knn, fake.margin, fake.neighbours) == (Label.REAL, -0.1, neighbours)
    assert (fake.generator, fake.log10_lr) == ("sdxl", None)
    assert (fake.classifier, fake.classifier_score) == ("linear", 1.5)
    unsure = judged_by_head(before, HeadAnswer(Label.FAKE, 1.5, 0.8), HeadKind.LINEAR, exact=False)
    assert (unsure.verdict, unsure.reason) == (Verdict.INCONCLUSIVE, "precision")
    assert (unsure.p_fake, unsure.classifier_score) == (None, None)
    real = judged_by_head(fake, HeadAnswer(Label.REAL, -1.5, None), HeadKind.SVM)
    assert (real.verdict, real.p_fake, real.generator) == (Verdict.REAL, None, None)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    with Workspace(tmp_path / "ws") as workspace:
        for encoder in "ab":
            workspace.encoders.keep(encoder * 64, b"weights", b"{}", 12, "test")
        yield workspace


def test_one_of_a_kind_is_kept_for_an_encoder(space: Workspace) -> None:
    first = space.heads.keep("mine", "linear", "a" * 64, b"one", "import a.sav")
    assert space.heads.keep("mine", "linear", "a" * 64, b"one", "import a.sav") == first
    with pytest.raises(WorkspaceError, match="another linear classifier") as caught:
        space.heads.keep("other", "linear", "a" * 64, b"two", "import b.sav")
    assert "--replace" in caught.value.hint
    second = space.heads.keep("other", "linear", "a" * 64, b"two", "import b.sav", replace=True)
    space.heads.keep("elsewhere", "linear", "b" * 64, b"three", "import c.sav")
    assert space.heads.find("a" * 64, "linear") == second
    assert [h.name for h in space.heads.all()] == ["other", "elsewhere"]
    assert space.heads.document(first) == b"one"  # a replaced one stays as evidence
    assert space.heads.named("mine") is None
    with pytest.raises(WorkspaceError, match="no svm classifier"):
        space.heads.find("a" * 64, "svm")


def test_a_removed_one_stays_for_the_scans_that_it_judged(space: Workspace) -> None:
    info = space.heads.keep("mine", "linear", "a" * 64, b"one", "import a.sav")
    space.heads.remove(info)
    assert space.heads.all() == [] and space.heads.named("mine") is None
    assert space.heads.document(space.heads.with_hash(info.sha256)) == b"one"
    again = space.heads.keep("mine", "linear", "a" * 64, b"one", "import a.sav")
    assert space.heads.all() == [again]


def test_a_document_changed_in_the_database_is_noticed(space: Workspace) -> None:
    info = space.heads.keep("mine", "svm", "a" * 64, b"one", "import a.sav")
    space._database.conn.execute("UPDATE heads SET document = ?", (b"two",))
    with pytest.raises(WorkspaceError, match="damaged"):
        space.heads.document(info)
