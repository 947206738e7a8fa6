"""The embedded starter in workspaces: chosen last, installed once, never changed silently."""

import csv
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.starter import read as starter_files
from code_forensics.engine.starter.read import EMBEDDED, ORIGIN, read_about
from code_forensics.index.starters import starter_action
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import SMALL, draw_photo
from tests.index.stored import DIMENSION, ENCODER, STEPS, references

BIN = Path(sys.executable).parent


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        draw_photo(tmp_path / "photos" / f"{number}.jpg", number, smooth=1 + 7 * number)
    return tmp_path / "photos"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@dataclass(frozen=True)
class Scanned:
    """A scan's rows, and what it said."""

    rows: list[dict[str, str]]
    said: str

    @property
    def galleries(self) -> set[str]:
        return {row["neighbour"].split(":")[0] for row in self.rows}


def scan(photos: Path, space: Path, *options: str) -> Scanned:
    report = space.with_suffix(".csv")
    said = run("code-scan", photos, "--csv", report, "--workspace", space, *options).stderr
    return Scanned(rows(report.read_text()), said)


def test_an_empty_workspace_scans_with_the_starter_and_says_so(
    photos: Path, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    package = {file: file.stat().st_mtime_ns for file in EMBEDDED.iterdir()}
    first = scan(photos, ws)
    assert [row["status"] for row in first.rows] == ["scanned"] * 3
    assert {row["verdict"] for row in first.rows} <= {"real", "fake", "inconclusive"}
    assert first.galleries == {"starter"}
    assert "uncalibrated" not in {row["reason"] for row in first.rows}
    about = read_about()
    said = [line for line in first.said.splitlines() if "embedded starter" in line]
    assert len(said) == 1
    assert f"{about.reals} real, {about.fakes} fake references" in said[0]
    with Workspace(ws) as opened:
        info = opened.choose_gallery()
        assert info.sha256 == about.gallery_sha256 and info.generation == 1
        assert opened.galleries.assessment(info, about.k) is not None
        assert opened.encoders.find(about.encoder_sha256).origin == "embedded starter"
    again = scan(photos, ws)
    keep = ("path", "verdict", "score", "log10_lr", "neighbour")
    assert [[row[c] for c in keep] for row in again.rows] == [
        [row[c] for c in keep] for row in first.rows
    ]
    assert {file: file.stat().st_mtime_ns for file in EMBEDDED.iterdir()} == package


def test_a_scan_looks_at_the_crops_that_its_gallery_was_made_for(tmp_path: Path) -> None:
    draw_photo(tmp_path / "photos" / "wide.jpg", 5, (500, 400))
    photos, ws = tmp_path / "photos", tmp_path / "ws"
    space = ("--workspace", ws)
    usual = len(ViewPlan(read_about().crops).places(500, 400))
    assert usual == 7
    run("code-index", "build", "mine", "--real", photos, "--fake", f"g={photos}", *space)
    for gallery, options, crops in (
        ("starter", (), usual),
        ("starter", ("--crops", "center"), 0),
        ("mine", (), 0),
        ("mine", ("--crops", "five"), 5),
    ):
        report = tmp_path / "report.json"
        run("code-scan", photos, "--gallery", gallery, *options, "--json", report, *space)
        document = json.loads(report.read_text())
        assert len(document["files"][0]["crops"]) == crops
        assert document["run"]["encoder"]["licence"] == read_about().licence
        assert document["run"]["gallery"]["encoder_origin"] == ORIGIN
        assert read_about().licence in run("code-report", "show", "latest", *space).stdout
    shown = run("code-index", "info", "starter", *space).stdout
    assert "sixteen" in next(line for line in shown.splitlines() if "--crops" in line)
    scanned = run("code-scan", photos, "--gallery", "starter", *space).stdout
    said = " ".join(scanned.split())
    assert "mean over the middle and up to sixteen crops all over the picture" in said
    assert "not promised for means" in said


def test_one_own_gallery_stays_the_only_one(photos: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    run("code-scan", photos, *space)
    built = run("code-index", "build", "mine", "--real", photos, "--fake", f"g={photos}", *space)
    assert "encoder of the embedded starter" in built.stderr
    scanned = scan(photos, ws)
    assert scanned.galleries == {"mine"}
    assert "embedded starter" not in scanned.said
    named = scan(photos, ws, "--gallery", "starter")
    assert named.galleries == {"starter"}
    run("code-index", "default", "starter", *space)
    said = scan(photos, ws).said
    assert "as it is the workspace's default" in said and "no gallery of your own" not in said
    run("code-index", "default", "mine", *space)
    run("code-index", "remove", "mine", *space)
    assert "as there is no gallery of your own" in scan(photos, ws).said
    run("code-index", "build", "mine", "--real", photos, "--fake", f"g={photos}", *space)
    run("code-index", "build", "more", "--real", photos, "--fake", f"g={photos}", *space)
    refused = run("code-scan", photos, *space, code=2)
    assert "mine, more" in refused.stderr and "starter" not in refused.stderr
    run("code-index", "default", "starter", *space)
    scanned = scan(photos, ws)
    assert scanned.galleries == {"starter"}


def test_an_own_encoder_comes_before_the_starters(
    photos: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    folders = ("--real", photos, "--fake", f"g={photos}")
    run("code-scan", photos, *space)
    run("code-index", "build", "one", *folders, "--weights", small_checkpoint, *space)
    run("code-index", "build", "two", *folders, *space)
    with Workspace(ws) as opened:
        one, two = (opened.galleries.info(name) for name in ("one", "two"))
    assert one.encoder_sha256 == two.encoder_sha256 != read_about().encoder_sha256


def test_a_build_in_an_empty_workspace_installs_no_gallery(photos: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    build = ("--real", photos, "--fake", f"g={photos}", *space)
    said = run("code-index", "build", "mine", *build).stderr
    assert "embedding with the encoder of the embedded starter; another one: --weights" in said
    with Workspace(ws) as opened:
        assert opened.galleries.names() == ["mine"]
        assert opened.galleries.info("mine").encoder_sha256 == read_about().encoder_sha256


def test_the_encoder_is_named_where_the_user_does_not(
    photos: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    space = ("--workspace", tmp_path / "ws")
    build = ("--real", photos, "--fake", f"g={photos}", *space)
    said = run("code-index", "build", "one", *build, "--weights", small_checkpoint).stderr
    assert "embedding with" not in said
    digest = read_checkpoint(small_checkpoint).sha256[:12]
    only = f"the workspace's only encoder, {small_checkpoint} ({digest}); another one: --weights"
    assert f"embedding with {only}" in run("code-index", "build", "two", *build).stderr
    vectors = np.random.default_rng(1).standard_normal((2, SMALL.hidden_size)).astype(np.float32)
    np.savez(tmp_path / "v.npz", vectors=vectors, labels=[0, 1])
    said = run("code-index", "import", "three", tmp_path / "v.npz", *space).stderr
    assert f"taking the vectors for those of {only}" in said and "embedding with" not in said


def test_commands_know_it_by_its_name_before_it_is_installed(photos: Path, tmp_path: Path) -> None:
    listed = run("code-index", "list", "--workspace", tmp_path / "a").stdout
    assert "starter" in listed and "embedded" in listed
    with Workspace(tmp_path / "a") as opened:
        assert opened.galleries.names() == []  # to list is not to install
    shown = "".join(
        run("code-index", "info", "starter", "--workspace", tmp_path / "a").stdout.split()
    )
    about = read_about()
    assert about.gallery_sha256 in shown and "MODEL_CARD.md" in shown
    out = tmp_path / "out.npz"
    run("code-index", "export", "starter", out, "--workspace", tmp_path / "b")
    with np.load(out, allow_pickle=False) as archive:
        compared = archive["compared"].astype(bool)
        assert np.bincount(archive["labels"][compared]).tolist() == [about.reals, about.fakes]
        assert 0 < archive["trained"].sum() < len(archive["labels"])
        assert (compared == archive["trained"]).all()
    run("code-index", "import", "copy", out, "--workspace", tmp_path / "b")
    with Workspace(tmp_path / "b") as opened:
        assert opened.galleries.info("copy").sha256 == about.gallery_sha256
    found = tmp_path / "doctor.json"
    run("code-index", "doctor", "starter", "--json", found, "--workspace", tmp_path / "c")
    checks = {f["check"]: f["severity"] for f in json.loads(found.read_text())["findings"]}
    assert checks["balance"] == "good" and checks["near_duplicates"] != "serious"
    searched = run("code-index", "search", photos, "--in", "starter", "--workspace", tmp_path / "d")
    assert "starter:" in searched.stdout


def test_it_can_be_evaluated_by_name(photos: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled"
    for number in range(3):
        draw_photo(labelled / "real" / "a" / f"{number}.png", number)
        draw_photo(labelled / "fake" / "g" / f"{number}.png", 50 + number, smooth=8)
    out = tmp_path / "e.json"
    command = ("code-index", "evaluate", "starter", labelled, "--json", out, "--resamples", "0")
    run(*command, "--workspace", tmp_path / "ws")
    document = json.loads(out.read_text())
    assert document["gallery"]["sha256"] == read_about().gallery_sha256
    assert (document["overall"]["n_real"], document["overall"]["n_fake"]) == (3, 3)


def test_references_can_be_added_and_the_calibration_follows(photos: Path, tmp_path: Path) -> None:
    """An added reference is what its own picture is nearest to; what trained calibrates nothing."""
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    fakes = tmp_path / "new"
    for number in range(4):
        draw_photo(fakes / f"{number}.png", 900 + number, smooth=16)
    added = run("code-index", "add", "starter", "--fake", f"newgen={fakes}", *space)
    about = read_about()
    assert f"{about.fakes + 4} fake" in added.stderr
    found = scan(fakes, ws).rows
    assert all(float(row["fake_similarity"]) > 1 - 1e-5 for row in found)
    with Workspace(ws) as opened:
        info = opened.choose_gallery()
        assert (info.name, info.generation) == ("starter", 2)
        kept = [r.trained for r, _ in opened.galleries.references(info)]
        run_record = opened.scans.info("latest").run
        calibration = run_record["judging"]["calibration"]
        held_out = calibration["n_real"] + calibration["n_fake"]
        assert kept.count(False) - 20 < held_out < kept.count(False)  # copies count as one
        alone = opened.galleries.calibrating(info)
        assert sum(alone.values()) == kept.count(False) - 4  # what was added is compared with, too
    shown = run("code-index", "info", "starter", *space).stdout
    assert "real, for calibration alone" in shown


def test_a_gallery_of_ones_own_may_have_its_name(photos: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    run("code-index", "build", "starter", "--real", photos, "--fake", f"g={photos}", *space)
    scanned = scan(photos, ws)
    assert "embedded starter" not in scanned.said
    other = f"starter-{read_about().gallery_sha256[:8]}"
    assert other in run("code-index", "list", *space).stdout
    named = scan(photos, ws, "--gallery", other)
    assert named.galleries == {other}


def test_an_earlier_packages_starter_stays_and_is_named(photos: Path, tmp_path: Path) -> None:
    """What a workspace has from another package is used on; the new one comes when it is removed."""
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    earlier = "0" * 63 + "1"
    with Workspace(ws) as opened:
        opened.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "embedded starter")
        opened.galleries.create("starter", ENCODER, STEPS, references(10), starter_action(earlier))
        before = opened.choose_gallery()
    listed = run("code-index", "list", *space).stdout
    assert "embedded" not in listed
    assert "with the version" in run("code-index", "info", "starter", *space).stdout
    with Workspace(ws) as opened:
        assert opened.choose_gallery() == before
    run("code-index", "remove", "starter", *space)
    said = run("code-scan", photos, *space).stderr
    assert "earlier version" not in said
    with Workspace(ws) as opened:
        assert opened.choose_gallery().sha256 == read_about().gallery_sha256


def test_a_scan_with_an_earlier_starter_says_how_to_take_the_new_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = tmp_path / "ws"
    space = ("--workspace", ws)
    run("code-scan", photos, *space)
    package = tmp_path / "package"
    shutil.copytree(EMBEDDED, package)
    text = (package / "starter.json").read_text()
    newer = "f" * 64
    (package / "starter.json").write_text(text.replace(read_about().gallery_sha256, newer))
    monkeypatch.setattr(starter_files.read_about, "__defaults__", (package,))
    scanned = scan(photos, ws)
    assert "earlier version" in scanned.said and "code-index remove starter" in scanned.said
    assert {row["status"] for row in scanned.rows} == {"cached"}


def test_a_damaged_package_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter_files.read_starter, "__defaults__", (tmp_path / "nothing",))
    ws = tmp_path / "ws"
    refused = run("code-scan", photos, "--workspace", ws, code=2)
    assert "install code-forensics again" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    with Workspace(ws) as opened:
        assert opened.galleries.names() == [] and opened.encoders.all() == []


@pytest.mark.slow
def test_two_processes_at_once_install_it_once(photos: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    command = [
        str(BIN / "code-scan"),
        str(photos),
        "--csv",
        "-",
        "--workspace",
        str(ws),
    ]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], answers
    columns = ("path", "verdict", "score", "neighbour")
    first, second = ([[row[c] for c in columns] for row in rows(out)] for out, _ in answers)
    assert first == second and len(first) == 3
    with Workspace(ws) as opened:
        assert opened.galleries.names() == ["starter"]
        assert len(opened.starters.all()) == 1


def test_its_encoder_is_put_back_where_it_is_lost(tmp_path: Path) -> None:
    draw_photo(tmp_path / "photos" / "a.png", 1, (300, 300))
    where = ("--workspace", tmp_path / "ws")
    run("code-scan", tmp_path / "photos", "-q", *where)
    shutil.rmtree(tmp_path / "ws" / "encoders")
    draw_photo(tmp_path / "photos" / "b.png", 2, (300, 300))
    run("code-scan", tmp_path / "photos", "-q", *where)
    assert len(list((tmp_path / "ws" / "encoders").glob("*/model.safetensors"))) == 1
