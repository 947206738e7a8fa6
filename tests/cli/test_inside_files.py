"""Members of archives and frames of pictures, as a user scans them: rows, caches, verify, limits."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.in_process import run
from tests.conftest import draw_photo
from tests.engine.test_archives import mail_of, tar_of, zip_of


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("inside")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder / "ws"


def photo(seed: int, form: str = "JPEG") -> bytes:
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (240, 250, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


def frames(
    count: int, seed: int = 0, form: str = "GIF", size: tuple[int, int] = (240, 230)
) -> bytes:
    rng = np.random.default_rng(seed)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        for _ in range(count)
    ]
    file = io.BytesIO()
    pictures[0].save(file, form, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def scan(space: Path, photos: Path, *options: str, code: int = 0) -> dict[str, dict]:
    """Rows by path below the folder."""
    target = space.parent / "rows.jsonl"
    run(
        "code-scan", photos, "--jsonl", target, "-q", *options, "--workspace", space, code=code
    )  # fmt: skip
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    found = {row["path"].removeprefix(f"{photos}{os.sep}"): row for row in rows}
    assert len(found) == len(rows)  # each exactly once
    return found


def shows(space: Path, path: Path) -> list[dict[str, str]]:
    """The facts that are shown of each row with this path."""
    shown = run("code-report", "show", "latest", path, "--workspace", space).stdout
    parts = shown.split(f"{path}\n")[1:]
    return [dict(re.findall(r"(?m)^([a-z][a-z0-9 ]*?) {2,}(\S.*)$", part)) for part in parts]


def statuses(rows: dict[str, dict]) -> dict[str, str]:
    return {path: row["reason"] or row["status"] for path, row in rows.items()}


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    inner = gzip.compress(tar_of({"deep.jpg": photo(1), "../up.png": photo(2, "PNG")}))
    (folder / "album.zip").write_bytes(
        zip_of({"dir/a.jpg": photo(1), "in.tgz": inner, "t": b"text"})
    )
    (folder / "b.jpg").write_bytes(photo(1))
    (folder / "mail.eml").write_bytes(mail_of({"c.jpg": photo(3)}))
    return folder


ROWS = {
    "album.zip!/dir/a.jpg": "scanned", "album.zip!/in.tgz!/deep.jpg": "duplicate",
    "album.zip!/in.tgz!/../up.png": "scanned", "album.zip!/in.tgz": "archive",
    "album.zip!/t": "not_an_image", "album.zip": "archive", "b.jpg": "duplicate",
    "mail.eml!/c.jpg": "scanned", "mail.eml": "archive",
}  # fmt: skip


def test_members_have_rows_and_are_known_again(space: Path, archives: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in archives.rglob("*")}
    rows = scan(space, archives, "--archives")
    without = {"undecided": "scanned"}
    plain = {path: row["status"] if row["verdict"] else row["reason"] for path, row in rows.items()}
    assert plain == ROWS, without
    assert list(rows) == list(ROWS)  # an archive comes after its members
    deep = rows["album.zip!/in.tgz!/deep.jpg"]
    assert deep["container"] == str(archives / "album.zip")
    assert deep["duplicate_of"] == str(archives / "album.zip!/dir/a.jpg")
    assert rows["b.jpg"]["sha256"] == deep["sha256"]
    assert rows["b.jpg"]["score"] == deep["score"]
    assert "container" not in rows["b.jpg"]
    assert rows["album.zip"]["format"] == "ZIP"
    again = scan(space, archives, "--archives")
    assert {row["status"] for row in again.values() if row["verdict"]} == {"cached"}
    assert {p: r["verdict"] for p, r in again.items()} == {p: r["verdict"] for p, r in rows.items()}
    closed = scan(space, archives)
    assert statuses(closed)["album.zip"] == "not_an_image"
    assert list(closed) == ["album.zip", "b.jpg", "mail.eml"]
    opened = scan(space, archives, "--archives")  # known as no image, and opened all the same
    assert list(opened) == list(ROWS)
    assert {path: path.stat().st_mtime_ns for path in archives.rglob("*")} == before


def test_a_changed_archive_is_read_again(space: Path, archives: Path) -> None:
    scan(space, archives, "--archives")
    (archives / "album.zip").write_bytes(zip_of({"dir/a.jpg": photo(9)}))
    rows = scan(space, archives, "--archives")
    assert rows["album.zip!/dir/a.jpg"]["status"] == "scanned"
    assert "album.zip!/t" not in rows


def test_verify_and_rejudge(space: Path, archives: Path) -> None:
    (archives / "clip.gif").write_bytes(frames(3))
    (archives / "more.zip").write_bytes(zip_of({"clip.gif": frames(4, 1)}))
    first = scan(space, archives, "--archives", "--frames", "all")
    assert len(first) == len(ROWS) + 3 + 5
    verify = ("code-report", "verify", "latest", "--jsonl", "-", "-q", "--workspace", space)
    outcomes = [json.loads(line)["outcome"] for line in run(*verify).stdout.splitlines()]
    assert outcomes == ["reproduced"] * len(first)
    sample = run(*verify, "--sample", "5", "--seed", "2").stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in sample] == ["reproduced"] * 5
    again = run("code-report", "rejudge", "latest", "-k", "3", "--workspace", space).stdout
    number = int(again.removeprefix("scan ").partition(":")[0])
    (archives / "album.zip").write_bytes(zip_of({"dir/a.jpg": photo(9), "t": b"text"}))
    (archives / "mail.eml").unlink()
    lines = run(
        *("code-report", "verify", str(number - 1), "--jsonl", "-", "-q", "--workspace", space),
        code=1,
    ).stdout.splitlines()
    found = {}
    for line in map(json.loads, lines):
        found[line["path"].removeprefix(f"{archives}{os.sep}")] = line["outcome"]
    assert list(found) == list(first)
    assert {path: outcome for path, outcome in found.items() if outcome != "reproduced"} == {
        "album.zip!/dir/a.jpg": "changed", "album.zip!/in.tgz!/deep.jpg": "gone",
        "album.zip!/in.tgz!/../up.png": "gone", "album.zip!/in.tgz": "gone",
        "album.zip": "changed", "mail.eml!/c.jpg": "gone", "mail.eml": "gone",
    }  # fmt: skip


def test_a_folder_with_the_name_of_an_archive_and_its_mark(space: Path, tmp_path: Path) -> None:
    """A file on disk and a member whose paths are the same text: told apart by the container."""
    (tmp_path / "a.zip").write_bytes(zip_of({"x.jpg": photo(20)}))
    (tmp_path / "a.zip!").mkdir()
    (tmp_path / "a.zip!" / "x.jpg").write_bytes(photo(21))
    target = space.parent / "twins.jsonl"
    for _ in range(2):
        run("code-scan", tmp_path, "--archives", "--jsonl", target, "-q", "--workspace", space)
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        twins = [row for row in rows if row["path"].endswith("x.jpg")]
        assert [row.get("container") for row in twins] == [str(tmp_path / "a.zip"), None]
        assert twins[0]["path"] == twins[1]["path"]
        assert len({row["sha256"] for row in twins}) == 2
    ran = run("code-report", "verify", "latest", "--jsonl", "-", "-q", "--workspace", space)
    assert [json.loads(line)["outcome"] for line in ran.stdout.splitlines()] == ["reproduced"] * 3
    shown = shows(space, tmp_path / "a.zip!" / "x.jpg")
    assert [one.get("lies in") for one in shown] == [str(tmp_path / "a.zip"), None]
    assert [one["sha256"] for one in shown] == [row["sha256"] for row in twins]


def test_a_file_with_the_name_of_a_frame(space: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.gif").write_bytes(frames(3, seed=80))
    (tmp_path / "clip.gif#frame=2").write_bytes(photo(22))
    run("code-scan", tmp_path, "--frames", "all", "-q", "--workspace", space)
    shown = shows(space, tmp_path / "clip.gif#frame=2")
    assert [(one.get("lies in"), one.get("frame")) for one in shown] == [
        (str(tmp_path / "clip.gif"), "2 of 3"),
        (None, None),
    ]


def test_limits_damage_and_secrets_are_reasons(space: Path, tmp_path: Path) -> None:
    whole = gzip.compress(tar_of({f"{n}.jpg": photo(30 + n) for n in range(3)}))
    (tmp_path / "cut.tgz").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "cut.zip").write_bytes(zip_of({"a.jpg": photo(1)})[:-30])
    secret = bytearray(zip_of({"s.jpg": photo(1)}))
    secret[6] |= 1
    secret[secret.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(secret)
    (tmp_path / "many.zip").write_bytes(zip_of({f"{n}.txt": b"x" for n in range(20)}))
    (tmp_path / "bomb.zip").write_bytes(zip_of({"flat.bmp": bytes(3 << 20)}))
    rows = scan(
        space, tmp_path, "--archives", "--archive-limits", "members=10,total=2000000", "--max-bytes", "1000000"
    )  # fmt: skip
    assert rows["cut.tgz!/0.jpg"]["verdict"]
    (lost,) = [
        r["reason"] for p, r in rows.items() if p.startswith("cut.tgz!/") and not r["verdict"]
    ]
    assert lost == "truncated"
    assert rows["cut.tgz"] | {"detail": ""} == {
        **rows["cut.tgz"],
        "detail": "",
        "reason": "truncated",
    }
    assert (rows["cut.zip"]["status"], rows["cut.zip"]["reason"]) == ("failed", "truncated")
    assert rows["secret.zip!/s.jpg"]["reason"] == "encrypted"
    assert rows["secret.zip!/s.jpg"]["status"] == "failed"
    assert rows["many.zip"]["reason"] == "too_many_members"
    assert len([path for path in rows if path.startswith("many.zip!/")]) == 10
    assert rows["bomb.zip!/flat.bmp"]["reason"] == "too_large"
    rows = scan(space, tmp_path, "--archives", "--archive-limits", "total=2000000")
    assert rows["bomb.zip"]["reason"] == "archive_bomb"
    assert len([path for path in rows if path.startswith("many.zip!/")]) == 20
    ran = run(
        "code-scan", tmp_path, "--archive-limits", "depth=x", "--workspace", space, code=2
    )  # fmt: skip
    assert "is not a limit on archives" in ran.stderr


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_each_frame_has_a_row(space: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "many").write_bytes(frames(4, form=form))
    (tmp_path / "one.jpg").write_bytes(photo(1))
    first = scan(space, tmp_path)
    assert list(first) == ["many", "one.jpg"]
    assert (first["many"]["frame"], first["many"]["frames"]) == (1, 4)
    assert "frames" not in first["one.jpg"]
    rows = scan(space, tmp_path, "--frames", "all")
    assert list(rows) == ["many", "many#frame=2", "many#frame=3", "many#frame=4", "one.jpg"]
    assert rows["many"]["status"] == "cached"
    assert [row.get("frame") for row in rows.values()] == [1, 2, 3, 4, None]
    assert {rows[f"many#frame={n}"]["container"] for n in (2, 3, 4)} == {str(tmp_path / "many")}
    assert len({row["score"] for row in rows.values()}) == 5
    with Image.open(tmp_path / "many") as image:
        for number in (1, 2, 3):
            image.seek(number)
            image.convert("RGB").save(tmp_path / f"frame{number}.png")
    again = scan(space, tmp_path, "--frames", "all")
    for number in (1, 2, 3):  # each frame's score is that of the frame as a picture of its own
        frame, alone = again[f"many#frame={number + 1}"], again[f"frame{number}.png"]
        assert frame["status"] == "cached"
        assert frame["score"] == pytest.approx(alone["score"], abs=1e-6)
        assert frame["sha256"] == again["many"]["sha256"]


def test_frames_of_copies_and_frames_beyond_the_limit(space: Path, tmp_path: Path) -> None:
    data = frames(5, seed=7)
    (tmp_path / "a.gif").write_bytes(data)
    (tmp_path / "b.gif").write_bytes(data)
    rows = scan(space, tmp_path, "--frames", "all", "--max-frames", "3")
    assert rows["b.gif#frame=2"]["duplicate_of"] == str(tmp_path / "a.gif#frame=2")
    assert rows["b.gif#frame=2"]["status"] == "duplicate"
    beyond = rows["a.gif#frame=4"]
    assert (beyond["status"], beyond["reason"]) == ("skipped", "too_many_frames")
    assert beyond["detail"] == "5 frames, of which 3 are judged"
    assert "a.gif#frame=5" not in rows
    rows = scan(space, tmp_path, "--frames", "all")
    assert rows["a.gif#frame=3"]["status"] == "cached"
    assert rows["a.gif#frame=5"]["status"] == "scanned"


def test_numbers_behind_a_name_are_no_suffix(space: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in [
            *(("a.jpg", photo(n)) for n in (70, 71, 72)),
            *(("c.gif", frames(2, seed)) for seed in (70, 71)),
            *(("w.png", photo(n)) for n in (73, 74)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "clip.gif").write_bytes(frames(3, seed=72))
    rows = scan(space, tmp_path, "--archives", "--frames", "all")
    assert {"a.tar!/a.jpg#3", "a.tar!/c.gif#2#frame=2", "clip.gif#frame=3"} <= set(rows)
    notes = {
        path: finding["value"]
        for path, row in rows.items()
        for finding in row["provenance"].get("findings", ())
        if finding["kind"] == "suffix"
    }
    assert notes == {"a.tar!/w.png": ".png on JPEG", "a.tar!/w.png#2": ".png on JPEG"}


def test_a_damaged_frame_costs_itself(space: Path, tmp_path: Path) -> None:
    data = frames(4, seed=3)
    (tmp_path / "cut.gif").write_bytes(data[: len(data) * 5 // 8])
    rows = scan(space, tmp_path, "--frames", "all")
    assert rows["cut.gif"]["verdict"]
    assert rows["cut.gif#frame=2"]["verdict"]
    assert {row["reason"] for row in rows.values() if not row["verdict"]} <= {
        "truncated",
        "corrupt",
    }


def test_many_frames_in_little_memory_and_several_views(space: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(frames(20, seed=5))
    rows = scan(space, tmp_path, "--frames", "all", "--crops", "five", "--probe")
    assert len(rows) == 20
    assert all(len(row["probe"]) == 4 for row in rows.values())
    run("code-report", "verify", "latest", "-q", "--workspace", space)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_killed_scan_goes_on_within_an_archive(space: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    members = {f"{n:03}.png": photo(1000 + n, "PNG") for n in range(150)}
    (photos / "big.tar").write_bytes(tar_of(members))
    command = [
        sys.executable, "-c", "from code_forensics.cli.scan import main; main()", str(photos),
        "--archives", "--workspace", str(space), "--jsonl", str(tmp_path / "rows.jsonl"), "-q",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    for _ in range(600):
        written = tmp_path / "rows.jsonl"
        if written.exists() and written.read_bytes().count(b"\n") > 20:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = run("code-report", "list", "--workspace", space).stdout.splitlines()[-1].split()
    assert last[2] == "interrupted" and int(last[3]) >= 20  # files, though nothing has summed up
    rows = scan(space, photos, "--archives")
    assert len(rows) == 151
    kept = [row for row in rows.values() if row["status"] == "cached"]
    assert len(kept) >= 20
    assert all(row["verdict"] for path, row in rows.items() if path != "big.tar")


def test_a_purge_of_an_archive_takes_its_members(space: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({"p.jpg": photo(50)}))
    (tmp_path / "a.zip.jpg").write_bytes(photo(51))
    (tmp_path / "f.gif").write_bytes(frames(3, seed=50))
    scan(space, tmp_path, "--archives", "--frames", "all")
    for name in ("a.zip", "f.gif"):
        run("code-index", "purge", "--path", tmp_path / name, "--yes", "--workspace", space)
    rows = scan(space, tmp_path, "--archives", "--frames", "all")
    assert rows["a.zip!/p.jpg"]["status"] == "scanned"
    assert rows["f.gif#frame=2"]["status"] == "scanned"
    assert rows["a.zip.jpg"]["status"] == "cached"
    checked = run("code-index", "verify", "--files", "--workspace", space, code=None)
    assert str(tmp_path) not in checked.stdout + checked.stderr  # members are no files on disk
