"""``code-scan`` as a user runs it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
from code_forensics.engine.interrupt import interruptible
from code_forensics.engine.judging.scores import FLOOR

from tests.cli.in_process import WITHOUT_TORCH
from tests.conftest import SHARED, draw_photo

BIN = Path(sys.executable).parent
COLUMNS = (
    "path,sha256,bytes,format,width,height,status,reason,knn,verdict,p_fake,margin,"
    "real_similarity,fake_similarity,generator,neighbour,duplicate_of,provenance,"
    "score,log10_lr,attribution,attribution_certainty,precision,container,frame,frames,"
    "classifier,classifier_score"
)


def run(*arguments: str | Path, code: int = 0, cwd: Path | None = None) -> str:
    """Run a command, check its exit code, and give what it wrote on stdout."""
    done = _run(*arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def _run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / arguments[0]), *map(str, arguments[1:])]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, errors="replace")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_the_promised_columns_and_every_file_once(space: Path, broken: Path) -> None:
    text = run("code-scan", broken, "--csv", "-", "--workspace", space)
    assert text.splitlines()[0] == COLUMNS
    found = {Path(row["path"]).name: row for row in rows(text)}
    assert {name: (row["status"], row["reason"]) for name, row in found.items()} == {
        "=cmd().png": ("scanned", "uncalibrated"),
        "\\x1b[31m\\xff\\x0a.png": ("scanned", "uncalibrated"),
        "a-copy.jpg": ("scanned", "uncalibrated"),
        "b.jpg": ("duplicate", "uncalibrated"),
        "cut.jpg": ("failed", "truncated"),
        "dangling.jpg": ("skipped", "symlink"),
        "empty.png": ("skipped", "empty"),
        "loop": ("skipped", "symlink"),
        "pipe.jpg": ("skipped", "special_file"),
        "text.jpg": ("skipped", "not_an_image"),
    }
    assert found["b.jpg"]["duplicate_of"] == str(broken / "a-copy.jpg")
    assert found["b.jpg"]["margin"] == found["a-copy.jpg"]["margin"]
    assert found["cut.jpg"]["sha256"] and not found["cut.jpg"]["verdict"]


def test_a_followed_symlink_loop_ends(space: Path, broken: Path) -> None:
    text = run("code-scan", broken, "--follow-symlinks", "--csv", "-", "--workspace", space)
    reasons = {Path(row["path"]).name: row["reason"] for row in rows(text)}
    assert reasons["loop"] == "symlink_loop"
    assert reasons["dangling.jpg"] == "vanished"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_row(space: Path, tmp_path: Path) -> None:
    photo = draw_photo(tmp_path / "a.jpg", 1)
    photo.chmod(0)
    text = run("code-scan", tmp_path, "--csv", "-", "--workspace", space)
    assert [(row["status"], row["reason"]) for row in rows(text)] == [("failed", "unreadable")]


def test_json_validates_and_agrees_with_csv_and_jsonl(
    space: Path, labelled: Path, broken: Path, tmp_path: Path
) -> None:
    run(
        *("code-scan", labelled / "photos", broken, "--json", "r.json", "--csv", "r.csv"),
        *("--jsonl", "r.jsonl", "--workspace", space),
        cwd=tmp_path,
    )
    document = json.loads((tmp_path / "r.json").read_text())
    schema = json.loads(
        files("code_forensics.engine.report").joinpath("report.schema.json").read_text()
    )
    jsonschema.Draft202012Validator(schema).validate(document)
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert lines == document["files"]
    table = rows((tmp_path / "r.csv").read_text())
    assert [row["path"].lstrip("'") for row in table] == [file["path"] for file in lines]
    assert [row["verdict"] or None for row in table] == [file["verdict"] for file in lines]
    assert (
        document["summary"]["files"] == len(lines) == sum(document["summary"]["by_status"].values())
    )


def test_near_copies_get_the_label_of_what_they_copy(space: Path, labelled: Path) -> None:
    text = run("code-scan", labelled / "photos", "--csv", "-", "--workspace", space)
    votes = {Path(row["path"]).name: (row["knn"], row["verdict"]) for row in rows(text)}
    assert votes == {f"rough{n}.png": ("real", "inconclusive") for n in range(5)} | {
        f"smooth{n}.bmp": ("fake", "inconclusive") for n in range(5)
    }
    assert {row["reason"] for row in rows(text)} == {"uncalibrated"}
    for row in rows(text):
        gap = float(row["fake_similarity"]) - float(row["real_similarity"])
        assert float(row["margin"]) == pytest.approx(gap, abs=2e-6)
        both = 2 - float(row["fake_similarity"]) - float(row["real_similarity"]) + FLOOR
        assert float(row["score"]) == pytest.approx(gap / both, abs=5e-6 / both)
        assert (row["p_fake"], row["log10_lr"], row["generator"]) == ("", "", "")


def test_a_calibrated_gallery_decides(tmp_path: Path, small_checkpoint: Path) -> None:
    """Four sources of each class, far apart: verdicts, likelihood ratios, prior, generators."""
    for number in range(24):
        source = f"s{number % 4}"
        draw_photo(tmp_path / "real" / source / f"{number}.png", number, smooth=1)
        draw_photo(tmp_path / "fake" / "gen" / source / f"{number}.png", 100 + number, smooth=16)
    for number in range(4):
        draw_photo(tmp_path / "photos" / f"rough{number}.png", 200 + number, smooth=1)
        draw_photo(tmp_path / "photos" / f"smooth{number}.png", 300 + number, smooth=16)
    draw_photo(tmp_path / "photos" / "tiny.png", 400, size=(223, 300), smooth=16)
    space = ("--workspace", tmp_path / "ws")
    run(
        *("code-index", "build", "mine", "--real", tmp_path / "real"),
        *("--fake", tmp_path / "fake", "--weights", small_checkpoint, *space),
    )
    options = ("--target-fpr", "0.05", "--target-fnr", "0.05")
    text = run("code-scan", tmp_path / "photos", "--csv", "-", *options, *space)
    found = {Path(row["path"]).name: row for row in rows(text)}
    assert found.pop("tiny.png")["reason"] == "too_small"
    decided = {name: row for name, row in found.items() if row["verdict"] != "inconclusive"}
    assert len(decided) >= 6  # novelty may set one aside
    for name, row in decided.items():
        expected = "fake" if name.startswith("smooth") else "real"
        assert row["verdict"] == row["knn"] == expected
        assert (float(row["log10_lr"]) > 0) is (expected == "fake")
        odds = 10 ** float(row["log10_lr"])
        assert float(row["p_fake"]) == pytest.approx(odds / (1 + odds), abs=2e-5)
        assert (row["generator"] == "gen") is (expected == "fake")
    again = run("code-scan", tmp_path / "photos", "--csv", "-", *options, "--prior", "0.1", *space)
    for row in rows(again):
        if (before := decided.get(Path(row["path"]).name)) is not None:
            odds = 10 ** float(row["log10_lr"]) / 9
            assert row["verdict"] == before["verdict"]
            assert float(row["p_fake"]) == pytest.approx(odds / (1 + odds), abs=2e-5)
    run("code-scan", tmp_path / "photos", "--fail-on", "fake", *options, *space, code=1)
    run("code-scan", tmp_path / "photos", "--target-fpr", "0", *space, code=2)


def test_a_second_scan_opens_nothing_and_says_the_same(
    space: Path, labelled: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((labelled / "photos").glob("*.png")):
        (photos / file.name).write_bytes(file.read_bytes())
    first = rows(run("code-scan", photos, "--csv", "-", "--workspace", space))
    command = [sys.executable, "-c", WITHOUT_TORCH, photos, "--csv", "-", "--workspace", space]
    second = rows(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [row["status"] for row in second] == ["cached"] * len(first)
    keep = [column for column in COLUMNS.split(",") if column != "status"]
    assert [[row[c] for c in keep] for row in first] == [[row[c] for c in keep] for row in second]


def test_the_scanned_tree_is_never_written_to(space: Path, labelled: Path) -> None:
    photos = labelled / "photos"
    before = {p: p.stat() for p in sorted(photos.rglob("*"))}
    for path in (photos, photos / "sub"):
        path.chmod(0o555)
    try:
        run("code-scan", photos, "--rehash", "--workspace", space)
    finally:
        for path in (photos, photos / "sub"):
            path.chmod(0o755)
    after = {p: p.stat() for p in sorted(photos.rglob("*"))}
    assert {p: (s.st_mtime_ns, s.st_size, s.st_ino) for p, s in before.items()} == {
        p: (s.st_mtime_ns, s.st_size, s.st_ino) for p, s in after.items()
    }


def test_a_workspace_and_reports_inside_the_tree_are_left_out(
    labelled: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    draw_photo(tmp_path / "a.png", 1)
    run(
        *("code-index", "build", "mine", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "--workspace", tmp_path / "ws"),
    )
    for _ in range(2):
        arguments = ("--csv", tmp_path / "r.csv", "--workspace", tmp_path / "ws")
        run("code-scan", tmp_path, *arguments)
        assert [Path(row["path"]).name for row in rows((tmp_path / "r.csv").read_text())] == [
            "a.png"
        ]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--include", "*.png"), ["rough0.png", "rough1.png"]),
        (("--exclude", "*.png"), ["smooth0.jpg", "smooth1.jpg"]),
        (("--exclude", "sub"), ["rough0.png", "rough1.png"]),
        (("--exclude", "sub/*1*"), ["rough0.png", "rough1.png", "smooth0.jpg"]),
        (("--no-recurse",), ["rough0.png", "rough1.png"]),
    ],
)
def test_which_files_belong(
    space: Path, tmp_path: Path, options: tuple[str, ...], names: list[str]
) -> None:
    for number in range(2):
        draw_photo(tmp_path / f"rough{number}.png", number)
        draw_photo(tmp_path / "sub" / f"smooth{number}.jpg", number)
    text = run("code-scan", tmp_path, *options, "--csv", "-", "--workspace", space)
    assert [Path(row["path"]).name for row in rows(text)] == names


def test_exit_codes(
    space: Path, labelled: Path, small_checkpoint: Path, tmp_path: Path, deit: Path
) -> None:
    photos = labelled / "photos"
    run("code-scan", photos, "--fail-on", "inconclusive", "--workspace", space, code=1)
    run("code-scan", photos, "--fail-on", "fake,error", "--workspace", space)
    run("code-scan", photos, "--fail-on", "nonsense", "--workspace", space, code=2)
    run("code-scan", tmp_path / "nowhere", "--workspace", space, code=2)
    run("code-scan", photos, "--csv", tmp_path / "no" / "r.csv", "--workspace", space, code=2)
    run("code-scan", photos, "--gallery", "no", "--workspace", space, code=2)
    other = _run("code-scan", photos, "--weights", deit, "--workspace", space)
    assert other.returncode == 2
    assert "was made by encoder" in other.stderr
    assert len(other.stderr.strip().splitlines()) == 1
    assert "Traceback" not in other.stderr


def test_several_galleries_want_a_choice(
    labelled: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run(
            *("code-index", "build", name, "--real", labelled / "real"),
            *("--fake", f"g={labelled / 'fake'}", "--weights", small_checkpoint),
            *("--workspace", tmp_path / "ws"),
        )
    photos = labelled / "photos"
    refused = _run("code-scan", photos, "--workspace", tmp_path / "ws")
    assert refused.returncode == 2
    assert "one, two" in refused.stderr
    run("code-index", "default", "two", "--workspace", tmp_path / "ws")
    text = run("code-scan", photos, "--csv", "-", "--workspace", tmp_path / "ws")
    assert {row["neighbour"].split(":")[0] for row in rows(text)} == {"two"}
    shown = run("code-index", "info", "two", "--workspace", tmp_path / "ws")
    assert any(line.split()[:2] == ["fake", "g"] for line in shown.splitlines())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_scan_keeps_its_work_and_goes_on(
    space: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for index in range(400):
        draw_photo(tmp_path / f"{index:03}.jpg", 1000 * number + index)
    command = [str(BIN / "code-scan"), str(tmp_path), "--jsonl", "-", "--workspace", str(space)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()  # the first results are recorded
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.fail("the scan was over before the signal came: draw more files")
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    done = 1 + len(rest.splitlines())
    assert json.loads(first)["status"] == "scanned"
    again = rows(run("code-scan", tmp_path, "--csv", "-", "--workspace", space))
    assert len(again) == 400
    assert sum(row["status"] == "cached" for row in again) >= done


@pytest.mark.slow
def test_votes_equal_the_published_pipeline(deit: Path, tmp_path: Path) -> None:
    """Two disjoint parts of the labelled images: one is the gallery, one is scanned."""
    pytest.importorskip("sklearn")
    data = SHARED / "data" / "train"
    for label in ("real", "fake"):
        for number, file in enumerate(sorted((data / label).rglob("*.jpg"))[::10]):
            part = "gallery" if number % 2 else "scanned"
            target = tmp_path / part / label / f"{file.parent.name}-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    script = SHARED / "reference" / "published_pipeline.py"
    arrays = []
    for label, number in (("real", 0), ("fake", 1)):
        out = tmp_path / f"{label}.npz"
        subprocess.run(
            [
                *(sys.executable, str(script), "--checkpoint", str(deit), "--label", str(number)),
                *("--embed", str(tmp_path / "gallery" / label), "--out", str(out)),
            ],
            check=True,
            capture_output=True,
        )
        arrays.append(out)
    import numpy as np

    loaded = [np.load(out) for out in arrays]
    gallery = tmp_path / "gallery.npz"
    np.savez(gallery, **{n: np.concatenate([a[n] for a in loaded]) for n in ("vectors", "labels")})
    subprocess.run(
        [
            *(sys.executable, str(script), "--checkpoint", str(deit), "--gallery", str(gallery)),
            *("--images", str(tmp_path / "scanned"), "--out", str(tmp_path / "theirs.csv")),
        ],
        check=True,
        capture_output=True,
    )
    space = ("--workspace", tmp_path / "ws")
    run("code-index", "import", "same", gallery, "--weights", deit, *space)
    text = run("code-scan", tmp_path / "scanned", "--follow-symlinks", "--csv", "-", *space)
    ours = {row["path"]: row["knn"] for row in rows(text)}
    theirs = {
        row["path"]: ("real", "fake")[int(row["label"])]
        for row in rows((tmp_path / "theirs.csv").read_text())
    }
    assert len(ours) > 200
    assert ours == theirs


def test_help_is_quick_to_read() -> None:
    started = time.perf_counter()
    text = run("code-scan", "--help")
    print(f"{time.perf_counter() - started:.2f} s")
    for option in ("--gallery", "--workspace", "--weights", "--csv", "--json", "--fail-on"):
        assert option in text


def test_help_imports_neither_torch_nor_faiss() -> None:
    code = (
        "import sys; import code_forensics.cli.scan, code_forensics.cli.index,"
        " code_forensics.cli.report; print([m for m in ('torch', 'faiss', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_termination_is_the_same_wish_and_a_second_ctrl_c_is_not() -> None:
    with interruptible() as stopped:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
