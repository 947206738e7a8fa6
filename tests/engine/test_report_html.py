"""The HTML report as text: inert, complete, within its budget."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from code_forensics.cli.pull import REPO
from code_forensics.engine.decoding.decode import DecodeOptions
from code_forensics.engine.decoding.thumbnail import SIDE, thumbnail
from code_forensics.engine.report.as_html import CHUNK, HtmlReport
from code_forensics.engine.report.histogram import Histogram
from code_forensics.engine.report.html_rows import RowEncoder
from code_forensics.engine.report.html_sections import summary_cards
from code_forensics.engine.report.interface import Report
from code_forensics.engine.report.judging import Judging
from code_forensics.engine.report.limits import limits
from code_forensics.engine.results import (
    FileResult,
    Neighbour,
)
from code_forensics.engine.starter.read import ORIGIN, read_about
from PIL import Image

from tests.engine.explained import HOSTILE, row, words

RUN = {
    "scan": 1, "state": "finished", "arguments": {"paths": ["p"], "case": HOSTILE}, "k": 1,
    "gallery": {"name": "g", "generation": 1, "reals": 1, "fakes": 1, "sha256": "0"},
    "encoder": {}, "host": {}, "tool": "t", "version": "1",
}  # fmt: skip


def written(rows: Iterator[FileResult] | list[FileResult], **options: object) -> str:
    stream = io.StringIO()
    HtmlReport(**options)(Report(RUN, {"by_verdict": {"fake": 500}}, rows), stream)
    return stream.getvalue()


class Page(HTMLParser):
    """Collects elements, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = True

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.texts.append((*self.tags[-1], data))


def test_every_row_is_there_and_nothing_else_runs() -> None:
    page = Page(written(row(n) for n in range(CHUNK + 3)))
    scripts = [(attributes, text) for tag, attributes, text in page.texts if tag == "script"]
    run = [text for attributes, text in scripts if "type" not in attributes]
    assert len(run) == 2
    data = [(a, json.loads(text)) for a, text in scripts if a.get("type") == "application/json"]
    rows = [r for a, block in data if a.get("class") == "rows" for r in block]
    details = [d for a, block in data if a.get("class") == "details" for d in block]
    assert len(rows) == len(details) == CHUNK + 3
    assert "alert(1)" in rows[0][0]  # as text, in a name
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    for text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_hostile_text_is_nowhere_markup_or_control() -> None:
    text = written([row(1), row(2, None)])
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<!--" not in text


class Pictures:
    """Thumbnails of one size."""

    def __init__(self) -> None:
        self.asked = 0

    def of_file(self, result: FileResult) -> bytes | None:
        self.asked += 1
        return bytes(10_000)

    def of_reference(self, neighbour: Neighbour) -> bytes | None:
        return bytes(10_000)


def test_thumbnails_keep_to_their_budget_and_references_are_drawn_once() -> None:
    pictures = Pictures()
    rows = [row(n) for n in range(400)]
    text = written(rows, pictures=pictures, budget=1 << 20)
    assert 50 < pictures.asked < 110
    assert len(re.findall(r'id="reference-', text)) == 1
    assert len(text) < 2 << 20
    assert 'id="file-' not in written(rows)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "1", "LA"])
def test_thumbnails_are_small_clean_jpegs(mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (700, 900, 3), dtype=np.uint8))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    name = "TIFF" if mode == "CMYK" else "PNG"
    image.save(file, name, exif=exif) if name == "PNG" else image.save(file, name)
    drawn = thumbnail(file.getvalue(), DecodeOptions())
    assert drawn is not None
    assert b"SECRET" not in drawn
    with Image.open(io.BytesIO(drawn)) as small:
        assert (small.format, small.mode, max(small.size)) == ("JPEG", "RGB", SIDE)


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert thumbnail(b"", DecodeOptions()) is None
    assert thumbnail(b"\xff\xd8\xff\xe0 broken", DecodeOptions()) is None
    file = io.BytesIO()
    Image.new("RGB", (300, 300)).save(file, "PNG")
    assert thumbnail(file.getvalue(), DecodeOptions(max_pixels=100)) is None


