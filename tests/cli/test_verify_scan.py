"""A scan done again: bit for bit where nothing changed, named where something did."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from code_forensics.engine.embedding import embed
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.embed_native import NativeEmbedder
from code_forensics.engine.embedding.load import TORCH, backend_of
from code_forensics.engine.judging.conformal import Exchangeable
from code_forensics.engine.judging.judge import JudgeOptions
from code_forensics.engine.judging.thresholds import ThresholdOptions
from code_forensics.engine.recorded import RecordedOptions, RecordedScan
from code_forensics.engine.results import Status
from code_forensics.index.upkeep.backup import DATABASE_NAME
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """A folder with photos/ and ws/, which holds scan 1 of them."""
    folder = tmp_path_factory.mktemp("verified")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"t{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(5):
        draw_photo(folder / "photos" / f"rough{number}.jpg", 200 + number, smooth=1)
        draw_photo(folder / "photos" / f"smooth{number}.png", 300 + number, (500, 400), 16)
    shutil.copy(folder / "photos" / "rough0.jpg", folder / "photos" / "copy.jpg")
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    run("code-scan", folder / "photos", "-k", "3", "--workspace", folder / "ws", "-q")
    return folder


@pytest.fixture
def copy(scanned: Path, tmp_path: Path) -> Path:
    """The same, to be changed; the photos' paths lie in it."""
    shutil.copytree(scanned / "ws", tmp_path / "ws")
    shutil.copytree(scanned / "photos", tmp_path / "photos")
    run("code-scan", tmp_path / "photos", "-k", "3", "--workspace", tmp_path / "ws", "-q")
    return tmp_path


def verify(folder: Path, *options: str, code: int = 0) -> dict[str, dict]:
    ran = run(
        *("code-report", "verify", "latest", "--jsonl", "-", "-q", *options),
        *("--workspace", folder / "ws"),
        code=code,
    )
    rows = map(json.loads, ran.stdout.splitlines())
    return {"stderr": ran.stderr, **{Path(row["path"]).name: row for row in rows}}


@pytest.mark.parametrize("workers", ["1", "3"])
def test_every_row_is_reproduced(scanned: Path, workers: str) -> None:
    rows = verify(scanned, "--workers", workers)
    assert "the rows on record are those that scan 1 wrote" in rows.pop("stderr")
    assert len(rows) == 13
    assert rows.pop("empty.jpg")["outcome"] == "unread"
    assert {row["outcome"] for row in rows.values()} == {"reproduced"}
    assert rows["broken.jpg"]["reason"] == ["truncated", "truncated"]


def test_lines_go_to_a_file_beside_the_table(scanned: Path, tmp_path: Path) -> None:
    target = tmp_path / "verified.jsonl"
    command = ("code-report", "verify", "latest", "-q", "--workspace", scanned / "ws")
    table = run(*command, "--jsonl", target).stdout
    assert "13 rows verified" in table
    assert target.read_text(encoding="utf-8") == run(*command, "--jsonl", "-").stdout
    evidence = tmp_path / "evidence.jpg"
    evidence.write_bytes(b"not a report")
    run(*command, "--jsonl", evidence, code=2)
    assert evidence.read_bytes() == b"not a report"


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_size_of_batches_changes_no_bit(
    scanned: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "CPU_BATCH", batch)
    monkeypatch.setattr(NativeEmbedder, "batch", batch)
    rows = verify(scanned)
    assert {rows[f"rough{n}.jpg"]["outcome"] for n in range(5)} == {"reproduced"}


