"""Reports as HTML: one file that needs no network, runs under a strict policy, and is inert."""

import base64
import hashlib
import html
import json
import shutil
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from tempfile import SpooledTemporaryFile
from typing import Any, TextIO

from ..inert import for_html
from ..results import FileResult, Summary
from .histogram import Histogram
from .html_rows import RowEncoder, script_json, side_by_side
from .html_sections import count_tables, limits_list, run_record, summary_cards, title
from .interface import Report
from .judging import Judging
from .thumbnails import BUDGET, Budget, Pictures

CHUNK = 250
"""Rows a data block; the details of a block are parsed when one of its files is opened."""

_SPOOL = 16 << 20  # characters of data held in memory before they go to a temporary file
_POLICY = (
    "default-src 'none'; img-src data:; script-src {scripts}; style-src {style};"
    " base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True)
class HtmlReport:
    """The HTML format; memory does not grow with the rows, but for the references they cite.

    Attributes:
        pictures: Where thumbnails come from; None for a report without pictures.
        budget: Bytes of all thumbnails, before their encoding as text adds a third. Fakes come
            first, then inconclusive files.
    """

    pictures: Pictures | None = None
    budget: int = BUDGET

    def __call__(self, report: Report, stream: TextIO) -> None:
        """Write the whole report."""
        judging = Judging.of_run(report.run)
        encoder, histogram, counted = RowEncoder(judging), Histogram(), Summary()
        drawer = _Drawer(self.pictures, self.budget, report, encoder)
        # The rows are read once, but what is drawn from them stands above them.
        with SpooledTemporaryFile(_SPOOL, "w+", encoding="utf-8", newline="") as data:
            block: list[FileResult] = []
            for result in report.files:
                counted.add(result)
                histogram.add(result)
                drawer.draw(counted.files - 1, result, data)
                block.append(result)
                if len(block) == CHUNK:
                    _write_block(block, encoder, data)
                    block.clear()
            _write_block(block, encoder, data)
            data.write(_data("tables", encoder.tables()))
            above, below = _page(report, counted, histogram.svg(judging))
            stream.write(above)
            data.seek(0)
            shutil.copyfileobj(data, stream, 1 << 20)
            stream.write(below)


class _Drawer:
    """Writes thumbnails as long as the budget lasts, each reference's once."""

    def __init__(
        self, pictures: Pictures | None, total: int, report: Report, encoder: RowEncoder
    ) -> None:
        self._pictures = pictures
        self._budget = Budget(total, report.summary.get("by_verdict", {}))
        self._encoder = encoder
        self._seen: set[int] = set()

    def draw(self, row: int, result: FileResult, data: "SpooledTemporaryFile[str]") -> None:
        if self._pictures is None or result.verdict is None:
            return
        if not self._budget.allows(result.verdict):
            return
        self._write(f"file-{row}", self._pictures.of_file(result), result, data)
        for neighbour in side_by_side(result):
            number = self._encoder.reference(neighbour)
            if number not in self._seen and self._budget.allows(result.verdict):
                self._seen.add(number)
                drawn = self._pictures.of_reference(neighbour)
                self._write(f"reference-{number}", drawn, result, data)

    def _write(
        self, name: str, drawn: bytes | None, result: FileResult, data: "SpooledTemporaryFile[str]"
    ) -> None:
        if drawn is not None and result.verdict is not None:
            self._budget.spend(result.verdict, len(drawn))
            encoded = base64.b64encode(drawn).decode("ascii")
            data.write(f'<script type="text/plain" id="{name}">{encoded}</script>\n')


def _write_block(
    block: list[FileResult], encoder: RowEncoder, data: "SpooledTemporaryFile[str]"
) -> None:
    if block:
        data.write(_data("", [encoder.row(result) for result in block], "rows"))
        data.write(_data("", [encoder.detail(result) for result in block], "details"))


def _data(name: str, value: Any, kind: str = "") -> str:
    mark = f' id="{name}"' if name else f' class="{kind}"'
    return f'<script type="application/json"{mark}>{script_json(value)}</script>\n'


def _page(report: Report, counted: Summary, histogram: str) -> tuple[str, str]:
    """The page above and below its data."""
    style = _asset("report.css")
    scripts = [_asset(name) for name in ("table.js", "evidence.js")]
    policy = _POLICY.format(scripts=" ".join(map(_source, scripts)), style=_source(style))
    heading = title(report.run)
    page = Template(_asset("report.html")).substitute(
        policy=for_html(policy),
        style=style,
        title=for_html(heading),
        run=run_record(report.run, report.summary),
        record=html.escape(json.dumps(report.run, indent=1)),  # ASCII, so inert but for markup
        limits=limits_list(report.run),
        summary=summary_cards(report.run, report.summary or counted.as_dict()),
        counts=count_tables(report.summary or counted.as_dict()),
        histogram=histogram,
        block=CHUNK,
        data="\0",
        table_script=scripts[0],
        evidence_script=scripts[1],
    )
    above, below = page.split("\0")
    return above, below


def _asset(name: str) -> str:
    return files("code_forensics.engine.report").joinpath("assets", name).read_text("utf-8")


def _source(text: str) -> str:
    """A text's hash as a source expression of Content Security Policy Level 3."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"
