"""``code-index doctor`` as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """A workspace whose gallery has JPEG reals, PNG fakes, and one picture in both classes."""
    folder = tmp_path_factory.mktemp("doctor")
    for number in range(24):
        draw_photo(folder / "real" / f"camera{number % 3}" / f"{number}.jpg", number)
        draw_photo(folder / "fake" / f"gen{number % 3}" / f"{number}.png", 100 + number, smooth=16)
    shutil.copy(folder / "real" / "camera0" / "0.jpg", folder / "fake" / "gen0" / "copy.jpg")
    run(
        *("code-index", "build", "desk", "--real", folder / "real", "--fake", folder / "fake"),
        *("--weights", small_checkpoint, "--workspace", folder / "w", "-q"),
    )
    return folder


def examine(space: Path, *more: str | Path) -> dict[str, dict[str, object]]:
    out = space / "doctor.json"
    run("code-index", "doctor", "desk", *more, "--json", out, "--workspace", space / "w", "-q")
    return {finding["check"]: finding for finding in json.loads(out.read_text())["findings"]}


def test_faults_are_found_with_numbers_and_advice(space: Path) -> None:
    found = examine(space)
    metadata = found["metadata"]
    assert metadata["severity"] == "serious"
    assert metadata["measures"]["seen"] == "headers"
    assert metadata["measures"]["looked_at"] == 49
    assert metadata["measures"]["auc_held_out_sources"] > 0.9  # one fake of 25 is a JPEG
    assert found["exact_duplicates"]["measures"]["in_both_classes"] == 1
    assert found["exact_duplicates"]["severity"] == "serious"
    assert found["dead_vectors"]["severity"] == "good"
    assert found["leakage"]["measures"]["files"] == 0
    assert all(f["advice"] for f in found.values() if f["severity"] not in ("good", "unknown"))


def test_fail_on_serious_exits_1(space: Path) -> None:
    arguments = ("doctor", "desk", "--workspace", space / "w", "-q", "--fail-on", "serious")
    assert run("code-index", *arguments, code=1).stdout.startswith("gallery desk\nserious")


def test_the_separation_is_that_of_scans_and_of_info(space: Path) -> None:
    found = examine(space)["separation"]
    assert found["measures"]["real"] == 24 and found["measures"]["fake"] == 24  # but one copy
    assert "leave-one-out AUC" in str(found["message"])
    shown = " ".join(run("code-index", "info", "desk", "--workspace", space / "w").stdout.split())
    assert f"separation {found['message']}" in shown


def test_a_gallery_that_decides_nothing_is_serious(tmp_path: Path, small_checkpoint: Path) -> None:
    for number in range(24):
        draw_photo(tmp_path / "real" / f"s{number % 3}" / f"{number}.png", number)
        draw_photo(tmp_path / "fake" / f"g{number % 3}" / f"{number}.png", 100 + number)
    folders = ("--real", tmp_path / "real", "--fake", tmp_path / "fake")
    space = ("--workspace", tmp_path / "w")
    run("code-index", "build", "desk", *folders, "--weights", small_checkpoint, "-q", *space)
    draw_photo(tmp_path / "photos" / "one.png", 500)
    target = tmp_path / "scan.json"
    run("code-scan", tmp_path / "photos", "--json", target, "-q", *space)
    row = json.loads(target.read_text())["files"][0]
    assert row["reason"] == "no_separation"
    found = examine(tmp_path)["separation"]
    assert found["severity"] == "serious" and "no_separation" in str(found["message"])


def test_the_table_shows_the_worst_first(space: Path) -> None:
    done = run("code-index", "doctor", "desk", "--workspace", space / "w", "-q")
    lines = done.stdout.splitlines()
    assert lines[0] == "gallery desk"
    assert lines[1].startswith("serious")
    assert "-> " in done.stdout


def test_leakage_against_given_files(space: Path, tmp_path: Path) -> None:
    new = draw_photo(tmp_path / "new.jpg", 9000)
    assert examine(space, "--against", new)["leakage"]["severity"] == "good"
    shutil.copy(space / "real" / "camera1" / "1.jpg", tmp_path / "held.jpg")
    from PIL import Image

    with Image.open(space / "fake" / "gen1" / "1.png") as image:
        image.save(tmp_path / "same-pixels.bmp")
    measures = examine(space, "--against", tmp_path)["leakage"]["measures"]
    assert (measures["files"], measures["same_file"], measures["near_duplicate"]) == (3, 1, 1)


def test_leakage_of_scans_on_record(space: Path, tmp_path: Path) -> None:
    draw_photo(tmp_path / "new.jpg", 9001)
    shutil.copy(space / "real" / "camera2" / "2.jpg", tmp_path / "held.jpg")
    run("code-scan", tmp_path, "--workspace", space / "w", "-q")
    found = examine(space)["leakage"]
    assert found["severity"] == "serious"
    assert "held.jpg" in str(found["message"])
    assert found["measures"]["same_file"] == 1


def test_files_that_are_gone_are_judged_by_what_is_stored(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    for number in range(21):
        draw_photo(tmp_path / "real" / f"s{number % 2}" / f"{number}.jpg", number)
        draw_photo(tmp_path / "fake" / f"g{number % 2}" / f"{number}.png", 50 + number, smooth=16)
    run(
        *("code-index", "build", "desk", "--real", tmp_path / "real", "--fake", tmp_path / "fake"),
        *("--weights", small_checkpoint, "--workspace", tmp_path / "w", "-q"),
    )
    shutil.rmtree(tmp_path / "fake")
    found = examine(tmp_path)
    assert found["metadata"]["measures"]["seen"] == "stored format, size and bytes"
    assert found["metadata"]["severity"] == "serious"
    assert found["content"]["severity"] == "unknown"
    assert found["content"]["measures"]["not_looked_at"] == 21


def test_what_cannot_be_examined_exits_2(space: Path) -> None:
    for arguments in (("nobody",), ("desk", "--against", "/nowhere/at/all")):
        done = run("code-index", "doctor", *arguments, "--workspace", space / "w", "-q", code=2)
        assert done.stderr.startswith("error:")
