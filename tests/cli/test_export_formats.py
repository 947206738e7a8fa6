"""Reports that other programs read: each is opened by a reader that this project did not write."""

import csv
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
from pyarrow import parquet

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def exported(reported: Path) -> Path:
    """The folder of the reports in every format."""
    folder = reported / "exports"
    folder.mkdir()
    run(
        *("code-report", "export", "1", "--csv", folder / "r.csv", "--json", folder / "r.json"),
        *("--parquet", folder / "r.parquet", "--case-uco", folder / "r.jsonld"),
        *("--workspace", reported / "ws"),
    )
    return folder


def document(exported: Path) -> dict[str, list[dict[str, object]]]:
    return json.loads((exported / "r.json").read_text(encoding="utf-8"))


def test_json_is_as_its_schema_says(exported: Path) -> None:
    schema = json.loads(
        files("code_forensics.engine.report").joinpath("report.schema.json").read_text("utf-8")
    )
    jsonschema.Draft202012Validator(schema).validate(document(exported))


def test_parquet_holds_the_same_rows(exported: Path) -> None:
    frame = pd.read_parquet(exported / "r.parquet")
    rows = document(exported)["files"]
    assert list(frame.columns[:2]) == ["path", "sha256"]
    assert frame["path"].tolist() == [row["path"] for row in rows]
    numbers = pd.DataFrame(rows)["score"].astype(float)
    pd.testing.assert_series_equal(frame["score"], numbers)
    table = parquet.read_table(exported / "r.parquet")
    assert [dict(n) for n in table["neighbours"].to_pylist()[0]] == rows[0]["neighbours"]
    assert json.loads(table["provenance"].to_pylist()[0]) == rows[0]["provenance"]
    run_record = json.loads(table.schema.metadata[b"code_forensics.run"])
    assert run_record["run"]["arguments"]["case"] == "<b>17</b>"


def test_case_is_valid_to_its_own_validator(exported: Path, tmp_path: Path) -> None:
    """The validator of the CASE community, with its ontology: three files, as it is slow."""
    whole = json.loads((exported / "r.jsonld").read_text(encoding="utf-8"))
    rows = document(exported)["files"]
    stored = [node for node in whole["@graph"] if node["@type"] == "observable:File"]
    assert len(stored) == len(rows)
    hashes = {
        n["types:hashValue"]["@value"].lower()
        for n in whole["@graph"]
        if n["@type"] == "types:Hash"
    }
    assert hashes == {row["sha256"] for row in rows if row["sha256"]}
    assert sum(n["@type"] == "analysis:ArtifactClassification" for n in whole["@graph"]) == sum(
        row["verdict"] is not None for row in rows
    )
    photos = tmp_path / "photos"
    draw_photo(photos / "a.jpg", 1)
    (photos / "b.jpg").write_bytes(b"nothing")
    run(
        *("code-scan", photos, "-q", "--case", "7", "--examiner", "E", "--note", "N"),
        *("--workspace", exported.parent / "ws"),
    )
    graph = tmp_path / "case.jsonld"
    run(
        *("code-report", "export", "latest", "--case-uco", graph),
        *("--workspace", exported.parent / "ws"),
    )
    validator = Path(sys.executable).parent / "case_validate"
    done = subprocess.run(
        [validator, "--built-version", "case-1.5.0", graph], capture_output=True, text=True
    )
    assert "Conforms: True" in done.stdout, done.stdout + done.stderr


def test_the_spreadsheet_has_one_row_a_file(exported: Path, tmp_path: Path) -> None:
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        pytest.skip("there is no LibreOffice here")
    subprocess.run(
        [office, f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}", "--headless",
         "--convert-to", "csv:Text - txt - csv (StarCalc):44,34,76", "--outdir", tmp_path,
         exported / "r.csv"],
        capture_output=True, check=True,
    )  # fmt: skip
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as stream:
        opened = list(csv.reader(stream))
    with (exported / "r.csv").open(encoding="utf-8", newline="") as stream:
        written = list(csv.reader(stream))
    assert len(opened) == len(written) == 1 + len(document(exported)["files"])
    assert [row[0] for row in opened] == [row[0] for row in written]
    assert {len(row) for row in opened} == {len(written[0])}


def test_nothing_asked_for_is_said(exported: Path) -> None:
    said = run("code-report", "export", "1", "--workspace", exported.parent / "ws", code=2).stderr
    assert "--csv report.csv" in said
