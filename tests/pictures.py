"""Draws the README's pictures with the tool itself: the terminal as SVG, the report as PNG.

    python -m tests.pictures

The images behind them are drawn here, so that nobody's photograph is in the repository; the encoder
is one of random weights, and the verdicts mean nothing.
"""

import io
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from code_forensics.cli import console
from code_forensics.engine.embedding.checkpoint import write_checkpoint
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from tests.cli.in_process import run
from tests.conftest import SMALL, draw_checkpoint

ROOT = Path(__file__).parents[1]
TERMINAL = ROOT / "cli" / "docs" / "scan.svg"
REPORT = ROOT / "engine" / "report" / "docs" / "report.png"
COLUMNS = 92


DAY = ((0.45, 0.65, 0.95), (0.75, 0.85, 0.9), (0.3, 0.45, 0.25))
DREAM = ((0.95, 0.55, 0.65), (0.95, 0.75, 0.5), (0.45, 0.2, 0.55))
"""Colours of the sky above and below, and of the hills."""


def landscape(path: Path, seed: int, dream: bool) -> None:
    """Draw hills under a sky: by day and with sensor noise, or smooth and in dreamy colours."""
    rng = np.random.default_rng(seed)
    height, width = 300, 400
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    palette = np.array(DREAM if dream else DAY)
    sky, sea, ground = palette + rng.uniform(-0.08, 0.08, (3, 3))
    image = sky * (1 - down[..., None]) + sea * down[..., None]
    for layer in range(4):
        waves = sum(
            rng.uniform(0.02, 0.09) * np.sin(across * rng.uniform(3, 14) + rng.uniform(0, 6))
            for _ in range(3)
        )
        hill = down > 0.45 + 0.13 * layer + waves
        image[hill] = (ground + rng.uniform(-0.08, 0.08, 3)) * (1.1 - 0.22 * layer)
    sun = np.hypot((across - rng.uniform(0.2, 0.8)) * 4 / 3, down - 0.2) < 0.07
    image[sun] = (1.0, 0.93, 0.7)
    image += rng.normal(0, 0.005 if dream else 0.04, image.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * image.clip(0, 1)).astype(np.uint8)).save(path, quality=95)


def files(folder: Path) -> None:
    """The galleries' and the scan's files."""
    for number in range(60):
        landscape(folder / "real" / f"camera{number % 3}" / f"{number}.jpg", number, False)
        landscape(folder / "fake" / f"generator{number % 3}" / f"{number}.jpg", 100 + number, True)
    for number in range(9):
        landscape(folder / "photos" / f"IMG_{2041 + 7 * number}.jpg", 300 + number, number % 3 > 0)
    half = Image.blend(
        Image.open(folder / "photos" / "IMG_2041.jpg"),
        Image.open(folder / "photos" / "IMG_2048.jpg"), 0.5,
    )  # fmt: skip
    half.save(folder / "photos" / "IMG_2110.jpg", quality=95)
    (folder / "photos" / "notes.txt").write_text("not an image")
    cut = (folder / "photos" / "IMG_2041.jpg").read_bytes()
    (folder / "photos" / "IMG_2117.jpg").write_bytes(cut[:2000])


def terminal(folder: Path) -> None:
    """Run the scan with consoles that record, and write what they showed as SVG."""
    recorded = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False,
        markup=False, soft_wrap=False,
    )  # fmt: skip
    command = "code-scan photos --target-fpr 0.05 --target-fnr 0.05 --html report.html"
    recorded.print(f"$ {command}", style="bold")
    with (
        mock.patch.object(console, "stdout", lambda: recorded),
        mock.patch("code_forensics.cli.render.stdout", lambda: recorded),
    ):
        run(*command.split())
    TERMINAL.parent.mkdir(exist_ok=True)
    svg = recorded.export_svg(title="code-scan", unique_id="scan")
    TERMINAL.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")


def report(folder: Path) -> None:
    """Photograph the evidence of a file in the HTML report."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1100, "height": 760})
        page.goto((folder / "report.html").as_uri())
        page.locator("#rows [data-file]").first.click()
        page.wait_for_timeout(300)
        shot = page.screenshot()
        browser.close()
    REPORT.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(256).save(REPORT, optimize=True)


def main() -> None:
    """Draw both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        os.environ["CODE_WORKSPACE"] = str(folder / "workspace")
        files(folder)
        (folder / "encoder").mkdir()
        write_checkpoint(draw_checkpoint(SMALL), folder / "encoder")
        build = "code-index build desk --real real --fake fake --weights encoder -q"
        run(*build.split())
        terminal(folder)
        report(folder)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
