"""``code-index evaluate`` as a user runs it."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import SHARED, draw_photo

BIN = Path(sys.executable).parent
FIELDS = (
    *("auc", "ap", "eer", "balanced_accuracy", "accuracy_real", "accuracy_fake"),
    *("tpr_at_fpr_01", "tpr_at_fpr_05", "cllr", "ece", "abstained"),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gallery/ and new/, each real/SOURCE and fake/GENERATOR: rough pictures and smooth ones."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(24):
        source = f"camera{number % 2}"
        generator = f"gen{number % 2}"
        draw_photo(folder / "gallery" / "real" / source / f"{number}.jpg", number)
        draw_photo(
            folder / "gallery" / "fake" / generator / f"{number}.png", 100 + number, smooth=16
        )
    for number in range(6):
        draw_photo(folder / "new" / "real" / f"phone{number % 2}" / f"{number}.jpg", 200 + number)
        generator = f"gen{number % 2}"
        draw_photo(folder / "new" / "fake" / generator / f"{number}.png", 300 + number, smooth=16)
    return folder


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, pictures: Path, small_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    gallery = pictures / "gallery"
    run(
        *("code-index", "build", "desk", "--real", gallery / "real", "--fake", gallery / "fake"),
        *("--weights", small_checkpoint, "--workspace", folder, "-q"),
    )
    return folder


def test_json_holds_every_metric_with_its_interval(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    done = run(
        *("code-index", "evaluate", "desk", pictures / "new", "--json", tmp_path / "e.json"),
        *("--workspace", space, "--resamples", "50", "-q"),
    )
    document = json.loads((tmp_path / "e.json").read_text())
    assert set(document["by_generator"]) == {"gen0", "gen1"}
    for metrics in (document["overall"], *document["by_generator"].values()):
        assert set(FIELDS) <= set(metrics)
        assert set(FIELDS) <= set(metrics["ci95"])
        assert metrics["n_real"] == 6
    assert document["overall"]["n_fake"] == 6
    assert document["accuracy_of"] == "likelihood_ratio"
    assert [t["target_fpr"] for t in document["targets"]] == [0.01, 0.05]
    assert document["calibration"]["after"]["cllr"]["value"] == document["overall"]["cllr"]
    assert "by generator" in done.stdout
    assert "gen1" in done.stdout
    assert "rest on 2 sources of real images" in done.stderr


def test_the_scan_on_record_gives_the_same_figures(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    """Every figure of the JSON follows from the exported rows, by the definitions."""
    out = tmp_path / "e.json"
    run(
        *("code-index", "evaluate", "desk", pictures / "new", "--json", out),
        *("--workspace", space, "--resamples", "0", "-q"),
    )
    document = json.loads(out.read_text())
    run(
        *("code-report", "export", str(document["scan"]), "--csv", tmp_path / "s.csv"),
        *("--workspace", space),
    )
    with (tmp_path / "s.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    real = [row for row in rows if "/new/real/" in row["path"]]
    fake = [row for row in rows if "/new/fake/" in row["path"]]
    assert (len(real), len(fake), len(rows)) == (6, 6, 12)
    pairs = [(float(f["score"]), float(r["score"])) for f in fake for r in real]
    auc = sum((f > r) + (f == r) / 2 for f, r in pairs) / 36
    overall = document["overall"]
    assert overall["auc"] == pytest.approx(auc, abs=1e-9)
    right = sum(float(row["log10_lr"]) > 0 for row in fake) / 6
    assert overall["accuracy_fake"] == pytest.approx(right)
    abstained = sum(row["verdict"] == "inconclusive" for row in rows) / 12
    assert overall["abstained"] == pytest.approx(abstained)
    assert overall["ci95"]["auc"] is None


def test_it_looks_at_the_crops_that_are_asked_for(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    scores = {}
    for crops in ("center", "five"):
        out = tmp_path / f"{crops}.json"
        run(
            *("code-index", "evaluate", "desk", pictures / "new", "--json", out, "--crops", crops),
            *("--workspace", space, "--resamples", "0", "-q"),
        )
        evaluated = json.loads(out.read_text())
        assert evaluated["views"]["crops"] == crops
        scan = str(evaluated["scan"])
        run("code-report", "export", scan, "--json", tmp_path / "s.json", "--workspace", space)
        document = json.loads((tmp_path / "s.json").read_text())
        assert document["run"]["views"]["crops"] == crops
        scores[crops] = [row["score"] for row in document["files"]]
        for row in document["files"]:
            assert row["score"] == pytest.approx(
                np.mean([crop["score"] for crop in row["crops"]]) if row["crops"] else row["score"]
            )
    assert scores["five"] != scores["center"]


def test_what_the_gallery_holds_is_left_out_and_counted(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(pictures / "new", mixed)
    shutil.copy(pictures / "gallery" / "real" / "camera0" / "0.jpg", mixed / "real" / "held.jpg")
    arguments = ("code-index", "evaluate", "desk", mixed, "--resamples", "0", "-q")
    done = run(*arguments, "--json", tmp_path / "e.json", "--workspace", space)
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["left_out"]["same_file"] == 1
    assert document["overall"]["n_real"] == 6
    assert "1 images are in the gallery" in done.stderr
    assert "sources that the gallery" in done.stderr  # gen0 and gen1 are in both
    run(*arguments, "--keep-gallery", "--json", tmp_path / "k.json", "--workspace", space)
    assert json.loads((tmp_path / "k.json").read_text())["overall"]["n_real"] == 7
    done = run(
        *("code-index", "evaluate", "desk", pictures / "gallery", "--workspace", space), code=2
    )
    assert "48 in the gallery" in done.stderr


def test_labels_from_csv_and_json_on_stdout(space: Path, pictures: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    lines = ["path,label,generator,source"]
    for number in range(6):
        lines.append(f"real/phone{number % 2}/{number}.jpg,real,,one")
        lines.append(f"fake/gen{number % 2}/{number}.png,fake,\x1b[31mgen,two")
    labels.write_text("\n".join(lines))
    done = subprocess.run(
        [
            *(BIN / "code-index", "evaluate", "desk", pictures / "new", "--csv-labels", labels),
            *("--json", "-", "--workspace", space, "--resamples", "20", "-q"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["layout"], set(document["by_generator"])) == ("csv", {"\\x1b[31mgen"})
    assert "\x1b[31m" not in done.stdout + done.stderr


def test_d3_layout_gives_the_papers_table(space: Path, pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "d3_test"
    for condition in ("augm", "no_augm"):
        shutil.copytree(pictures / "new" / "real", root / condition / "real")
        for number in range(4 if condition == "augm" else 3):
            draw_photo(root / condition / f"gen_{number}" / "1.png", 400 + number, smooth=16)
    done = run(
        *("code-index", "evaluate", "desk", root, "--json", tmp_path / "e.json"),
        *("--workspace", space, "--resamples", "20", "-q"),
    )
    document = json.loads((tmp_path / "e.json").read_text())
    table = {row["condition"]: row for row in document["d3"]}
    assert set(table) == {"augm", "no_augm"}
    assert set(table["augm"]["by_generator"]) == {"gen_0", "gen_1", "gen_2", "gen_3"}
    values = [table["augm"]["real"], *table["augm"]["by_generator"].values()]
    assert table["augm"]["mean"] == pytest.approx(sum(values) / 5)
    assert document["overall"]["n_real"] == 12  # the same bytes count in each condition
    shown = done.stdout.partition("as in CoDE's paper")[2].splitlines()
    (heads,) = (line for line in shown if "mean" in line)
    assert re.findall(r"gen_\d", heads) == ["gen_0", "gen_1", "gen_2", "gen_3"]
    (plain,) = (line for line in shown if "no_augm" in line)
    assert plain.split()[-2] == "-"  # no_augm has no gen_3


def test_plots_are_pictures(space: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run(
        *("code-index", "evaluate", "desk", pictures / "new", "--plots", tmp_path / "plots"),
        *("--workspace", space, "--resamples", "0", "-q"),
    )
    files = {path.name: path.read_bytes()[:8] for path in (tmp_path / "plots").iterdir()}
    assert set(files) == {
        f"{name}.{kind}"
        for name in ("roc", "det", "tippett", "reliability")
        for kind in ("svg", "png")
    }
    assert all(files[name] == b"\x89PNG\r\n\x1a\n" for name in files if name.endswith("png"))


def test_plots_that_cannot_be_written_are_refused_before_the_scan(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    evaluate = ("code-index", "evaluate", "desk", pictures / "new", "--workspace", space, "-q")
    with Workspace(space) as opened:
        before = len(opened.scans.all())
    for more in (
        ("--plots", tmp_path / "file"),
        ("--plots", tmp_path / "file" / "below"),
        ("--plots", tmp_path / "new", "--json", tmp_path / "new"),
        ("--plots", ""),
    ):
        done = run(*evaluate, *more, code=2)
        assert len(done.stderr.splitlines()) <= 2
    with Workspace(space) as opened:
        assert len(opened.scans.all()) == before


def test_plots_that_fail_after_the_scan_leave_the_tables(
    space: Path, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "plots" / "roc.svg").mkdir(parents=True)
    done = run(
        *("code-index", "evaluate", "desk", pictures / "new", "--plots", tmp_path / "plots"),
        *("--json", tmp_path / "e.json", "--workspace", space, "--resamples", "0", "-q"),
        code=2,
    )
    assert "cannot write plots" in done.stderr
    assert "by generator" in done.stdout
    assert json.loads((tmp_path / "e.json").read_text())["overall"]["n_real"] == 6


def test_a_gallery_too_small_to_calibrate_is_judged_by_the_vote(
    tmp_path: Path, labelled: Path, small_checkpoint: Path, pictures: Path
) -> None:
    run(
        *("code-index", "build", "tiny", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "--workspace", tmp_path / "w", "-q"),
    )
    done = run(
        *("code-index", "evaluate", "tiny", pictures / "new", "--json", tmp_path / "e.json"),
        *("--workspace", tmp_path / "w", "--resamples", "20", "-q"),
    )
    document = json.loads((tmp_path / "e.json").read_text())
    assert document["accuracy_of"] == "vote"
    assert document["overall"]["cllr"] is None
    assert document["overall"]["abstained"] == 1.0
    assert document["targets"][0]["guaranteed_fpr"] is None
    assert "not calibrated" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["desk"], "no folder is given"),
        (["nobody", "."], "there is no gallery"),
        (["desk", "/nowhere/at/all"], "there is no folder"),
        (["desk", ".", "--csv-labels", "missing.csv"], "cannot read labels"),
        (["desk", "--layout", "csv", "."], "needs a file"),
        (["desk", "a", "b", "--csv-labels", "x.csv"], "one folder at most"),
        (["desk", ".", "--csv-labels", "x.csv", "--layout", "d3"], "exclude each other"),
    ],
)
def test_what_cannot_be_evaluated_exits_2_with_one_line(
    space: Path, pictures: Path, arguments: list[str], message: str
) -> None:
    arguments = [str(pictures / "new") if a == "." else a for a in arguments]
    done = run("code-index", "evaluate", *arguments, "--workspace", space, "-q", code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_on_real_pictures_of_other_sources(tmp_path: Path, deit: Path) -> None:
    """The figures themselves are not promised: an encoder that knows no fakes finds none."""
    data = SHARED / "data" / "train"
    if not data.is_dir():
        pytest.skip("the labelled pictures of ../shared are not here")
    build: list[str | Path] = []
    for source in ("bsds500", "kutsu-camera"):
        build += ["--real", data / "real" / source]
    for source in ("qwen-image", "flux-1-dev"):
        build += ["--fake", f"{source}={data / 'fake' / source}"]
    run(
        *("code-index", "build", "g", *build, "--include", "000*.jpg", "--include", "001*.jpg"),
        *("--weights", deit, "--workspace", tmp_path / "w", "-q"),
    )
    labels = tmp_path / "labels.csv"
    lines = ["path,label,generator,source"]
    for number in range(12):
        lines.append(f"real/picsum/{number:04}.jpg,real,,picsum")
        lines.append(f"fake/hastings-sdxl/{number:04}.jpg,fake,SDXL,hastings")
    labels.write_text("\n".join(lines))
    run(
        *("code-index", "evaluate", "g", data, "--csv-labels", labels, "--json"),
        *(tmp_path / "e.json", "--workspace", tmp_path / "w", "--resamples", "100", "-q"),
    )
    document = json.loads((tmp_path / "e.json").read_text())
    overall = document["overall"]
    assert (overall["n_real"], overall["n_fake"], document["shared_sources"]) == (12, 12, [])
    assert overall["ci95"]["auc"][0] <= overall["auc"] <= overall["ci95"]["auc"][1]
    assert overall["cllr"] < 1.5  # ELUB keeps likelihood ratios from misleading far


def test_an_evaluation_is_marked_and_is_not_the_latest_scan(
    space: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(space, workspace)
    options = ("--workspace", workspace, "-q")
    run("code-scan", pictures / "new" / "real", "--gallery", "desk", *options)
    with Workspace(workspace) as opened:
        scan = opened.scans.info("latest").key
    run("code-index", "evaluate", "desk", pictures / "new", *options, "--resamples", "0")
    with Workspace(workspace) as opened:
        assert opened.scans.info("latest").key == scan != opened.scans.all()[-1].key
        assert opened.scans.all()[-1].run["arguments"]["directory"] == str(Path.cwd())
    monkeypatch.setenv("COLUMNS", "240")
    listed = run("code-report", "list", "--workspace", workspace).stdout
    assert "code-index evaluate: " in listed.splitlines()[-1]
