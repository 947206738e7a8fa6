"""A scan on record judged again, and what two scans differ in."""

import csv
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from code_forensics.engine.judging.scores import SCORE
from code_forensics.engine.report.difference import Cause, compare_runs
from code_forensics.engine.report.tally import Tally
from code_forensics.engine.results import FileResult, Status, Verdict
from code_forensics.index.searching import large_class
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> tuple[Path, Path]:
    """A workspace with the galleries one and two (labels exchanged), and scan 1 by one."""
    folder = tmp_path_factory.mktemp("rejudged")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(3):
        draw_photo(folder / "photos" / f"rough{number}.png", 200 + number, smooth=1)
        draw_photo(folder / "photos" / f"smooth{number}.png", 300 + number, smooth=16)
    shutil.copy(folder / "photos" / "rough0.png", folder / "photos" / "rough0-copy.png")
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    workspace = folder / "ws"
    for name, real, fake in (("one", "rough", "smooth"), ("two", "smooth", "rough")):
        run(
            *("code-index", "build", name, "--real", folder / real, "--fake", folder / fake),
            *("--weights", small_checkpoint, "--workspace", workspace, "-q"),
        )
    run("code-scan", folder / "photos", "--gallery", "one", "--workspace", workspace, "-q")
    return folder / "photos", workspace


def report(workspace: Path, scan: str) -> list[dict[str, str]]:
    target = workspace.with_name("report.csv")
    run("code-report", "export", scan, "--csv", target, "--workspace", workspace)
    with target.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_rejudged_scan_equals_a_scan_of_the_files(space: tuple[Path, Path]) -> None:
    photos, workspace = space
    run("code-scan", photos, "--gallery", "two", "--workspace", workspace, "-q")
    scanned = report(workspace, "latest")
    hidden = photos.with_name("hidden")
    photos.rename(hidden)  # no image can be opened
    try:
        run("code-report", "rejudge", "1", "--gallery", "two", "--workspace", workspace)
    finally:
        hidden.rename(photos)
    rejudged = report(workspace, "latest")
    assert len(rejudged) == 8
    for ours, theirs in zip(rejudged, scanned, strict=True):
        assert ours | {"status": ""} == theirs | {"status": ""}
    assert [row["status"] for row in rejudged].count("duplicate") == 1
    assert {row["knn"] for row in rejudged if "rough" in row["path"]} == {"fake"}


def test_diff_names_what_flipped_and_why(space: tuple[Path, Path]) -> None:
    photos, workspace = space
    run("code-report", "rejudge", "1", "--gallery", "two", "--workspace", workspace)
    text = run(
        "code-report", "diff", "1", "latest", "--jsonl", "-", "--workspace", workspace
    ).stdout
    rows = {Path(row["path"]).name: row for row in map(json.loads, text.splitlines())}
    assert set(rows) == {path.name for path in photos.iterdir()} - {"broken.jpg"}
    assert rows["rough1.png"]["knn"] == ["real", "fake"]
    assert all("gallery" in row["why"] for row in rows.values())
    target = workspace.parent / "diff.jsonl"
    again = ("code-report", "diff", "1", "latest", "--jsonl", target, "--workspace", workspace)
    table = run(*again).stdout
    assert target.read_text(encoding="utf-8") == text
    assert run(*again).stdout == table  # an earlier report is replaced
    assert "7 differ, 1 agree, 0 only in 1, 0 only in" in table
    same = run("code-report", "diff", "1", "1", "--workspace", workspace).stdout
    assert "0 differ, 8 agree" in same


def test_other_thresholds_alone_are_named_as_the_cause(space: tuple[Path, Path]) -> None:
    _, workspace = space
    strict = ("--target-fpr", "0.04", "--target-fnr", "0.04")
    for options in (strict, ("--target-fpr", "0.9", "--target-fnr", "0.9")):
        run("code-report", "rejudge", "1", "--gallery", "one", *options, "--workspace", workspace)
    scans = run("code-report", "list", "--workspace", workspace).stdout
    last = max(int(line.split()[0]) for line in scans.splitlines() if line.split()[0].isdigit())
    both = (str(last - 1), str(last))
    text = run("code-report", "diff", *both, "--jsonl", "-", "--workspace", workspace).stdout
    for row in map(json.loads, text.splitlines()):
        assert row["why"] == ["threshold"]
        assert row["score"][0] == row["score"][1]


RECORD = {
    "encoder": {"sha256": "a"},
    "preprocessing": "p",
    "gallery": {"sha256": "g"},
    "k": 1,
    "judging": {"thresholds": {"fake_above": 0.1}},
}


