"""The benchmarks run, and what they compare is the same work; no figure is asserted."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import photos, processes, startup, throughput


@pytest.mark.slow
def test_the_benchmarks_run_with_minimal_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("transformers")
    common = ["--repeats", "1", "--references", "500", "--folder", str(tmp_path)]
    page = tmp_path / "page.md"
    where = ["--write", str(page), "--precisions", "float32"]
    throughput.main(["--sets", "512px", "--scale", "0.003", *where, *common])
    printed = capsys.readouterr().out
    assert "512px, 9 files" in printed
    assert "9 of 9 identical" in printed
    assert page.read_text() == printed.removesuffix("\n")
    startup.main(common)
    printed = capsys.readouterr().out
    assert "labels identical: True" in printed and "code-scan, the image known: " in printed


@pytest.mark.slow
def test_what_a_scan_s_own_process_does_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    processes.main(["--files", "40", "--rounds", "1", "--processes", "1"])
    *ways, starts = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in ways] == [
        "one process", "--isolate all", "--processes 1", "--processes 1 lending",
    ]  # fmt: skip
    assert re.fullmatch(r"a process answers [\d.]+ s after its start, [\d.]+ s where it .*", starts)


def test_drawn_photos_differ_and_are_kept(tmp_path: Path) -> None:
    folder = photos.jpegs(tmp_path, photos.SMALL, 6, 0, 92)
    files = sorted(folder.iterdir())
    assert len({file.read_bytes() for file in files}) == 6
    assert all(25_000 < file.stat().st_size < 250_000 for file in files)
    before = files[0].stat().st_mtime_ns
    photos.jpegs(tmp_path, photos.SMALL, 6, 0, 92)
    assert files[0].stat().st_mtime_ns == before
    with Image.open(files[0]) as image:
        assert image.size == photos.SMALL
        assert np.asarray(image).std() > 20
