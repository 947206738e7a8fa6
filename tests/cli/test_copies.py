"""A picture that is a reference of the other class: no verdict against it, and every report says so."""

import csv
import json
import shutil
from pathlib import Path

import joblib
import jsonschema
import pytest
from code_forensics.index.workspace import Workspace
from sklearn.linear_model import LogisticRegression

from tests.cli.in_process import run
from tests.conftest import draw_photo

RATES = ("--target-fpr", "0.2", "--target-fnr", "0.2")
SCHEMA = Path(__file__).parents[2] / "engine" / "report" / "report.schema.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """A gallery whose reals hold one picture like its fakes, and scan 1: of that one and another."""
    folder = tmp_path_factory.mktemp("copies")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    known = draw_photo(folder / "rough" / "s0" / "known.png", 500, smooth=16)
    draw_photo(folder / "photos" / "other.png", 501, smooth=16)
    shutil.copy(known, folder / "photos" / "known.png")
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    run("code-scan", folder / "photos", "-k", "5", *RATES, "-q", "--workspace", folder / "ws")
    return folder


def rows(folder: Path, scan: str) -> dict[str, dict[str, str]]:
    target = folder / "rows.csv"
    run("code-report", "export", scan, "--csv", target, "--workspace", folder / "ws")
    with target.open(newline="", encoding="utf-8") as stream:
        return {Path(row["path"]).name: row for row in csv.DictReader(stream)}


def test_the_reports_name_the_reason_and_the_reference(folder: Path) -> None:
    found = rows(folder, "1")
    known, other = found["known.png"], found["other.png"]
    assert (other["verdict"], other["reason"]) == ("fake", "")
    assert (known["verdict"], known["reason"]) == ("inconclusive", "contradicts_copy")
    assert float(known["score"]) > 0 and float(known["log10_lr"]) > 0
    assert float(known["real_similarity"]) >= 0.999 > float(known["fake_similarity"])
    shown = run("code-report", "show", "1", "known.png", "--workspace", folder / "ws").stdout
    said = " ".join(shown.split())
    assert "Inconclusive. The answer would contradict the label" in said
    assert f"That reference, {known['neighbour']}, is labelled real, and its score calls" in said
    assert "the image fake" in said
    target = folder / "report.json"
    run("code-report", "export", "1", "--json", target, "--workspace", folder / "ws")
    document = json.loads(target.read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert document["summary"]["by_reason"] == {"contradicts_copy": 1}
    assert document["run"]["judging"]["copy_similarity"] == 0.999


def test_it_is_reproduced_and_judged_again_alike(folder: Path) -> None:
    space = ("--workspace", folder / "ws")
    lines = run("code-report", "verify", "1", "--jsonl", "-", "-q", *space).stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["reproduced"] * 2
    assert "but for" not in run("code-report", "rejudge", "1", *space).stderr
    assert rows(folder, "latest")["known.png"]["reason"] == "contradicts_copy"
    run("code-report", "rejudge", "1", "-k", "1", *space)  # by the copy alone it is real
    assert rows(folder, "latest")["known.png"]["reason"] != "contradicts_copy"


def test_a_scan_of_a_version_without_the_rule_says_what_parts_it(
    folder: Path, tmp_path: Path
) -> None:
    space = ("--workspace", tmp_path / "ws")
    shutil.copytree(folder / "ws", tmp_path / "ws")
    with Workspace(tmp_path / "ws") as opened:
        record = dict(opened.scans.info("1").run)
        del record["judging"]["copy_similarity"]
        conn = opened._database.conn
        conn.execute("UPDATE scans SET run = ? WHERE id = 1", [json.dumps(record)])
        conn.execute(
            "UPDATE verdicts SET verdict = 'fake', reason = NULL"
            " WHERE scan_id = 1 AND reason = 'contradicts_copy'"
        )
        conn.commit()
    said = run("code-report", "rejudge", "1", *space).stderr
    assert "a copy withholds a verdict from cosine 0.999 (was never)" in " ".join(said.split())
    text = run("code-report", "diff", "1", "latest", "--jsonl", "-", *space).stdout
    (line,) = map(json.loads, text.splitlines())
    assert (line["verdict"], line["why"]) == (["fake", "inconclusive"], ["copies"])
    ran = run("code-report", "verify", "1", "--jsonl", "-", "-q", *space, code=1)
    outcomes = {Path(row["path"]).name: row["outcome"] for row in map(json.loads, ran.stdout.splitlines())}  # fmt: skip
    assert outcomes == {"known.png": "differs", "other.png": "reproduced"}
    assert "a copy of the other class withheld no verdict" in " ".join(ran.stderr.split())


def test_a_classifier_s_answer_is_explained_as_withheld(folder: Path, tmp_path: Path) -> None:
    with Workspace(folder / "ws") as opened:
        kept = list(opened.galleries.references(opened.galleries.info("g")))
    labels = [reference.label == "fake" for reference, _ in kept]
    model = LogisticRegression(C=0.316).fit([vector for _, vector in kept], labels)
    joblib.dump(model, tmp_path / "linear.sav")
    space = ("--workspace", tmp_path / "ws")
    shutil.copytree(folder / "ws", tmp_path / "ws")
    run("code-index", "import", "mine", tmp_path / "linear.sav", *space)
    run("code-report", "rejudge", "1", "--classifier", "linear", *space)
    said = " ".join(run("code-report", "show", "latest", "known.png", *space).stdout.split())
    assert "Inconclusive. The answer would contradict" in said
    assert "The logistic regression calls it fake: its decision is +" in said
    assert "is labelled real, and the classifier calls the image fake" in said
