"""Scans that several tests look at."""

import os
from pathlib import Path

import pytest

from tests.cli.in_process import run
from tests.cli.whole_scans import build, rows, wanted
from tests.conftest import draw_photo
from tests.engine.test_archives import zip_of

HOSTILE = "<img src=x onerror=document.title='owned'>.png"


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """A folder with report.html of a scan with crops, a probe, a broken file and a hostile name."""
    folder = tmp_path_factory.mktemp("html")
    for number in range(40):
        draw_photo(folder / "rough" / f"s{number % 4}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 4}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(4):
        draw_photo(folder / "photos" / f"rough{number}.jpg", 200 + number, (600, 300), 1)
        draw_photo(folder / "photos" / f"smooth{number}.png", 300 + number, (300, 260), 16)
    draw_photo(folder / "photos" / HOSTILE, 300, (300, 260), 16)
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    space = ("--workspace", folder / "ws")
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "-q", *space),
    )
    rates = ("--target-fpr", "0.2", "--target-fnr", "0.2")
    run(
        *("code-scan", folder / "photos", "--crops", "five", "--probe", "-q", *rates),
        *("--html", folder / "report.html", "--case", "<b>17</b>", *space),
    )
    return folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """rough/, smooth/, and photos/ with copies, broken files, an archive and a GIF; ws/."""
    folder = tmp_path_factory.mktemp("mixed")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    photos = folder / "photos"
    for number in range(200):
        draw_photo(photos / f"{number:03}.jpg", 300 + number, smooth=1 + 15 * (number % 2))
    (photos / "copy.jpg").write_bytes((photos / "199.jpg").read_bytes())
    (photos / "cut.jpg").write_bytes((photos / "000.jpg").read_bytes()[:700])
    (photos / "empty.jpg").touch()
    (photos / "album.zip").write_bytes(zip_of({"a.jpg": (photos / "001.jpg").read_bytes()}))
    (folder / "encoder").symlink_to(small_checkpoint)
    build(folder, "ws")
    return folder


@pytest.fixture(scope="module")
def plain_rows(mixed: Path) -> list[dict]:
    """Rows of a scan by one process alone."""
    command = wanted(mixed, mixed / "ws", mixed / "plain.jsonl")
    run("code-scan", *command[1:])
    return rows(mixed / "plain.jsonl")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, labelled: Path, small_checkpoint: Path) -> Path:
    """A workspace with a gallery too small to be calibrated, for tests that make none of their own."""
    folder = tmp_path_factory.mktemp("workspace")
    run(
        *("code-index", "build", "mine", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "--workspace", folder),
    )
    return folder


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with everything that goes wrong, and two good files."""
    folder = tmp_path / "seized"
    good = draw_photo(folder / "b.jpg", 9001)
    (folder / "a-copy.jpg").write_bytes(good.read_bytes())
    (folder / "cut.jpg").write_bytes(good.read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("this is no picture\n" * 50)
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    os.symlink(folder / "nowhere", folder / "dangling.jpg")
    (folder / "=cmd().png").write_bytes(draw_photo(tmp_path / "x.png", 9002).read_bytes())
    os.rename(draw_photo(tmp_path / "y.png", 9003), os.fsencode(folder) + b"/\x1b[31m\xff\n.png")
    return folder
