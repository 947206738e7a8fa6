"""Import and export of galleries and classifiers, as commands and as files."""

import errno
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import typer
from code_forensics.cli.import_export import export, import_, in_records
from code_forensics.engine.errors import CheckpointError, InputError
from code_forensics.engine.judging.heads import read_head
from code_forensics.index.errors import FileFormatError, GalleryError, WorkspaceError
from code_forensics.index.importing.files_to_import import FileKind, file_kind
from code_forensics.index.importing.ready_vectors import (
    ReadyVectors,
    write_npz,
    write_safetensors,
)
from code_forensics.index.workspace import Workspace
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

from tests.index.ready import LABELS, READY, RNG, VECTORS, D

FIXTURES = Path(__file__).parent / "fixtures"


def test_kinds_of_files(tmp_path: Path) -> None:
    write_npz(tmp_path / "n", READY)
    write_safetensors(tmp_path / "s", READY)
    save_file({"a": VECTORS}, tmp_path / "h", {"head": "{}"})
    (tmp_path / "p").write_bytes(pickle.dumps(1))
    (tmp_path / "e").write_bytes(b"")
    (tmp_path / "x").write_bytes((5).to_bytes(8, "little") + b"{" + b"nonsense")
    assert [file_kind(tmp_path / name) for name in "nshpex"] == [
        *(FileKind.NPZ, FileKind.SAFETENSORS, FileKind.SAFETENSORS_HEAD),
        *(FileKind.PICKLE, FileKind.PICKLE, FileKind.SAFETENSORS),
    ]
    with pytest.raises(FileFormatError, match="cannot read"):
        file_kind(tmp_path / "absent")


def test_records_of_the_published_order() -> None:
    assert in_records(("real", "fake", "fake", "fake", "fake") * 3)
    for labels in ((), ("real",), ("real", "fake") * 5, ("fake", "fake", "fake", "fake", "real")):
        assert not in_records(labels)