@pytest.mark.parametrize("threads", ["1", "4"])
def test_another_process_with_other_threads_changes_no_bit(scanned: Path, threads: str) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    ran = subprocess.run(
        [
            *(sys.executable, "-c", "from code_forensics.cli.report import main; main()"),
            *("verify", "latest", "--jsonl", "-", "-q", "--workers", threads),
            *("--workspace", str(scanned / "ws")),
        ],
        env=os.environ | dict.fromkeys(names, threads),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(rows) == 13
    assert {row["outcome"] for row in rows} == {"reproduced", "unread"}  # unread: the empty file


def test_a_cached_scan_is_reproduced_from_its_files(copy: Path) -> None:
    rows = verify(copy)
    assert rows["rough1.jpg"]["outcome"] == "reproduced"
    assert rows["copy.jpg"]["outcome"] == "reproduced"  # a duplicate on record


def test_the_gallery_is_taken_as_it_was(copy: Path) -> None:
    run(
        *("code-index", "add", "g", "--fake", f"rough={copy / 'photos'}"),
        *("--workspace", copy / "ws", "-q"),
    )
    rows = verify(copy)
    assert rows["rough1.jpg"]["outcome"] == "reproduced"
    run("code-index", "remove", "g", "--workspace", copy / "ws")
    assert verify(copy)["rough1.jpg"]["outcome"] == "reproduced"


def test_what_changed_is_named(copy: Path) -> None:
    photos = copy / "photos"
    (photos / "rough1.jpg").write_bytes((photos / "smooth1.png").read_bytes())
    (photos / "rough2.jpg").unlink()
    rows = verify(copy, code=1)
    assert rows["rough1.jpg"]["outcome"] == "changed"
    assert rows["rough2.jpg"]["outcome"] == "gone"
    assert rows["rough3.jpg"]["outcome"] == "reproduced"


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ("score = score + 0.5", ["score"]),
        ("p_fake = 0.01", ["p_fake"]),
        ("log10_lr = -1.9, p_fake = 0.01", ["p_fake", "log10_lr"]),
        ("generator = 'FLUX'", ["generator"]),
        ("attribution = 'FLUX', attribution_certainty = 1", ["attribution", "attribution_certainty"]),
        ("classifier = 'linear', classifier_score = 9", ["classifier", "classifier_score"]),
        ("neighbour = 'g:1'", ["neighbour"]),
    ],
)  # fmt: skip
def test_a_row_that_was_changed_by_hand_is_found(
    copy: Path, change: str, fields: list[str]
) -> None:
    database = sqlite3.connect(copy / "ws" / DATABASE_NAME)
    with database:
        database.execute(
            f"UPDATE verdicts SET {change} WHERE scan_id = 2 AND path LIKE ?",
            ("%rough4%",),
        )
    database.close()
    rows = verify(copy, code=1)
    assert "NOT those" in rows["stderr"]
    assert rows["rough4.jpg"] | {"path": ""} == {
        "path": "",
        "outcome": "differs",
        "differs": fields,
        "verdict": rows["rough3.jpg"]["verdict"],
        "score": rows["rough4.jpg"]["score"],
        "reason": rows["rough3.jpg"]["reason"],
    }


def test_another_reference_at_the_same_cosine_is_found(copy: Path) -> None:
    database = sqlite3.connect(copy / "ws" / DATABASE_NAME)
    with database:
        (position,) = database.execute(
            "SELECT position FROM verdicts WHERE scan_id = 2 AND path LIKE '%rough4%'"
        ).fetchone()
        named = database.execute(
            "SELECT n.rank, r.label FROM neighbours n JOIN 'references' r ON r.id = n.reference_id"
            " WHERE n.scan_id = 2 AND n.position = ? ORDER BY n.rank DESC",
            (position,),
        ).fetchall()
        (other,) = database.execute(
            "SELECT id FROM 'references' WHERE label = ? AND id NOT IN (SELECT reference_id"
            " FROM neighbours WHERE scan_id = 2 AND position = ?) ORDER BY id DESC",
            (named[0][1], position),
        ).fetchone()
        database.execute(
            "UPDATE neighbours SET reference_id = ? WHERE scan_id = 2 AND position = ? AND rank = ?",
            (other, position, named[0][0]),
        )
    database.close()
    row = verify(copy, code=1)["rough4.jpg"]
    assert (row["outcome"], row["differs"]) == ("differs", ["neighbours"])


