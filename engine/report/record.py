"""A row as the plain objects that JSON knows, every text inert."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import inert
from ..results import FileResult


def records(results: Iterable[FileResult]) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries of one set of keys, for ``pandas.DataFrame(list(...))`` and the like.

    Args:
        results: Of a scan while it runs, or on record.

    Returns:
        Entries as in the JSON report's ``files``, one at a time.
    """
    return ({**dict.fromkeys(_SOME), **file_object(result)} for result in results)


def file_object(result: FileResult) -> dict[str, Any]:
    """The ``files`` entry of a report, under the names of the shipped JSON Schema."""
    row = {
        "path": inert.for_json(result.path),
        "sha256": result.sha256,
        "bytes": result.bytes,
        "format": result.format,
        "width": result.width,
        "height": result.height,
        "status": str(result.status),
        "reason": result.reason,
        "knn": _value(result.knn),
        "verdict": _value(result.verdict),
        "p_fake": result.p_fake,
        "margin": result.margin,
        "real_similarity": result.real_similarity,
        "fake_similarity": result.fake_similarity,
        "generator": _value(result.generator),
        "neighbour": _value(result.neighbour),
        "duplicate_of": _value(result.duplicate_of),
        "provenance": inert_json(result.provenance),
        "detail": _value(result.detail),
        "precision": result.precision,
        "neighbours": [
            {
                "id": inert.for_json(n.id),
                "label": str(n.label),
                "generator": inert.for_json(n.generator),
                "source": inert.for_json(n.source),
                "similarity": n.similarity,
            }
            for n in result.neighbours
        ],
        "score": result.score,
        "log10_lr": result.log10_lr,
        "attribution": _value(result.attribution),
        "attribution_certainty": result.attribution_certainty,
        "crops": [
            {
                "left": crop.left,
                "top": crop.top,
                "size": crop.size,
                "score": crop.score,
                "p_fake": crop.p_fake,
            }
            for crop in result.crops
        ],
        "probe": [
            {"change": probe.change, "score": probe.score, "verdict": probe.verdict}
            for probe in result.probe
        ],
    }
    return row | {name: value for name, value in _further(result) if value is not None}


_SOME = ("container", "frame", "frames", "classifier", "classifier_score")
"""What only some rows have; left out elsewhere, so that digests of older rows stay."""


def _further(result: FileResult) -> Iterator[tuple[str, Any]]:
    for name in _SOME:
        value = getattr(result, name)
        yield name, inert.for_json(value) if isinstance(value, str) else value


def _value(text: str | None) -> str | None:
    return None if text is None else inert.for_json(str(text))


def inert_json(value: Any) -> Any:
    """Make every text inside a JSON-able value inert."""
    if isinstance(value, str):
        return inert.for_json(value)
    if isinstance(value, Mapping):
        pairs = sorted(value.items(), key=lambda pair: str(pair[0]))  # as they come from the store
        return {inert.for_json(str(key)): inert_json(item) for key, item in pairs}
    if isinstance(value, list | tuple):
        return [inert_json(item) for item in value]
    return value


def provenance_text(provenance: Mapping[str, Any]) -> str:
    """Provenance as a short list separated by semicolons, without prompts and descriptions."""
    return "; ".join(
        f"{finding['kind']}: {finding['value'][:80].replace(';', ',')} ({finding['strength']})"
        for finding in provenance.get("findings", ())
        if finding["kind"] not in ("prompt", "description")
    )