@pytest.mark.parametrize(
    ("scores", "anchors"),
    [((-0.24, 0.11), ["start", "end"]), ((-2.0, 2.0), ["end", "start"])],
    ids=["at the edges", "in the middle"],
)
def test_the_words_at_thresholds_lie_within_the_histogram(
    scores: tuple[float, float], anchors: list[str]
) -> None:
    drawn = Histogram()
    for score in scores:
        drawn.add(replace(row(1), score=score))
    svg = drawn.svg(Judging(real_below=-0.25, fake_above=0.11))
    found = re.findall(r'text-anchor="(\w+)">(?:real below|fake above)', svg)
    assert found == anchors


def test_rows_carry_a_heads_decision_only_where_there_is_one() -> None:
    page = Page(written([row(1), replace(row(2), classifier="svm", classifier_score=1.234567891)]))
    texts = [text for tag, a, text in page.texts if a.get("class") == "rows"]
    plain, by_head = json.loads(texts[0])
    assert by_head[:1] != plain[:1] and by_head[9:] == [1.23456789] and plain[9:] == []


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"state": "finished"}, "Every file under the given paths has a row."),
        (
            {"state": "finished", "arguments": {"shard": "1/2"}},
            "The scan is part 1 of 2: every file of it has a row.",
        ),
        (
            {"state": "interrupted"},
            "The scan was interrupted: files without a row were not reached.",
        ),
        (
            {"state": "failed", "arguments": {"shard": "2/2"}},
            "The scan failed, and is part 2 of 2: files without a row were not reached.",
        ),
        ({"state": "running"}, "The scan is still running: files without a row were not reached."),
        (
            {"state": "finished", "arguments": {"watch": 0.5}},
            "The scan watched the given paths: every file that it read has a row, and a further"
            " one where it was read again after a change. Files that vanished before they had"
            " stayed unchanged for 0.5 s, or that were still to be read at the end, have none.",
        ),
        (
            {"state": "finished", "arguments": {"watch": 2.0, "shard": "1/2"}},
            "The scan, part 1 of 2, watched the given paths: every file that it read has a row",
        ),
        (
            {"state": "failed", "arguments": {"watch": 2.0}},
            "The scan failed: files without a row were not reached.",
        ),
        ({}, "not known to have finished"),
    ],
)
def test_a_report_says_which_files_have_a_row(run: dict[str, object], said: str) -> None:
    text = summary_cards(run, {"files": 2})
    assert said in text
    assert ("Every file" in text) == (said.startswith("Every file"))


@pytest.mark.parametrize("score", [0.0671496, 0.0671504, -0.00004999])
def test_the_table_and_the_sentences_show_the_same_digits(score: float) -> None:
    result = replace(row(1), score=score)
    assert f"Its score is {RowEncoder(Judging()).row(result)[8]:+.4f}" in words(result, Judging())


SDXL = "generators up to SDXL"


@pytest.mark.parametrize(
    ("encoder", "origin", "said", "licence"),
    [
        ("0" * 64, REPO, SDXL, None),
        ("0" * 64, "/models/deit", "is not known here", None),
        ("0" * 64, None, "is not known here", None),
        ("0" * 64, ORIGIN, "another version of code-forensics", None),
        (read_about().encoder_sha256, None, "model card", "CC-BY-NC-4.0: not for commercial use."),
        (read_about().encoder_sha256, ORIGIN, "model card", "CC-BY-NC-4.0: not for commercial"),
    ],
    ids=["published", "own", "older record", "older starter", "starter, older record", "starter"],
)
def test_limits_say_of_the_encoder_what_is_known(
    encoder: str, origin: str | None, said: str, licence: str | None
) -> None:
    gallery = {"name": "g"} if origin is None else {"name": "g", "encoder_origin": origin}
    text = " ".join(limits({"encoder": {"sha256": encoder}, "gallery": gallery}))
    assert said in text and (SDXL in text) == (said == SDXL)
    assert licence in text if licence else "licensed" not in text


def test_a_licence_on_record_outlives_the_package() -> None:
    run = {"encoder": {"sha256": "0" * 64, "licence": "MIT"}, "gallery": {"encoder_origin": ORIGIN}}
    assert any(limit.endswith("are licensed MIT.") for limit in limits(run))


def test_no_report_calls_itself_one_of_authenticity() -> None:
    text = written([row(1)])
    assert "Image comparison report" in text
    assert "authentic" not in text.lower()