def test_runs_differ_in_what_their_records_say() -> None:
    assert compare_runs(RECORD, RECORD).causes == ()
    other = {**RECORD, "encoder": {"sha256": "b"}, "k": 3}
    assert compare_runs(RECORD, other).causes == (Cause.ENCODER, Cause.K)
    rescored = {**RECORD, "judging": {**RECORD["judging"], "score": "another"}}
    assert compare_runs(RECORD, rescored).causes == (Cause.SCORE,)
    exact = {**RECORD, "gallery": {"sha256": "g", "search": {"real": {"kind": "exact"}}}}
    cells = {**RECORD, "gallery": {"sha256": "g", "search": {"real": {"kind": "pq"}}}}
    assert compare_runs(exact, cells).causes == (Cause.SEARCH,)
    assert compare_runs(RECORD, cells).causes == ()  # an earlier version did not say
    old, new = ({**RECORD, "decoders": {"pillow": version}} for version in ("11", "12"))
    assert compare_runs(old, new).causes == (Cause.DECODERS,)


def test_a_probe_can_flip_a_verdict_whose_score_is_the_same() -> None:
    views = {"crops": "center", "probe": False, "id": ""}
    plain, probed, five = (
        {**RECORD, "views": {**views, **more}}
        for more in ({}, {"probe": True, "id": "probe/1"}, {"crops": "five", "id": "five/1"})
    )
    decided = FileResult(
        "a", "0" * 64, 1, "PNG", 300, 300, Status.CACHED, verdict=Verdict.FAKE, score=0.5
    )
    unstable = replace(decided, verdict=Verdict.INCONCLUSIVE, reason="unstable")
    assert compare_runs(plain, probed).of(decided, unstable) == (Cause.VIEWS,)
    again = {**probed, "decoders": {"libjpeg_turbo": "3.0"}}
    newer = {**probed, "decoders": {"libjpeg_turbo": "3.1"}}
    assert compare_runs(again, newer).of(decided, unstable) == (Cause.DECODERS,)
    assert compare_runs(plain, five).of(decided, unstable) == ()  # other crops, the same score


def test_a_gallery_of_another_encoder_is_refused(
    space: tuple[Path, Path], deit: Path, tmp_path: Path
) -> None:
    photos, workspace = space
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    run(
        *("code-index", "build", "deit", "--real", photos, "--fake", photos),
        *("--weights", deit, "--workspace", copy, "-q"),
    )
    refused = run("code-report", "rejudge", "1", "--gallery", "deit", "--workspace", copy, code=2)
    assert "another encoder" in refused.stderr
    assert "code-scan" in refused.stderr


