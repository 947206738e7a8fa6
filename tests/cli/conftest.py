"""A scan that several tests of reports look at."""

from pathlib import Path

import pytest

from tests.cli.in_process import run
from tests.conftest import draw_photo

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
