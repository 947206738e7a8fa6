"""Verdicts by the published heads, through the commands, against scikit-learn."""

import json
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
from code_forensics.engine.decoding.decode import Decoded, decode
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.embed import Embedder
from sklearn.linear_model import LogisticRegression
from sklearn.svm import OneClassSVM

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(6):
        draw_photo(folder / "photos" / f"{number}.png", 300 + number, smooth=(1, 3, 16)[number % 3])
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder


@pytest.fixture(scope="module")
def models(folder: Path, small_checkpoint: Path) -> dict[str, object]:
    """The heads as scikit-learn fits them, and imported."""
    reals, fakes = (vectors(folder / name, small_checkpoint) for name in ("rough", "smooth"))
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    models = {
        "linear": LogisticRegression(C=0.316).fit(np.concatenate((reals, fakes)), labels),
        "svm": OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(reals),
    }
    for kind, model in models.items():
        joblib.dump(model, folder / f"{kind}.sav")
        run(
            *("code-index", "import", f"my-{kind}", folder / f"{kind}.sav"),
            *("--weights", small_checkpoint, "--workspace", folder / "ws"),
        )
    return models


def vectors(folder: Path, checkpoint: Path) -> np.ndarray:
    embedder = Embedder(read_checkpoint(str(checkpoint)), "cpu")
    crops = [decode(path.read_bytes()) for path in sorted(folder.rglob("*.png"))]
    return embedder.embed(np.stack([c.crop for c in crops if isinstance(c, Decoded)])).astype(float)


def scan(folder: Path, *options: str, code: int = 0) -> list[dict]:
    target = folder / "rows.json"
    run(
        *("code-scan", folder / "photos", "--json", target, "-q", "--workspace", folder / "ws"),
        *options,
        code=code,
    )
    report = json.loads(target.read_text(encoding="utf-8"))
    return [row | {"run": report["run"]} for row in report["files"]]


def test_without_a_head_the_command_says_where_to_get_one(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        ran = run(
            *("code-scan", folder / "photos", "--classifier", "svm", "--workspace", folder / "ws"),
            code=2,
        )
    assert "code-index pull" in ran.stderr


@pytest.mark.parametrize("kind", ["linear", "svm"])
def test_verdicts_are_scikit_learns(
    folder: Path, small_checkpoint: Path, models: dict[str, object], kind: str
) -> None:
    plain = scan(folder)
    rows = scan(folder, "--classifier", kind)
    model, queries = models[kind], vectors(folder / "photos", small_checkpoint)
    fake = model.predict(queries) == (1 if kind == "linear" else -1)
    assert [row["verdict"] for row in rows] == ["fake" if f else "real" for f in fake]
    assert 0 < sum(fake) < len(fake)
    sign = 1 if kind == "linear" else -1  # the SVM is positive for an inlier, which is real
    np.testing.assert_allclose(
        [row["classifier_score"] for row in rows],
        sign * model.decision_function(queries),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    if kind == "linear":
        np.testing.assert_allclose(
            [row["p_fake"] for row in rows], model.predict_proba(queries)[:, 1], rtol=1e-4
        )
    else:
        assert {row["p_fake"] for row in rows} == {None}
    for row, before in zip(rows, plain, strict=True):
        assert (row["knn"], row["score"], row["classifier"]) == (
            before["knn"],
            before["score"],
            kind,
        )
        assert (row["log10_lr"], row["reason"]) == (None, None)
        assert "classifier" not in before
    named = rows[0]["run"]["judging"]["classifier"]
    assert (named["kind"], named["name"]) == (kind, f"my-{kind}")
    assert plain[0]["run"]["judging"]["classifier"] is None


def test_verify_rejudge_diff_and_words(folder: Path, models: dict[str, object]) -> None:
    scan(folder, "--classifier", "svm")
    workspace = ("--workspace", folder / "ws")
    lines = run(
        "code-report", "verify", "latest", "--jsonl", "-", "-q", *workspace
    ).stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["reproduced"] * 6
    ran = run("code-report", "rejudge", "latest", *workspace)
    assert "judged as scan" in ran.stderr and "but for" not in ran.stderr
    assert "classifier" in ran.stdout.partition("most suspicious")[2]
    ran = run("code-report", "rejudge", "latest", "--classifier", "linear", *workspace)
    assert "--classifier linear" in ran.stderr and "(was svm" in ran.stderr
    assert "logistic regression my-linear" in ran.stdout.replace("\n", " ")
    assert ran.stdout.partition("most suspicious")[2].split()[3:5] == ["classifier", "attribution"]
    html = folder / "report.html"
    run("code-report", "export", "latest", "--html", html, *workspace)
    assert "The logistic regression calls it" in html.read_text(encoding="utf-8")
    csv = folder / "report.csv"
    run("code-report", "export", "latest", "--csv", csv, *workspace)
    assert csv.read_text().splitlines()[0].endswith("frame,frames,classifier,classifier_score")
    assert ",linear," in csv.read_text().splitlines()[1]
    number = int(ran.stdout.removeprefix("scan ").partition(":")[0])
    diff = run("code-report", "diff", str(number - 1), str(number), *workspace).stdout
    assert "classifier" in diff


def test_a_removed_classifier_is_gone_but_for_the_scans_that_it_judged(
    folder: Path, models: dict[str, object], tmp_path: Path
) -> None:
    workspace = ("--workspace", shutil.copytree(folder / "ws", tmp_path / "ws"))
    run("code-scan", folder / "photos", "--classifier", "svm", "-q", *workspace)
    refused = run("code-index", "remove", "my-svm", "--source", "s1", *workspace, code=2)
    assert "my-svm is a classifier, which has no references" in refused.stderr
    gone = run("code-index", "remove", "my-svm", *workspace)
    assert gone.stderr == "removed the svm classifier my-svm\n"
    run("code-scan", folder / "photos", "--classifier", "svm", "-q", *workspace, code=2)
    run("code-report", "verify", "latest", "-q", *workspace)
    assert (
        "there is no gallery 'my-svm'"
        in run("code-index", "remove", "my-svm", *workspace, code=2).stderr
    )
