"""Which reports are asked for, and what writes each."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine.errors import InputError
from .options import require

if TYPE_CHECKING:
    from ..engine.report.interface import Format
    from ..engine.report.thumbnails import Pictures
    from ..engine.results import Neighbour
    from ..index.scans import ScanInfo
    from ..index.workspace import Workspace

PANEL = "Reports"

Csv = Annotated[
    Path | None,
    typer.Option("--csv", metavar="FILE", help="Write CSV; - is stdout.", rich_help_panel=PANEL),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write JSON.", rich_help_panel=PANEL),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write one HTML file that needs no network, with thumbnails and evidence.",
        rich_help_panel=PANEL,
    ),
]
NoThumbnails = Annotated[
    bool,
    typer.Option("--no-thumbnails", help="No pictures in the HTML.", rich_help_panel=PANEL),
]


Parquet = Annotated[
    Path | None,
    typer.Option(
        "--parquet",
        metavar="FILE",
        help="Write Parquet, for pandas and databases (extra parquet).",
        rich_help_panel=PANEL,
    ),
]
CaseUco = Annotated[
    Path | None,
    typer.Option(
        "--case-uco",
        metavar="FILE",
        help="Write CASE/UCO JSON-LD, for forensic suites.",
        rich_help_panel=PANEL,
    ),
]


THUMBNAIL_MB = 48
"""Default of the budget, that of the engine's ``HtmlReport``."""

ThumbnailMb = Annotated[
    int | None,
    typer.Option(
        "--thumbnail-mb",
        metavar="N",
        min=0,
        help=f"MiB of thumbnails in the HTML at most, default: {THUMBNAIL_MB}; fakes come first.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Reports of a whole scan, by their files; None for those that are not wanted."""

    csv: Path | None = None
    json: Path | None = None
    html: Path | None = None
    jsonl: Path | None = None
    parquet: Path | None = None
    case: Path | None = None
    thumbnails: bool = True
    thumbnail_mb: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is said of the pictures of a report that nobody wants, or wants without.

        Raises:
            InputError: It is said.
        """
        bare = None if self.thumbnails else True
        require("--no-thumbnails", bare, "--html FILE", self.html is not None)
        require("--thumbnail-mb", self.thumbnail_mb, "--html FILE", self.html is not None)
        if bare and self.thumbnail_mb is not None:
            raise InputError(
                "--no-thumbnails and --thumbnail-mb contradict each other", "drop one of them"
            )

    @property
    def targets(self) -> list[Path]:
        """The files that will be written."""
        every = (self.csv, self.json, self.html, self.jsonl, self.parquet, self.case)
        return [target for target in every if target is not None]

    @property
    def without_purges(self) -> list[str]:
        """Options of the wanted reports that have no place to say what was purged."""
        silent = (("--csv", self.csv), ("--jsonl", self.jsonl), ("--case-uco", self.case))
        return [option for option, target in silent if target is not None]

    def write(self, space: "Workspace", scan: "ScanInfo") -> None:
        """Write them, each whole or not at all.

        Args:
            space: Holds the scan, and says where the files of references are.
            scan: The scan.
        """
        from . import outputs, render

        with ExitStack() as stack:
            for target, write in self._texts(space, scan, stack):
                with outputs.whole(target) as stream:
                    write(render.report(space.scans, scan), stream)
        if self.parquet is not None:
            from ..engine.report.as_parquet import write_parquet

            with outputs.whole_bytes(self.parquet) as sink:
                write_parquet(render.report(space.scans, scan), sink)

    def _texts(
        self, space: "Workspace", scan: "ScanInfo", stack: ExitStack
    ) -> "list[tuple[Path, Format]]":
        from ..engine.report.as_case import write_case
        from ..engine.report.as_csv import write_csv
        from ..engine.report.as_html import HtmlReport
        from ..engine.report.as_json import write_json, write_jsonl

        writers: list[tuple[Path, Format]] = []
        for target, write in (
            (self.csv, write_csv),
            (self.json, write_json),
            (self.jsonl, write_jsonl),
            (self.case, write_case),
        ):
            if target is not None:
                writers.append((target, write))
        if self.html is not None:
            pictures = _pictures(space, scan, stack) if self.thumbnails else None
            budget = THUMBNAIL_MB if self.thumbnail_mb is None else self.thumbnail_mb
            writers.append((self.html, HtmlReport(pictures, budget << 20)))
        return writers


def _pictures(space: "Workspace", scan: "ScanInfo", stack: ExitStack) -> "Pictures":
    from ..engine.arguments import located
    from ..engine.isolation.decoders import Decoders
    from ..engine.report.thumbnails import FilePictures, ReferenceFile

    def find(neighbour: "Neighbour") -> ReferenceFile | None:
        found = space.galleries.file_of(neighbour.key)
        return None if found is None else ReferenceFile(*found)

    where = partial(located, run=scan.run)
    return FilePictures(find, stack.enter_context(Decoders()), where)
