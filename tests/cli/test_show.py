"""``code-report show``: a scan and single files, found in every way that a report names them."""

import json
import os
import zipfile
from pathlib import Path

import pytest
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.judging.in_words import views_in_words

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture
def space(reported: Path) -> tuple[str, Path]:
    return ("--workspace", reported / "ws")


def rows(space: tuple[str, Path]) -> list[dict[str, object]]:
    done = run("code-report", "export", "1", "--jsonl", space[1].parent / "rows.jsonl", *space)
    assert done.stdout == ""
    return list(map(json.loads, (space[1].parent / "rows.jsonl").read_text("utf-8").splitlines()))


def test_a_scan_shows_its_record_and_its_limits(space: tuple[str, Path]) -> None:
    shown = run("code-report", "show", "1", *space).stdout
    for part in ("finished", "<b>17</b>", "gallery", "Limits", "not a proof", "files         10"):
        assert part in shown
    assert "is not known here" in shown and "SDXL" not in shown  # of an encoder of one's own


def test_a_shard_is_named(tmp_path: Path, space: tuple[str, Path]) -> None:
    draw_photo(tmp_path / "a.jpg", 1)
    run("code-scan", tmp_path, "--shard", "1/2", "-q", *space)
    assert "part 1 of 2" in run("code-report", "show", "latest", *space).stdout
    assert "part 1 of" not in run("code-report", "show", "1", *space).stdout


def test_a_file_is_explained_with_its_evidence(space: tuple[str, Path]) -> None:
    row = next(row for row in rows(space) if str(row["path"]).endswith("smooth1.png"))
    shown = run("code-report", "show", "1", "smooth1.png", *space).stdout
    assert shown.startswith(str(row["path"]))
    assert str(row["sha256"]) in shown
    assert f"{row['score']:+.4f}" in shown
    for neighbour in row["neighbours"]:
        assert neighbour["id"] in shown
        assert f"{neighbour['similarity']:.4f}" in shown
    assert "likelihood ratio" in shown
    assert "jpeg" not in shown or row["reason"] == "unstable"


def test_a_file_is_found_by_path_by_its_end_and_by_digest(space: tuple[str, Path]) -> None:
    row = next(row for row in rows(space) if str(row["path"]).endswith("rough2.jpg"))
    path, digest = str(row["path"]), str(row["sha256"])
    first = run("code-report", "show", "1", path, *space).stdout
    for name in ("rough2.jpg", f"photos{os.sep}rough2.jpg", digest[:8], digest.upper()):
        assert run("code-report", "show", "1", name, *space).stdout == first
    assert "rough2" not in run("code-report", "show", "1", "ough2.jpg", *space, code=2).stdout


def test_a_file_is_found_by_any_path_that_leads_to_it(
    tmp_path: Path, space: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("amb/a/x.jpg", "amb/b/x.jpg"):
        draw_photo(tmp_path / name, 1)

    def shows(scan: str, name: str | Path) -> str:
        return run("code-report", "show", scan, name, *space).stdout.splitlines()[0]

    monkeypatch.chdir(tmp_path)
    relative, absolute = os.path.join("amb", "a", "x.jpg"), tmp_path / "amb" / "a" / "x.jpg"
    run("code-scan", "amb", "-q", *space)
    for name in ("./amb/a/x.jpg", "amb/b/../a/x.jpg", absolute):
        assert shows("latest", name) == relative
    monkeypatch.chdir(tmp_path / "amb" / "b")
    for name in ("../a/x.jpg", absolute):
        assert shows("latest", name) == relative
    run("code-scan", tmp_path / "amb", "-q", *space)
    assert shows("latest", "../a/x.jpg") == str(absolute)
    assert shows("latest", "./x.jpg") == str(tmp_path / "amb" / "b" / "x.jpg")
    run("code-report", "show", "latest", tmp_path / "x.jpg", *space, code=2)


def test_a_file_that_is_no_image_points_to_archives(
    tmp_path: Path, space: tuple[str, Path]
) -> None:
    with zipfile.ZipFile(tmp_path / "album.zip", "w") as album:
        album.writestr("a.txt", "text")
    run("code-scan", tmp_path, "-q", *space)
    shown = run("code-report", "show", "latest", "album.zip", *space).stdout
    assert "--archives" in shown
    assert "Error" not in shown
    assert "system's words" not in shown


def test_a_hostile_name_is_found_as_the_report_writes_it(
    tmp_path: Path, space: tuple[str, Path]
) -> None:
    name = "a\x1b[31m.jpg"
    (tmp_path / name).write_bytes(b"")
    run("code-scan", tmp_path, "-q", *space)
    shown = run("code-report", "show", "latest", "a\\x1b[31m.jpg", *space)
    assert "\x1b" not in shown.stdout
    assert "The file was skipped. The file holds no bytes." in shown.stdout
    wrong = run("code-report", "show", "latest", "b\x1b.jpg", *space, code=2).stderr
    assert "\x1b" not in wrong.replace("\x1b[1;31m", "").replace("\x1b[0m", "")
    assert wrong.count("\n") == 1
    assert "code-report export" in wrong


def test_what_was_looked_at_is_said_in_words() -> None:
    plans = [None, *(ViewPlan(crops, probe).record() for crops in Crops for probe in (False, True))]
    said = [views_in_words(plan) for plan in plans]
    assert said[0] == said[1] == "the middle"
    assert "four corners" in said[3] and "up to sixteen crops" in said[5] and "all over" in said[7]
    assert ["harmless changes" in words for words in said] == [False, *[False, True] * len(Crops)]


def test_lists_are_for_programs_too(space: tuple[str, Path], tmp_path: Path) -> None:
    lines = run("code-report", "list", "--jsonl", "-", *space).stdout.splitlines()
    scan = json.loads(lines[0])
    report = json.loads(run("code-report", "export", "1", "--json", "-", *space).stdout)
    assert scan["scan"] == 1 and scan["state"] == "finished"
    assert scan["files"] == len(report["files"]) == 10
    assert scan["fake"] == sum(row["verdict"] == "fake" for row in report["files"])
    assert scan["case"] == report["run"]["arguments"].get("case", "")
    written = tmp_path / "galleries.jsonl"
    for _ in range(2):  # the second time it takes the first one's place
        table = run("code-index", "list", "--jsonl", written, *space)
    own, starter = map(json.loads, written.read_text("utf-8").splitlines())
    assert own["gallery"] == scan["gallery"] and own["gallery"] in table.stdout
    assert (starter["gallery"], starter["state"]) == ("starter", "embedded")
    assert {len(own["encoder"]), len(starter["encoder"])} == {64}
    assert own["encoder"][:12] in table.stdout and own["encoder"] not in table.stdout
