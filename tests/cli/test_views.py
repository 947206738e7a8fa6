"""Several crops and the probe, from the command to the report, from memory and again."""

import csv
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, decode
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import CHANGES, ViewPlan
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.judging.scores import FLOOR
from code_forensics.engine.report.judging import Judging
from code_forensics.engine.report.middle import middle_of
from code_forensics.engine.results import FileResult
from code_forensics.index.upkeep.backup import DATABASE_NAME
from code_forensics.index.workspace import Workspace
from PIL import Image

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """photos/ and ws/ with a gallery of rough reals and smooth fakes."""
    folder = tmp_path_factory.mktemp("views")
    for number in range(48):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(2):
        draw_photo(folder / "photos" / f"rough{number}.jpg", 200 + number, (700, 500), 1)
        draw_photo(folder / "photos" / f"smooth{number}.png", 300 + number, (500, 230), 16)
    rough = Image.open(draw_photo(folder / "one.png", 7, (900, 900), 1))
    rough.paste(Image.open(draw_photo(folder / "two.png", 8, (300, 300), 16)), (0, 0))
    rough.save(folder / "photos" / "splice.png")
    draw_photo(folder / "photos" / "tiny.png", 400, (100, 90), 1)
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder


def scan(folder: Path, *options: str) -> dict[str, dict]:
    target = folder / "rows.jsonl"
    run(
        *("code-scan", folder / "photos", "--jsonl", target, "-q", *options),
        *("--workspace", folder / "ws"),
    )
    rows = map(json.loads, target.read_text(encoding="utf-8").splitlines())
    return {Path(row["path"]).name: row for row in rows}


def without_status(rows: dict[str, dict]) -> dict[str, dict]:
    return {name: row | {"status": ""} for name, row in rows.items()}


def test_a_grid_adds_crops_and_keeps_the_evidence_of_the_centre(folder: Path) -> None:
    centre = scan(folder)
    grid = scan(folder, "--crops", "grid")
    for name, row in grid.items():
        assert row["real_similarity"] == centre[name]["real_similarity"]
        assert row["neighbours"] == centre[name]["neighbours"]
        assert row["knn"] == centre[name]["knn"]
    places = ViewPlan(Crops.GRID).places(900, 900)
    crops = grid["splice.png"]["crops"]
    assert [(c["left"], c["top"], c["size"]) for c in crops] == [
        (p.left, p.top, p.size) for p in places
    ]
    assert crops[0]["score"] == centre["splice.png"]["score"]
    assert grid["splice.png"]["score"] == pytest.approx(np.mean([c["score"] for c in crops]))
    pasted = next(c["score"] for c in crops if (c["left"], c["top"]) == (0, 0))
    assert pasted == max(c["score"] for c in crops)  # the map shows the splice
    assert grid["tiny.png"]["crops"] == []
    assert grid["tiny.png"]["score"] == centre["tiny.png"]["score"]


def test_scores_are_those_of_the_crops_embedded_by_hand(
    folder: Path, small_checkpoint: Path
) -> None:
    rows = scan(folder, "--crops", "five", "--probe")
    plan = ViewPlan(Crops.FIVE, probe=True)
    data = (folder / "photos" / "rough0.jpg").read_bytes()
    answer = decode(data, DecodeOptions(views=plan))
    assert isinstance(answer, Decoded)
    embedder = Embedder(read_checkpoint(small_checkpoint), "cpu")
    vectors = embedder.embed(answer.views).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    database = sqlite3.connect(folder / "ws" / DATABASE_NAME)
    references = database.execute('SELECT label, vector FROM "references"').fetchall()
    database.close()
    nearest = {}
    for label in ("real", "fake"):
        matrix = np.stack([np.frombuffer(v, "<f4") for which, v in references if which == label])
        unit = matrix / np.linalg.norm(matrix.astype(float), axis=1, keepdims=True)
        nearest[label] = (vectors @ unit.T).max(axis=1)
    expected = (nearest["fake"] - nearest["real"]) / (2 - nearest["fake"] - nearest["real"] + FLOOR)
    row = rows["rough0.jpg"]
    assert [c["score"] for c in row["crops"]] == pytest.approx(expected[:5], abs=1e-5)
    assert [p["score"] for p in row["probe"]] == pytest.approx(expected[5:], abs=1e-5)
    assert [p["change"] for p in row["probe"]] == list(CHANGES)
    assert row["score"] == pytest.approx(expected[:5].mean(), abs=1e-5)


