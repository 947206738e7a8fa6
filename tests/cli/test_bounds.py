"""Bounds that the user sets, and notes on names: one file's answer each, the rest is not touched."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.in_process import run
from tests.conftest import draw_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("bounds")
    for number in range(4):
        draw_photo(folder / "rough" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"{number}.png", 99 + number, smooth=16)
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder


def scan(folder: Path, photos: Path, *options: str) -> dict[str, dict]:
    target = folder / "rows.jsonl"
    run(
        "code-scan",
        photos,
        "--jsonl",
        target,
        "-q",
        *options,
        "--gallery",
        "g",
        "--workspace",
        folder / "ws",
    )
    rows = map(json.loads, target.read_text(encoding="utf-8").splitlines())
    return {Path(row["path"]).name: row for row in rows}


def test_bounds_are_for_this_run_alone(folder: Path, tmp_path: Path) -> None:
    draw_photo(tmp_path / "wide.png", 1, (600, 500))
    draw_photo(tmp_path / "small.png", 2, (240, 230))
    rows = scan(folder, tmp_path, "--max-pixels", "100000")
    assert (rows["wide.png"]["status"], rows["wide.png"]["reason"]) == (
        *("skipped", "too_many_pixels"),
    )
    assert rows["small.png"]["status"] == "scanned"
    rows = scan(folder, tmp_path, "--max-bytes", "1000")
    assert rows["wide.png"]["reason"] == "too_large"
    assert rows["small.png"]["status"] == "cached"  # unchanged: it is not read
    assert scan(folder, tmp_path)["wide.png"]["status"] == "scanned"


@pytest.mark.skipif(sys.platform != "linux", reason="makes what other systems do not have")
def test_things_that_are_no_files_and_files_without_an_end(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 42)  # four terabytes of nothing
    (tmp_path / "zero").symlink_to("/dev/zero")
    rows = scan(folder, tmp_path, "--follow-symlinks")
    assert {name: row["reason"] for name, row in rows.items()} == {
        "fifo.jpg": "special_file",
        "sparse.jpg": "too_large",
        "zero": "special_file",
    }


def test_a_name_that_hides_the_format_is_noted(folder: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "c", "d.HEIC", "e.PNG"):
        with Image.open(draw_photo(tmp_path / "x.png", ord(name[0]))) as image:
            image.save(tmp_path / name, "PNG")
    (tmp_path / "x.png").unlink()
    rows = scan(folder, tmp_path)
    notes = {
        name: [f["value"] for f in row["provenance"].get("findings", []) if f["kind"] == "suffix"]
        for name, row in rows.items()
    }
    assert notes == {
        "a.jpg": [".jpg on PNG"], "b.png": [], "c": [], "d.HEIC": [".HEIC on PNG"], "e.PNG": [],
    }  # fmt: skip
    assert rows["a.jpg"]["provenance"]["strength"] == "stripped"
    assert rows["a.jpg"]["format"] == "PNG"


def test_bounds_of_a_build(folder: Path, tmp_path: Path, small_checkpoint: Path) -> None:
    for number in range(2):
        draw_photo(tmp_path / "rough" / f"{number}.png", number, (240 + 400 * number, 240))
        draw_photo(tmp_path / "smooth" / f"{number}.png", 9 + number, (240 + 400 * number, 240))
    ran = run(
        *("code-index", "build", "b", "--real", tmp_path / "rough", "--fake", tmp_path / "smooth"),
        *("--weights", small_checkpoint, "--max-pixels", "100000", "--workspace", folder / "ws"),
    )
    assert "1 real and 1 fake references" in ran.stderr
    assert ran.stderr.count("too_many_pixels") == 2


def test_a_truncated_or_flipped_file_of_any_format_is_accounted_for(
    folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    with Image.open(draw_photo(tmp_path / "x.png", 1, (230, 226))) as image:
        image.load()
    (tmp_path / "x.png").unlink()
    count = 0
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "ICO", "PPM"):
        whole = tmp_path / f"whole.{name}"
        image.save(whole, name)
        data = whole.read_bytes()
        for part in range(8):
            cut = int(len(data) * part / 8)
            (tmp_path / f"cut{part}.{name}").write_bytes(data[:cut])
            flipped = bytearray(data)
            for at in rng.integers(0, len(data), 1 + part):
                flipped[at] ^= 1 << int(rng.integers(0, 8))
            (tmp_path / f"flip{part}.{name}").write_bytes(flipped)
        count += 17
    rows = scan(folder, tmp_path)
    assert len(rows) == count
    for name, row in rows.items():
        assert row["verdict"] or row["reason"], name
        assert row["reason"] not in ("decoder_crashed", "decode_timeout"), name
    assert all(row["verdict"] for name, row in rows.items() if name.startswith("whole"))
    assert all(row["reason"] == "empty" for name, row in rows.items() if name.startswith("cut0"))
