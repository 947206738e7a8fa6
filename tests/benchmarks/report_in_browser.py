"""How large the HTML report is, how soon it can be used, and how fast it filters.

    python tests/benchmarks/report_in_browser.py --rows 50000

Writes a report of made-up rows and opens it in headless Chromium. Not a test: it prints.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
from code_forensics.engine.report.as_html import HtmlReport
from code_forensics.engine.report.interface import Report
from code_forensics.engine.results import FileResult, Label, Neighbour, Status, Verdict
from PIL import Image
from playwright.sync_api import Page, sync_playwright

GENERATORS = ("sdxl", "flux", "midjourney", "unknown")


def rows(count: int) -> Iterator[FileResult]:
    """Rows as a scan gives them, with three references of each class."""
    rng = np.random.default_rng(0)
    for number in range(count):
        score = float(rng.normal(0, 0.2))
        verdict = Verdict.FAKE if score > 0.3 else Verdict.REAL if score < -0.2 else None
        near = tuple(
            Neighbour(key, f"g:{key}", label, "sdxl" if label is Label.FAKE else "", "source",
                      float(rng.uniform(0.5, 0.9)))
            for label in Label for key in rng.integers(0, 48_000, 3).tolist()
        )  # fmt: skip
        yield FileResult(
            f"/evidence/disk1/DCIM/{number // 1000:03}/IMG_{number:06}.jpg",
            rng.bytes(32).hex(), int(rng.integers(1e5, 9e6)), "JPEG", 4000, 3000, Status.SCANNED,
            reason=None if verdict else "between_thresholds", knn=Label.REAL,
            verdict=verdict or Verdict.INCONCLUSIVE, p_fake=0.5 + score / 4, score=score,
            log10_lr=score * 3, neighbours=near, precision="float32",
            attribution=GENERATORS[number % 4] if verdict is Verdict.FAKE else None,
            attribution_certainty=0.8 if verdict is Verdict.FAKE else None,
        )  # fmt: skip


class Noise:
    """Pictures of the size that thumbnails have, each another one."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def of_file(self, result: FileResult) -> bytes:
        """A JPEG of noise."""
        file = io.BytesIO()
        pixels = self._rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((256, 192)).save(file, "JPEG", quality=60)
        return file.getvalue()

    def of_reference(self, neighbour: Neighbour) -> bytes:
        """A JPEG of noise."""
        return self.of_file(None)  # type: ignore[arg-type]


RUN = {
    "scan": 1, "state": "finished", "arguments": {"paths": ["/evidence"]}, "k": 1, "host": {},
    "gallery": {"name": "g", "generation": 1, "reals": 24000, "fakes": 24000}, "encoder": {},
}  # fmt: skip


def filtered(page: Page, text: str) -> float:
    """Milliseconds from a change of the text to the new table, layout included."""
    return float(
        page.evaluate(
            """(text) => { const box = document.getElementById("text"); box.value = text;
            const started = performance.now();
            box.dispatchEvent(new Event("input", {bubbles: true}));
            document.body.offsetHeight; return performance.now() - started; }""",
            text,
        )
    )


def main() -> None:
    """Write, open, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--pictures", type=int, default=0, help="MiB of made-up thumbnails")
    options = parser.parse_args()
    count, budget = options.rows, options.pictures << 20
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        target = Path(name) / "report.html"
        started = time.perf_counter()
        with target.open("w", encoding="utf-8") as stream:
            pictures = Noise() if budget else None
            summary = {"by_verdict": {"fake": count, "inconclusive": count}}
            HtmlReport(pictures, budget)(Report(RUN, summary, rows(count)), stream)
        wrote = time.perf_counter() - started
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto(target.as_uri())
        ready = page.evaluate("performance.timing.domInteractive - performance.timing.fetchStart")
        first = filtered(page, "img_0")
        others = [filtered(page, text) for text in ("IMG_04", "flux", "dcim/012", "nothing", "")]
        sort = page.evaluate(
            """() => { const started = performance.now();
            document.querySelector("[data-sort=score]").click();
            document.body.offsetHeight; return performance.now() - started; }"""
        )
        print(
            f"{count} rows: {target.stat().st_size / 1e6:.1f} MB, written in {wrote:.1f} s;"
            f" interactive after {ready / 1000:.2f} s; first filter {first:.0f} ms,"
            f" later {median(others):.0f} ms (most {max(others):.0f}); sort {sort:.0f} ms"
        )
        browser.close()


if __name__ == "__main__":
    main()