def test_large_classes_are_searched_in_cells_or_exactly_as_asked(
    space: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos, workspace = space
    monkeypatch.setattr(large_class, "EXACT", 10)
    monkeypatch.setattr(large_class, "cells_for", lambda _: 4)

    def searched(*command: str | Path) -> dict[str, str]:
        run(*command, "--gallery", "one", "--workspace", workspace)
        target = tmp_path / "r.json"
        run("code-report", "export", "latest", "--json", target, "--workspace", workspace)
        search = json.loads(target.read_text())["run"]["gallery"]["search"]
        return {label: way["kind"] for label, way in search.items()}

    exactly = {"real": "exact", "fake": "exact"}
    in_cells = searched("code-scan", photos, "-q")
    assert in_cells.keys() == exactly.keys() and "exact" not in in_cells.values()
    assert searched("code-report", "rejudge", "latest") == in_cells
    assert searched("code-report", "rejudge", "latest", "--exact-search") == exactly
    assert searched("code-scan", photos, "-q", "--exact-search") == exactly
    assert searched("code-report", "rejudge", "latest") == exactly
    assert searched("code-report", "rejudge", "latest", "--no-exact-search") == in_cells


def judged_by(workspace: Path) -> dict[str, object]:
    """What the latest scan was judged by."""
    with Workspace(workspace) as opened:
        record = opened.scans.info("latest").run
    judging = record["judging"]
    return {
        "gallery": (record["gallery"]["name"], record["gallery"]["generation"]),
        **{name: judging[name] for name in ("k", "target_fpr", "target_fnr", "prior")},
    }


def test_what_no_option_says_is_as_in_the_scan(space: tuple[Path, Path], tmp_path: Path) -> None:
    photos, ws = space[0], tmp_path / "ws"
    shutil.copytree(space[1], ws)
    rates = ("--target-fpr", "0.2", "--target-fnr", "0.3", "--prior", "0.4")
    run("code-scan", photos, "--gallery", "one", "-k", "3", *rates, "--workspace", ws, "-q")
    scan = judged_by(ws)
    run("code-index", "default", "two", "--workspace", ws)
    said = run("code-report", "rejudge", "latest", "--workspace", ws).stderr
    assert judged_by(ws) == scan
    assert "was: gallery one, generation 1" in said
    said = run("code-report", "rejudge", "latest", "--prior", "0.1", "--workspace", ws).stderr
    assert judged_by(ws) == scan | {"prior": 0.1}
    assert "but for: --prior 0.1 (was 0.4)" in said
    added = ("code-index", "add", "one", "--fake", f"new={photos}", "--workspace", ws)
    run(*added)
    said = run("code-report", "rejudge", "latest", "-k", "1", "--workspace", ws).stderr
    assert judged_by(ws) == scan | {"prior": 0.1, "gallery": ("one", 2), "k": 1}
    line = next(line for line in said.splitlines() if "but for" in line)
    assert "gallery one, generation 2" in line and "(was one, generation 1" in line
    assert "-k 1 (was 3)" in line and "--prior" not in line


def test_an_old_record_is_judged_by_the_defaults_where_it_says_nothing(
    space: tuple[Path, Path], tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    shutil.copytree(space[1], ws)
    with Workspace(ws) as opened:
        record = dict(opened.scans.info("1").run)
        del record["judging"], record["views"]
        record["gallery"] = {n: v for n, v in record["gallery"].items() if n != "search"}
        opened._database.conn.execute("UPDATE scans SET run = ? WHERE id = 1", [json.dumps(record)])
        opened._database.conn.commit()
    said = run("code-report", "rejudge", "1", "--workspace", ws).stderr
    assert f"score {SCORE} (was margin)" in said
    usual = {"k": 1, "target_fpr": 0.01, "target_fnr": 0.01, "prior": 0.5}
    assert judged_by(ws) == {"gallery": ("one", 1), **usual}


def test_a_scan_whose_gallery_is_gone_asks_for_another(
    space: tuple[Path, Path], tmp_path: Path
) -> None:
    ws = tmp_path / "ws"
    shutil.copytree(space[1], ws)
    run("code-index", "remove", "one", "--workspace", ws)
    refused = run("code-report", "rejudge", "1", "--workspace", ws, code=2).stderr
    assert "gallery 'one' of scan 1 is gone (there are: two)" in refused
    assert "--gallery" in refused
    run("code-report", "rejudge", "1", "--gallery", "two", "--workspace", ws)


def test_an_interrupted_rejudging_does_not_claim_to_go_on(
    space: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(space[1], workspace)
    add, seen = Tally.add, []

    def interrupting(tally: Tally, result: FileResult) -> None:
        add(tally, result)
        seen.append(result)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Tally, "add", interrupting)
    monkeypatch.setattr("code_forensics.cli.running._leave_at_once", lambda: sys.exit(130))
    monkeypatch.setattr("code_forensics.engine.rejudge.COMMIT_ROWS", 2)
    command = ("code-report", "rejudge", "1", "--gallery", "two", "--workspace", workspace)
    said = " ".join(run(*command, code=130).stderr.split())
    assert "2 files are done and kept" in said
    assert "to go on" not in said and "begins with the first file again" in said
    with Workspace(workspace) as opened:
        assert opened.scans.info("latest").state == "interrupted"


def test_what_is_judged_again_is_no_more_finished_than_it_was(
    space: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "ws"
    shutil.copytree(space[1], workspace)
    with Workspace(workspace) as opened:
        opened._database.conn.execute("UPDATE scans SET state = 'interrupted' WHERE id = 1")
        opened._database.conn.commit()
    run("code-report", "rejudge", "1", "--gallery", "one", "--workspace", workspace)
    with Workspace(workspace) as opened:
        again = opened.scans.info("latest")
        assert again.state == "interrupted"
        uuid = opened.scans.info("1").uuid
    assert f"scan 1 ({uuid})" in "".join(
        run("code-report", "show", "latest", "--workspace", workspace).stdout.splitlines()
    )
    monkeypatch.setenv("COLUMNS", "240")
    listed = run("code-report", "list", "--workspace", workspace).stdout
    assert "scan 1 judged again" in listed.splitlines()[-1]


def test_a_scan_without_rows_is_not_judged_again(space: tuple[Path, Path], tmp_path: Path) -> None:
    _, workspace = space
    (tmp_path / "nothing").mkdir()
    run("code-scan", tmp_path / "nothing", "-q", "--gallery", "one", "--workspace", workspace)
    done = run("code-report", "rejudge", "latest", "--workspace", workspace, code=2)
    assert "has no rows to be judged again" in done.stderr
