"""The HTML report in a real browser: it sorts, filters, opens evidence, and runs nothing else."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from code_forensics.index.workspace import Workspace

from tests.cli.conftest import HOSTILE
from tests.cli.in_process import run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no Chromium here")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=BROWSER_OPTIONS)
        yield started
        started.close()


@pytest.fixture
def page(browser: "Browser", reported: Path) -> "Iterator[Page]":
    """The report, opened; ends with the check that the console stayed silent."""
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective))"
    )
    page.goto((reported / "report.html").as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    page.close()


def names(page: "Page") -> list[str]:
    return [Path(text).name for text in page.locator("#rows .file span").all_text_contents()]


def test_it_filters(page: "Page") -> None:
    assert page.locator("#count").text_content() == "10 files"
    page.fill("#text", "rough")
    assert sorted(names(page)) == [f"rough{n}.jpg" for n in range(4)]
    assert page.locator("#count").text_content() == "4 of 10 files"
    page.fill("#text", "no such file")
    assert names(page) == []
    page.click("button[type=reset]")
    page.locator("#rows tr").nth(9).wait_for()
    page.select_option("#reason", label="truncated")
    assert names(page) == ["broken.jpg"]
    page.click("button[type=reset]")
    page.locator("#rows tr").nth(9).wait_for()
    for box in page.locator("#verdicts input").all()[:3]:
        box.uncheck()
    assert names(page) == ["broken.jpg"]


def test_it_sorts(page: "Page") -> None:
    head = page.locator("th button[data-sort=score]")
    head.click()
    cells = page.locator("#rows td[data-name=score]").all_text_contents()
    scores = [float(text) for text in cells if text]
    assert scores == sorted(scores, reverse=True)
    assert cells[-1] == ""
    head.click()
    again = [t for t in page.locator("#rows td[data-name=score]").all_text_contents() if t]
    assert [float(text) for text in again] == sorted(scores)
    assert page.locator("th[aria-sort=ascending]").count() == 1


def test_the_evidence_opens_by_mouse_and_keyboard(page: "Page") -> None:
    page.fill("#text", "smooth0")
    page.locator("#rows [data-file]").click()
    dialog = page.locator("dialog[open]")
    text = dialog.text_content()
    for part in (
        "smooth0.png",
        "Nearest real reference",
        "cosine",
        "SHA-256",
        "after JPEG 75",
        "as it is",
        "Crops",
    ):
        assert part in text
    assert dialog.locator("img").count() == 3
    assert page.evaluate("[...document.querySelectorAll('dialog img')].every(i => i.naturalWidth)")
    assert dialog.locator("svg rect").count() == 5
    assert dialog.locator("svg").is_visible()
    dialog.get_by_label("show the crops").uncheck()
    assert not dialog.locator("svg").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.file !== undefined")
    page.click("button[type=reset]")
    page.locator("#rows tr").nth(9).wait_for()
    page.locator("#rows [data-file]").first.focus()
    page.keyboard.press("Enter")
    first = page.locator("#evidence-heading").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#evidence-heading").text_content() != first


def test_hostile_names_are_text(page: "Page") -> None:
    page.fill("#text", "onerror")
    assert names(page)[0].endswith("'owned'>.png")
    page.locator("#rows [data-file]").click()
    assert HOSTILE in page.locator("#evidence-heading").text_content()
    assert page.title() == "Case <b>17</b>: scan 1"
    assert page.locator("h1 b").count() == 0


def test_themes_and_paper(page: "Page", reported: Path) -> None:
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.emulate_media(color_scheme="dark")
    assert background() != light
    page.click("#theme")
    assert background() == light
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF")
    assert page.evaluate("dispatchEvent(new Event('beforeprint'))")
    flagged = page.locator("#rows .badge.fake, #rows .badge.inconclusive").count()
    copies = page.locator("#rows tr", has_text="duplicate").count()
    assert page.locator("#sheets article").count() == flagged - copies > 0
    assert page.locator("#sheets article img").count() == 3 * (flagged - copies)


def test_no_thumbnails(reported: Path) -> None:
    run(
        *("code-report", "export", "1", "--html", reported / "bare.html", "--no-thumbnails"),
        *("--workspace", reported / "ws"),
    )
    assert 'id="file-' in (reported / "report.html").read_text(encoding="utf-8")
    assert 'id="file-' not in (reported / "bare.html").read_text(encoding="utf-8")


def test_a_killed_scan_has_counts_and_pictures(reported: Path, tmp_path: Path) -> None:
    shutil.copytree(reported / "ws", tmp_path / "ws")
    with Workspace(tmp_path / "ws") as opened:
        stated = opened.scans.info("1").summary
        opened._database.conn.execute(
            "UPDATE scans SET summary = NULL, state = 'running', finished = NULL WHERE id = 1"
        )
        opened._database.conn.commit()
    space = ("--workspace", tmp_path / "ws")
    html, whole = tmp_path / "killed.html", tmp_path / "killed.json"
    run("code-report", "export", "1", "--html", html, "--json", whole, *space)
    assert json.loads(whole.read_text(encoding="utf-8"))["summary"] == stated
    text = html.read_text(encoding="utf-8")
    assert 'id="file-' in text
    assert stated["results_sha256"] in text
    assert "Every file under" not in text and "The scan was interrupted" in text
    assert "files         10" in run("code-report", "show", "1", *space).stdout
