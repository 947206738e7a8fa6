"""The public names, and the notebook of the documentation."""

import inspect
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from code_forensics.engine import (
    ArchiveLimits,
    Case,
    Crops,
    PipelineOptions,
    RecordedOptions,
    RecordedScan,
    WalkOptions,
    records,
)
from code_forensics.index import Workspace
from PIL import Image

from tests.cli.in_process import run

ROOMS = ("code_forensics.engine", "code_forensics.index")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_there_documented_and_typed(room: str) -> None:
    module = import_module(room)
    assert sorted(module.__all__) == sorted(module._MODULE_OF) == sorted(dir(module))
    for name in module.__all__:
        thing = getattr(module, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            hints = inspect.get_annotations(thing)
            assert set(inspect.signature(thing).parameters) | {"return"} == set(hints), name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_importing_the_rooms_is_cheap() -> None:
    heavy = "torch", "PIL", "faiss", "numpy", "sqlite_utils"
    code = f"import sys, {', '.join(ROOMS)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_notebook_gets_the_rows_of_the_command(reported: Path) -> None:
    folder = reported / "photos"
    with Workspace(reported / "ws") as space:
        scan = RecordedScan(space, [folder], RecordedOptions(case=Case("12")))
        frame = pd.DataFrame(list(records(scan)))
        info = space.scans.info(str(scan.key))
        assert (info.state, info.summary["files"]) == ("finished", len(frame))
    run("code-scan", folder, "-q", "--json", reported / "same.json", "--workspace", reported / "ws")
    same = pd.DataFrame(pd.read_json(reported / "same.json", typ="series")["files"])
    for column in ("path", "sha256", "verdict", "score", "p_fake", "reason"):
        pd.testing.assert_series_equal(frame[column], same[column], check_dtype=False)
    some = {"container", "frame", "frames", "classifier", "classifier_score"}
    assert set(frame.columns) == set(same.columns) | some  # JSON leaves out what a row has not
    assert frame[sorted(some)].isna().all(axis=None)


def test_archives_and_frames_are_scanned_as_by_the_command(reported: Path, tmp_path: Path) -> None:
    photo = next((reported / "photos").glob("*.jpg"))
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as album:
        album.write(photo, "a.jpg")
    frames = [Image.new("RGB", (300, 300), shade) for shade in ("red", "navy")]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    with Workspace(reported / "ws") as space:
        pipeline = PipelineOptions(archives=ArchiveLimits(), frames=5)
        scan = RecordedScan(space, [tmp_path], RecordedOptions(pipeline=pipeline))
        rows = list(scan)
        arguments = space.scans.info(str(scan.key)).run["arguments"]
    run("code-scan", tmp_path, "-q", "--archives", "--frames", "all", "--max-frames", "5",
        "--workspace", reported / "ws")  # fmt: skip
    with Workspace(reported / "ws") as space:
        info = space.scans.info("latest")
        assert [row["path"] for row in space.scans.rows(info)] == [row.path for row in rows]
        assert info.run["arguments"] == arguments
    names = [Path(row.path).name for row in rows]
    assert names == ["a.jpg", "album.zip", "clip.gif", "clip.gif#frame=2"]


def test_crops_and_the_probe_are_asked_for_as_of_the_command(reported: Path) -> None:
    with Workspace(reported / "ws") as space:
        scan = RecordedScan(
            space, [reported / "photos"], RecordedOptions(crops=Crops.FIVE, probe=True)
        )
        rows = [row for row in scan if row.score is not None]
    assert rows
    assert scan.run["views"] == {"crops": "five", "probe": True, "id": "five/1+probe/1"}
    run("code-scan", reported / "photos", "-q", "--crops", "five", "--probe",
        "--workspace", reported / "ws")  # fmt: skip
    with Workspace(reported / "ws") as space:
        info = space.scans.info("latest")
        scores = [row["score"] for row in space.scans.rows(info) if row["score"] is not None]
        assert scores == [row.score for row in rows]
        assert info.run["views"] == scan.run["views"]


def test_breaking_off_keeps_what_was_done(reported: Path) -> None:
    with Workspace(reported / "ws") as space:
        options = RecordedOptions(walking=WalkOptions(include=("*.jpg",)))
        scan = RecordedScan(space, [reported / "photos"], options)
        rows = iter(scan)
        next(rows)
        rows.close()
        assert space.scans.info(str(scan.key)).state == "interrupted"
        assert scan.summary.files >= 1


def test_the_workspace_itself_is_not_scanned(reported: Path) -> None:
    with Workspace(reported / "ws") as space:
        paths = [row.path for row in RecordedScan(space, [reported])]
    assert any(path.startswith(str(reported / "photos")) for path in paths)
    assert not any(path.startswith(str(reported / "ws")) for path in paths)


def test_a_failure_is_not_on_record_as_an_interruption(
    reported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("of the machine")

    with Workspace(reported / "ws") as space:
        scan = RecordedScan(space, [reported / "photos"])
        monkeypatch.setattr(scan._tally, "add", fails)
        with pytest.raises(RuntimeError, match="of the machine"):
            list(scan)
        assert space.scans.info(str(scan.key)).state == "failed"


def test_the_example_of_the_docstring_runs(reported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(import_module("code_forensics.engine"))
    example = inspect.cleandoc("\n" + text.split("::\n", 1)[1])
    monkeypatch.setenv("CODE_WORKSPACE", str(reported / "ws"))
    monkeypatch.chdir(reported)
    names: dict[str, object] = {}
    exec(compile(example, "example", "exec"), names)
    assert len(names["frame"]) == 10
    assert os.fspath(names["space"].folder) == str(reported / "ws")