def test_views_come_from_memory_and_from_the_files_alike(folder: Path) -> None:
    options = ("--crops", "grid", "--probe")
    fresh = scan(folder, *options, "--reembed")
    assert {row["status"] for row in fresh.values()} == {"scanned"}
    again = scan(folder, *options)
    assert {row["status"] for row in again.values()} == {"cached"}
    assert without_status(again) == without_status(fresh)
    run("code-report", "rejudge", "latest", "--workspace", folder / "ws")
    target = folder / "r.json"
    run("code-report", "export", "latest", "--json", target, "--workspace", folder / "ws")
    rejudged = {Path(r["path"]).name: r for r in json.loads(target.read_text())["files"]}
    assert without_status(rejudged) == without_status(fresh)
    verified = run(
        "code-report", "verify", "latest", "--jsonl", "-", "-q", "--workspace", folder / "ws"
    ).stdout
    assert {json.loads(line)["outcome"] for line in verified.splitlines()} == {"reproduced"}
    assert scan(folder, "--probe")["splice.png"]["status"] == "scanned"  # other views


@pytest.mark.parametrize("crops", ["center", "five"])
def test_the_probe_asks_whether_the_answer_on_the_middle_flips(folder: Path, crops: str) -> None:
    rows, without = (scan(folder, "--crops", crops, *more) for more in (("--probe",), ()))
    middles = scan(folder, "--crops", "center")
    flipped = {
        name: any(p["verdict"] != middles[name]["verdict"] for p in row["probe"])
        for name, row in rows.items()
        if name != "tiny.png"
    }
    assert set(flipped.values()) == {True, False}
    for name, row in rows.items():
        if flipped.get(name):
            assert (row["verdict"], row["reason"]) == ("inconclusive", "unstable")
        else:
            for column in ("verdict", "reason"):
                assert row.get(column) == without[name].get(column)
    assert rows["tiny.png"]["reason"] == "too_small"


@pytest.mark.parametrize("crops", ["center", "five"])
def test_the_middles_own_answer_follows_from_a_row_and_its_run(folder: Path, crops: str) -> None:
    middles = scan(folder, "--crops", "center")
    scan(folder, "--crops", crops, "--probe")
    with Workspace(folder / "ws") as space:
        info = space.scans.info("latest")
        judging = Judging.of_run(info.run)
        found = {
            Path(row["path"]).name: middle_of(FileResult.from_row(row), judging)
            for row in space.scans.rows(info)
        }
    assert found.keys() == middles.keys()
    for name in found.keys() - {"tiny.png"}:
        expected = middles[name]["score"], middles[name]["verdict"]
        assert (found[name].score, found[name].verdict) == expected


def test_damaged_views_are_found_and_reports_carry_them(folder: Path) -> None:
    scan(folder, "--crops", "five")
    target = folder / "r.csv"
    run("code-report", "export", "latest", "--csv", target, "--workspace", folder / "ws")
    with target.open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 6
    run("code-index", "verify", "--workspace", folder / "ws")
    database = sqlite3.connect(folder / "ws" / DATABASE_NAME)
    with database:
        database.execute("UPDATE views SET vectors = substr(vectors, 2) WHERE id = 1")
    database.close()
    said = run("code-index", "verify", "--workspace", folder / "ws", code=1)
    assert "views 1" in said.stdout + said.stderr