class Case:
    """One workspace, and the commands on it, in this process."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder = folder
        self.weights: str | None = str(weights)

    def file(self, name: str, model: object) -> Path:
        joblib.dump(model, self.folder / name)
        return self.folder / name

    def bring(self, name: str, file: Path, space: str = "ws", replace: bool = False) -> None:
        weights = self.weights if not (self.folder / space).exists() else None
        import_(name, file, weights, replace, self.folder / space)

    def take(self, name: str, file: str, space: str = "ws") -> Path:
        export(name, self.folder / file, self.folder / space)
        return self.folder / file

    def open(self, space: str = "ws") -> Workspace:
        return Workspace(self.folder / space)


@pytest.fixture
def case(tmp_path: Path, small_checkpoint: Path) -> Case:
    return Case(tmp_path, small_checkpoint)


def knn(labels: np.ndarray = LABELS) -> KNeighborsClassifier:
    return KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(VECTORS, labels)


def test_a_neighbours_file_becomes_a_gallery(case: Case) -> None:
    case.bring("code", case.file("knn.sav", knn()))
    queries = RNG.standard_normal((20, D)).astype(np.float32)
    with case.open() as space:
        gallery = space.galleries.open(space.galleries.info("code"))
        votes = [
            "real" if real >= fake else "fake"
            for real, fake in zip(
                gallery.search("real", queries, 1)[1][:, 0],
                gallery.search("fake", queries, 1)[1][:, 0],
                strict=True,
            )
        ]
        assert [(g.label, g.generator, g.count) for g in space.galleries.groups(gallery.info)] == [
            ("real", "", 8),
            ("fake", "", 32),
        ]
    assert votes == ["fake" if label else "real" for label in knn().predict(queries)]


@pytest.mark.parametrize("file", ["g.npz", "g.safetensors"])
def test_a_gallery_survives_export_and_import(case: Case, file: str) -> None:
    tagged = ReadyVectors(READY.vectors, READY.labels, READY.generators, READY.sources)
    write_npz(case.folder / "in.npz", tagged)
    case.bring("desk", case.folder / "in.npz")
    case.bring("desk", case.take("desk", file), "second")
    with case.open() as one, case.open("second") as two:
        first, second = one.choose_gallery(), two.choose_gallery()
        assert first.sha256 == second.sha256  # over encoder, preprocessing and every reference
        assert first.encoder_sha256 == second.encoder_sha256
    with pytest.raises(GalleryError, match="already"):
        case.bring("desk", case.folder / file)


def test_vectors_of_another_encoder_are_refused(case: Case) -> None:
    write_npz(case.folder / "a.npz", READY)
    with pytest.raises(FileFormatError, match="were made with encoder 'eeee"):
        case.bring("desk", case.folder / "a.npz")
    other = ReadyVectors(READY.vectors, READY.labels, READY.generators, READY.sources, "", "p/0")
    write_npz(case.folder / "a.npz", other)
    with pytest.raises(FileFormatError, match="preprocessing 'p/0'"):
        import_("desk", case.folder / "a.npz", case.weights, False, case.folder / "ws")
    np.savez(case.folder / "a.npz", vectors=VECTORS[:, :5], labels=LABELS)
    with pytest.raises(FileFormatError, match="5 dimensions"):
        import_("desk", case.folder / "a.npz", case.weights, False, case.folder / "ws")
    with case.open() as space:
        assert space.galleries.names() == [] and space.encoders.all() == []


def test_classifiers_survive_import_export_and_import(case: Case) -> None:
    svm = OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(VECTORS[LABELS == 0])
    linear = LogisticRegression().fit(VECTORS, LABELS)
    case.bring("one", case.file("svm.joblib", svm))
    case.bring("two", case.file("linear.sav", linear))
    with case.open() as space:
        kinds = {head.kind: head for head in space.heads.all()}
        documents = {kind: space.heads.document(head) for kind, head in kinds.items()}
    wide = VECTORS.astype(np.float64)
    scores = [a.score for a in read_head(documents["svm"], "").decide(VECTORS)]
    np.testing.assert_allclose(scores, -svm.decision_function(wide), rtol=1e-6, atol=1e-9)
    scores = [a.score for a in read_head(documents["linear"], "").decide(VECTORS)]
    np.testing.assert_allclose(scores, linear.decision_function(VECTORS), rtol=1e-4, atol=1e-5)
    case.bring("one", case.take("one", "one.safetensors"), "second")
    with case.open("second") as space:
        assert space.heads.all()[0].sha256 == kinds["svm"].sha256
    with pytest.raises(InputError, match="is a classifier"):
        case.take("one", "one.npz")
    other = OneClassSVM(kernel="rbf").fit(VECTORS)
    with pytest.raises(WorkspaceError, match="another svm"):
        case.bring("third", case.file("other.sav", other))
    case.bring("third", case.folder / "other.sav", replace=True)
    with case.open() as space:
        assert [head.name for head in space.heads.all()] == ["two", "third"]


def test_a_classifier_on_record_keeps_its_name_and_says_so(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    file = case.file("svm.joblib", OneClassSVM(kernel="rbf").fit(VECTORS))
    case.bring("one", file)
    capsys.readouterr()
    case.bring("two", file)
    assert "on record as one already" in " ".join(capsys.readouterr().err.split())
    with case.open() as space:
        assert [head.name for head in space.heads.all()] == ["one"]


def test_a_classifier_is_exported_whole_or_not_at_all(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.bring("one", case.file("svm.joblib", OneClassSVM(kernel="rbf").fit(VECTORS)))
    before = case.take("one", "one.safetensors").read_bytes()

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "no space is left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileFormatError, match="cannot write"):
        case.take("one", "one.safetensors")
    assert (case.folder / "one.safetensors").read_bytes() == before
    assert not [*case.folder.glob(".*.tmp")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_names_of_files_may_be_any_bytes(case: Case, small_checkpoint: Path) -> None:
    folder = case.folder / os.fsdecode(b"enc\xff")
    shutil.copytree(small_checkpoint, folder)
    case.weights = str(folder)
    write_npz(
        case.folder / "a.npz", ReadyVectors(VECTORS, READY.labels, READY.generators, ("",) * 40)
    )
    for number, end in enumerate(("npz", "safetensors")):
        name = os.fsdecode(b"ok\xff.") + end
        if number:
            case.take("g0", name)
        else:
            (case.folder / "a.npz").rename(case.folder / name)
        case.bring(f"g{number}", case.folder / name)
    case.bring("one", case.file("svm.joblib", OneClassSVM(kernel="rbf").fit(VECTORS)).rename(
        case.folder / os.fsdecode(b"svm\xff.joblib")))  # fmt: skip
    with case.open() as space:
        assert space.galleries.names() == ["g0", "g1"]
        assert space.heads.all()[0].origin == "import svm\\xff.joblib"
        assert space.encoders.all()[0].origin.endswith("enc\\xff")


def test_classifiers_that_do_not_fit_are_refused(case: Case) -> None:
    narrow = LogisticRegression().fit(VECTORS[:, :4], LABELS)
    with pytest.raises(FileFormatError, match="takes 4 dimensions"):
        case.bring("one", case.file("a.sav", narrow))
    save_file({"a": VECTORS}, case.folder / "h.safetensors", {"head": json.dumps({"format": 1})})
    with pytest.raises(CheckpointError, match="no usable classifier"):
        case.bring("one", case.folder / "h.safetensors")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.sav")), ids=lambda path: path.stem)
def test_files_of_other_versions_are_understood(case: Case, path: Path) -> None:
    """They are of six dimensions: read whole, then refused by the encoder that is to use them."""
    with pytest.raises(FileFormatError, match="6 dimensions"):
        case.bring("one", path)


class _Touch:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("writer", [pickle.dump, joblib.dump])
def test_a_malicious_file_does_nothing(case: Case, writer: object) -> None:
    model = knn()
    model.metric_params = _Touch(case.folder / "pwned")
    for name in ("evil.sav", "evil.npz", "evil.safetensors"):
        with (case.folder / name).open("wb") as handle:
            writer(model, handle)
        with pytest.raises(FileFormatError, match="refused the name"):
            case.bring("one", case.folder / name)
    assert not (case.folder / "pwned").exists()
    with (case.folder / "evil.sav").open("rb") as handle:
        joblib.load(handle)  # what reading it with the usual library does
    assert (case.folder / "pwned").exists()


def test_formats_are_told_by_the_name(case: Case) -> None:
    with pytest.raises(InputError, match="cannot tell the format"):
        case.take("desk", "desk.csv")
    case.open().close()
    with pytest.raises(GalleryError, match="no gallery 'desk'"):
        case.take("desk", "desk.npz")


def test_commands_are_registered() -> None:
    from code_forensics.cli.index import app

    names = set(typer.main.get_command(app).commands)
    assert {"import", "export", "heads", "pull"} <= names
