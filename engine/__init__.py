"""The engine: a file becomes a crop, a vector, a verdict, a report.

What a notebook needs is imported from here; it costs nothing until it is used, as every name is
looked up in its module at first sight::

    import pandas as pd
    from code_forensics.engine import RecordedScan, records
    from code_forensics.index import Workspace

    with Workspace() as space:
        frame = pd.DataFrame(records(RecordedScan(space, ["./photos"])))
    frame[frame.verdict == "fake"].sort_values("score", ascending=False)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .archives.limits import ArchiveLimits
    from .arguments import Case
    from .decoding.decode import DecodeOptions
    from .decoding.layout import Crops
    from .decoding.views import ViewPlan
    from .embedding.embed import Embedder
    from .embedding.load import load_embedder
    from .errors import EngineError
    from .files.discover import WalkOptions, walk
    from .files.found import FoundFile
    from .judging.judge import Judge, JudgeOptions
    from .judging.thresholds import ThresholdOptions
    from .pipeline.options import PipelineOptions
    from .recorded import RecordedOptions, RecordedScan
    from .report.as_case import write_case
    from .report.as_csv import write_csv
    from .report.as_html import HtmlReport
    from .report.as_json import write_json, write_jsonl
    from .report.as_parquet import write_parquet
    from .report.explain import Explanation, explain
    from .report.interface import Report
    from .report.judging import Judging
    from .report.record import records
    from .results import FileResult, Label, Neighbour, Status, Summary, Verdict

_WHERE = {
    "archives.limits": ("ArchiveLimits",),
    "arguments": ("Case",),
    "decoding.decode": ("DecodeOptions",),
    "decoding.layout": ("Crops",),
    "decoding.views": ("ViewPlan",),
    "files.discover": ("WalkOptions", "walk"),
    "files.found": ("FoundFile",),
    "embedding.embed": ("Embedder",),
    "embedding.load": ("load_embedder",),
    "errors": ("EngineError",),
    "judging.judge": ("Judge", "JudgeOptions"),
    "judging.thresholds": ("ThresholdOptions",),
    "pipeline.options": ("PipelineOptions",),
    "recorded": ("RecordedOptions", "RecordedScan"),
    "report.as_case": ("write_case",),
    "report.as_csv": ("write_csv",),
    "report.as_html": ("HtmlReport",),
    "report.as_json": ("write_json", "write_jsonl"),
    "report.as_parquet": ("write_parquet",),
    "report.explain": ("Explanation", "explain"),
    "report.judging": ("Judging",),
    "report.interface": ("Report",),
    "report.record": ("records",),
    "results": ("FileResult", "Label", "Neighbour", "Status", "Summary", "Verdict"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "ArchiveLimits",
    "Case",
    "Crops",
    "DecodeOptions",
    "Embedder",
    "EngineError",
    "Explanation",
    "FileResult",
    "FoundFile",
    "HtmlReport",
    "Judge",
    "JudgeOptions",
    "Judging",
    "Label",
    "Neighbour",
    "PipelineOptions",
    "RecordedOptions",
    "RecordedScan",
    "Report",
    "Status",
    "Summary",
    "ThresholdOptions",
    "Verdict",
    "ViewPlan",
    "WalkOptions",
    "explain",
    "load_embedder",
    "records",
    "walk",
    "write_case",
    "write_csv",
    "write_json",
    "write_jsonl",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    """Import a public name at first sight."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion in a notebook."""
    return __all__
