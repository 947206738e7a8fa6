"""Reports as CASE/UCO JSON-LD, the exchange format of the cyber-investigation community.

Each file is an ``observable:File`` with its hash, size and dimensions, and an
``analysis:ArtifactClassificationResultFacet`` where it has a verdict; the scan is an
``investigation:InvestigativeAction`` that names tool, configuration and results. The terms are
those of UCO 1.x and CASE 1.x (https://caseontology.org); nothing beyond them is used.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TextIO
from uuid import NAMESPACE_URL, UUID, uuid5

from ..inert import for_json, path_text
from ..results import FileResult, Verdict
from .explain import explain
from .interface import Report
from .judging import Judging

_UCO = "https://ontology.unifiedcyberontology.org/uco/"
CONTEXT = {
    "kb": "urn:uuid:",
    "action": f"{_UCO}action/",
    "analysis": f"{_UCO}analysis/",
    "configuration": f"{_UCO}configuration/",
    "core": f"{_UCO}core/",
    "identity": f"{_UCO}identity/",
    "investigation": "https://ontology.caseontology.org/case/investigation/",
    "observable": f"{_UCO}observable/",
    "tool": f"{_UCO}tool/",
    "types": f"{_UCO}types/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


def write_case(report: Report, stream: TextIO) -> None:
    """Write a report as one JSON-LD document; identifiers follow from the scan's, row by row."""
    graph = _Graph(report)
    stream.write(f'{{\n"@context": {json.dumps(CONTEXT, indent=1)},\n"@graph": [\n')
    count = 0
    for count, result in enumerate(report.files, 1):
        for node in graph.file(count - 1, result):
            stream.write(json.dumps(node, ensure_ascii=False, allow_nan=False) + ",\n")
    tail = graph.about(count)
    stream.write(",\n".join(json.dumps(node, ensure_ascii=False) for node in tail))
    stream.write("\n]\n}\n")


class _Graph:
    """Nodes of one scan."""

    def __init__(self, report: Report) -> None:
        self._run = report.run
        self._judging = Judging.of_run(report.run)
        identity = str(report.run.get("id") or "")
        self._space = UUID(identity) if identity else uuid5(NAMESPACE_URL, "code-forensics")

    def _id(self, what: str, number: int = 0) -> str:
        return f"kb:{uuid5(self._space, f'{what}:{number}')}"

    def _ref(self, what: str, number: int = 0) -> dict[str, str]:
        return {"@id": self._id(what, number)}

    def file(self, number: int, result: FileResult) -> Iterator[dict[str, Any]]:
        """A file, and how it was classified."""
        facets: list[dict[str, Any]] = [
            {
                "@id": self._id("file-facet", number),
                "@type": "observable:FileFacet",
                "observable:fileName": _name(result.path),
                "observable:filePath": path_text(result.path),
                **_integer("observable:sizeInBytes", result.bytes),
            }
        ]
        if result.sha256 is not None:
            yield {
                "@id": self._id("hash", number),
                "@type": "types:Hash",
                "types:hashMethod": "SHA256",
                "types:hashValue": {"@type": "xsd:hexBinary", "@value": result.sha256.upper()},
            }
            facets.append(
                {
                    "@id": self._id("content", number),
                    "@type": "observable:ContentDataFacet",
                    "observable:hash": self._ref("hash", number),
                    **_integer("observable:sizeInBytes", result.bytes),
                }
            )
        if result.width is not None:
            facets.append(
                {
                    "@id": self._id("picture", number),
                    "@type": "observable:RasterPictureFacet",
                    **_integer("observable:pictureWidth", result.width),
                    **_integer("observable:pictureHeight", result.height),
                    **(
                        {"observable:pictureType": for_json(result.format)} if result.format else {}
                    ),
                }
            )
        if result.verdict is not None:
            yield {
                "@id": self._id("classification", number),
                "@type": "analysis:ArtifactClassification",
                "analysis:class": str(result.verdict),
                **_confidence(result),
            }
            facets.append(
                {
                    "@id": self._id("verdict", number),
                    "@type": "analysis:ArtifactClassificationResultFacet",
                    "analysis:classification": self._ref("classification", number),
                }
            )
        said = explain(result, self._judging)
        yield {
            "@id": self._id("file", number),
            "@type": "observable:File",
            "core:description": " ".join(map(str, (said.headline, *said.sentences))),
            "core:hasFacet": facets,
        }

    def about(self, count: int) -> Iterator[dict[str, Any]]:
        """What was done, by whom, with what."""
        run, arguments = self._run, self._run.get("arguments", {})
        yield {
            "@id": self._id("tool"),
            "@type": "tool:AnalyticTool",
            "core:name": str(run.get("tool")),
            "tool:version": str(run.get("version")),
        }
        yield {
            "@id": self._id("configuration"),
            "@type": "configuration:Configuration",
            "core:name": "run record",
            "core:description": json.dumps(run),
        }
        action: dict[str, Any] = {
            "@id": self._id("action"),
            "@type": ["investigation:InvestigativeAction", "analysis:Analysis"],
            "core:name": f"scan {run.get('scan')}",
            "core:description": for_json(arguments.get("note") or "Image comparison scan"),
            "action:actionStatus": _STATES.get(str(run.get("state")), "Unknown"),
            "action:instrument": [self._ref("tool"), self._ref("configuration")],
            "action:object": [self._ref("file", number) for number in range(count)],
            "action:result": self._ref("record"),
            **_time("action:startTime", run.get("started")),
            **_time("action:endTime", run.get("finished")),
        }
        if examiner := arguments.get("examiner"):
            action["action:performer"] = self._ref("examiner")
            yield {
                "@id": self._id("examiner"),
                "@type": "identity:Person",
                "core:name": for_json(examiner),
            }
        yield action
        yield {
            "@id": self._id("record"),
            "@type": "investigation:ProvenanceRecord",
            "core:description": "Files with the verdicts of the scan",
            "core:object": [self._ref("file", number) for number in range(count)],
            **(
                {"investigation:exhibitNumber": for_json(arguments["case"])}
                if arguments.get("case")
                else {}
            ),
        }


_STATES = {"finished": "Complete/Finish", "running": "Ongoing", "failed": "Fail"}


def _name(path: str) -> str:
    return path_text(path.replace("\\", "/").rstrip("/").rpartition("/")[2] or path)


def _integer(name: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {name: value}


def _confidence(result: FileResult) -> Mapping[str, Any]:
    """The calibrated probability of the class that the file was given, a decimal."""
    if result.p_fake is None or result.verdict is Verdict.INCONCLUSIVE:
        return {}
    sure = result.p_fake if result.verdict is Verdict.FAKE else 1.0 - result.p_fake
    value = {"@type": "xsd:decimal", "@value": f"{sure:.6f}"}
    return {"analysis:classificationConfidence": value}


def _time(name: str, value: Any) -> Mapping[str, Any]:
    if not value:
        return {}
    text = datetime.fromisoformat(str(value)).isoformat()
    return {name: {"@type": "xsd:dateTime", "@value": text}}