def test_last_digits_of_another_platform_agree(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = Embedder if backend_of("cpu", "float32") == TORCH else NativeEmbedder
    embedded = used.embed
    random = np.random.default_rng(0)

    def elsewhere(self: NativeEmbedder | Embedder, crops: np.ndarray) -> np.ndarray:
        vectors = embedded(self, crops)
        return vectors * (1 + 1e-6 * random.uniform(-1, 1, vectors.shape)).astype(np.float32)

    run(
        "code-scan", copy / "photos", "-k", "3", "--crops", "five", "--workspace", copy / "ws", "-q"
    )
    monkeypatch.setattr(used, "embed", elsewhere)
    rows = verify(copy)
    assert {rows[f"rough{n}.jpg"]["outcome"] for n in range(5)} == {"agrees"}
    assert {rows[f"smooth{n}.png"]["outcome"] for n in range(5)} == {"agrees"}


def test_a_purged_scan_is_verified_by_what_is_left(copy: Path) -> None:
    space = ("--workspace", copy / "ws")
    shown = run("code-report", "show", "2", *space).stdout
    before = next(line.split()[1] for line in shown.splitlines() if line.startswith("results "))
    gone = ("--path", copy / "photos" / "rough0.jpg", "--path", copy / "photos" / "smooth1.png")
    run("code-index", "purge", *gone, "-y", *space)

    rows = verify(copy)
    said = rows.pop("stderr")
    assert "2 rows were purged on 20" in said
    assert "the rows on record are those that the last purge left of scan 2" in said
    assert len(rows) == 11 and "rough0.jpg" not in rows
    assert rows["rough1.jpg"]["outcome"] == "reproduced"

    facts = dict(
        line.split("  ", 1)
        for line in run("code-report", "show", "2", *space).stdout.splitlines()
        if "  " in line
    )
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["files"] == "11"
    assert facts["purged"].startswith("2 rows were purged on 20")
    assert facts["results"] != before == facts["results before"]

    names = [copy / f"report.{kind}" for kind in ("json", "html")]
    said = run("code-report", "export", "2", "--json", names[0], "--html", names[1], *space)
    assert "note: " not in said.stderr
    document = json.loads(names[0].read_text(encoding="utf-8"))
    schema = files("code_forensics.engine.report").joinpath("report.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator(json.loads(schema)).validate(document)
    assert document["summary"]["files"] == len(document["files"]) == 11
    assert sum(document["summary"]["by_status"].values()) == 11
    assert document["run"]["purged"][0]["results_sha256"] == before
    rows_alone = [f"{option}={copy / option}" for option in ("--csv", "--jsonl", "--case-uco")]
    assert "note: " not in run("code-report", "export", "1", *rows_alone, *space).stderr
    said = run("code-report", "export", "2", *rows_alone, *space)
    note = "note: what --csv and --jsonl and --case-uco cannot say: 2 rows were purged on 20"
    assert note in said.stderr and not said.stdout
    page = names[1].read_text(encoding="utf-8")
    assert "has a row, up to what was purged: 2 rows were purged on 20" in page
    assert before in page and facts["results"] in page

    run("code-report", "rejudge", "2", *space)
    shown = run("code-report", "show", "3", *space).stdout
    assert "2 rows of the scan that was judged again were purged" in shown
    assert "results before" not in shown


def test_a_purge_does_not_hide_that_rows_were_changed(copy: Path) -> None:
    database = sqlite3.connect(copy / "ws" / DATABASE_NAME)
    with database:
        database.execute("UPDATE verdicts SET score = 0 WHERE path LIKE '%rough4%'")
    database.close()
    for name in ("rough4.jpg", "rough0.jpg"):
        gone = ("--path", copy / "photos" / name)
        run("code-index", "purge", *gone, "-y", "--workspace", copy / "ws")
    rows = verify(copy, code=1)
    assert "no longer those that the scan had written" in rows.pop("stderr")
    assert {row["outcome"] for row in rows.values()} == {"reproduced", "unread"}


@pytest.mark.parametrize(
    "thresholds",
    [
        ThresholdOptions(0.3, 0.3, exchangeable=Exchangeable.SOURCES),
        ThresholdOptions(novelty_rate=0.9),
    ],
)
def test_a_notebooks_scan_is_judged_by_its_own_options(
    copy: Path, thresholds: ThresholdOptions
) -> None:
    options = RecordedOptions(judging=JudgeOptions(thresholds=thresholds))
    with Workspace.existing(copy / "ws") as space:
        scan = RecordedScan(space, [copy / "photos"], options)
        assert {row.status for row in scan} >= {Status.CACHED}
    judging = json.loads(json.dumps(scan.run["judging"]))
    assert JudgeOptions.of(judging).thresholds == thresholds
    del judging["novelty_rate"]  # as it was recorded before
    assert JudgeOptions.of(judging).thresholds == replace(thresholds, novelty_rate=0.005)
    rows = verify(copy)
    assert {rows[f"rough{n}.jpg"]["outcome"] for n in range(5)} == {"reproduced"}
    said = run("code-report", "rejudge", "latest", "--workspace", copy / "ws").stderr
    assert "was: gallery g" in said  # and not: but for


def test_a_scan_of_another_score_is_judged_again_first(copy: Path) -> None:
    database = sqlite3.connect(copy / "ws" / DATABASE_NAME)
    with database:  # as scans were recorded when the score was the plain difference
        database.execute("UPDATE scans SET run = json_remove(run, '$.judging.score') WHERE id = 2")
    database.close()
    space = ("--workspace", copy / "ws")
    refused = run("code-report", "verify", "2", "-q", *space, code=2)
    assert "another score" in refused.stderr
    assert "code-report rejudge 2 --gallery g" in refused.stderr
    run("code-report", "rejudge", "2", "--gallery", "g", *space)
    assert verify(copy)["rough3.jpg"]["outcome"] == "reproduced"


def test_a_sample_is_drawn_the_same_way_twice(scanned: Path) -> None:
    first, again = verify(scanned, "--sample", "4"), verify(scanned, "--sample", "4")
    assert len(first) == 5
    assert set(first) == set(again)
    assert set(verify(scanned, "--sample", "4", "--seed", "1")) != set(first)


def test_the_table(scanned: Path) -> None:
    ran = run("code-report", "verify", "1", "-q", "--workspace", scanned / "ws")
    assert "13 rows verified" in ran.stdout
    assert "reproduced" in ran.stdout


def test_the_digest_can_be_computed_from_a_report(scanned: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    run("code-report", "export", "1", "--json", target, "--workspace", scanned / "ws")
    document = json.loads(target.read_text(encoding="utf-8"))
    digest = hashlib.sha256()
    for row in document["files"]:
        line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest.update(line.encode() + b"\n")
    assert document["summary"]["results_sha256"] == digest.hexdigest()


def test_relative_paths_lead_back_from_anywhere(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verified, and drawn in a report, from another directory than the scan was started in."""
    ws, target = tmp_path / "ws", tmp_path / "r.html"
    monkeypatch.chdir(tmp_path)
    run("code-scan", "photos", "-k", "3", "--workspace", ws, "-q", "--html", target)
    drawn = target.stat().st_size
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    lines = run("code-report", "verify", "latest", "--jsonl", "-", "-q", "--workspace", ws).stdout
    rows = list(map(json.loads, lines.splitlines()))
    assert {row["outcome"] for row in rows} == {"reproduced", "unread"}
    assert "photos/rough0.jpg" in {row["path"] for row in rows}
    export = ("code-report", "export", "latest", "--html", target, "--workspace", ws)
    run(*export, "--no-thumbnails")
    assert target.stat().st_size < drawn - 10_000
    run(*export)
    assert target.stat().st_size == pytest.approx(drawn, abs=500)
    assert str(tmp_path) in run("code-report", "show", "latest", "--workspace", ws).stdout
