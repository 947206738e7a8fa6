"""The parts of the HTML report above its table, every text inert."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..inert import for_html
from ..judging.in_words import arithmetic_in_words, origin_in_words, shard_in_words, views_in_words
from .limits import limits
from .purges import digests_before, purges_in_words


def title(run: Mapping[str, Any]) -> str:
    """The report's heading, not yet inert."""
    case = run.get("arguments", {}).get("case")
    return f"Case {case}: scan {run.get('scan')}" if case else f"Scan {run.get('scan')}"


def run_record(run: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """What was done, by whom, with what, as a description list."""
    rows = "".join(
        f'<div><dt>{for_html(name)}</dt><dd class="{kind}">{for_html(text)}</dd></div>'
        for name, text, kind in _facts(run, summary)
        if text
    )
    return f'<dl class="record">{rows}</dl>'


def limits_list(run: Mapping[str, Any]) -> str:
    """The limits as a list."""
    return f"<ul>{''.join(f'<li>{for_html(limit)}</li>' for limit in limits(run))}</ul>"


def summary_cards(run: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The verdicts and how often each was reached, large."""
    verdicts = summary.get("by_verdict", {})
    cards = "".join(
        f'<div class="card {verdict}"><b>{verdicts.get(verdict, 0):,}</b>'
        f"<span>{verdict}</span></div>"
        for verdict in ("fake", "inconclusive", "real")
    )
    judged = sum(verdicts.values())
    files = summary.get("files", 0)
    without = files - judged
    cards += f'<div class="card none"><b>{without:,}</b><span>without verdict</span></div>'
    sentence = f"{_count(files, 'file')}, {_size(summary.get('bytes', 0))}. {_coverage(run)}"
    if left_out := summary.get("left_out", 0):
        sentence += f" Besides, {_count(left_out, 'file')} left out by --include and --exclude."
    return f'<div class="cards">{cards}</div><p>{for_html(sentence)}</p>'


def _coverage(run: Mapping[str, Any]) -> str:
    """Which of the files under the given paths have a row."""
    part = shard_in_words(run)
    purged = "; ".join(purges_in_words(run))
    lost = f"what was purged: {purged}" if purged else ""
    settled = run.get("arguments", {}).get("watch")
    if run.get("state") == "finished" and settled is not None:
        return (
            f"The scan{f', {part},' if part else ''} watched the given paths: every file that it"
            f" read has a row, and a further one where it was read again after a change"
            f"{f', up to {lost}' if lost else ''}. Files that vanished before they had stayed"
            f" unchanged for {settled:g} s, or that were still to be read at the end, have none."
        )
    if run.get("state") == "finished":
        every = (
            f"The scan is {part}: every file of it" if part else "Every file under the given paths"
        )
        return f"{every} has a row{f', up to {lost}' if lost else ''}."
    how = _UNFINISHED.get(str(run.get("state")), "The scan is not known to have finished")
    scan = f"{how}, and is {part}" if part else how
    return f"{scan}: files without a row were not reached{f', or are {lost}' if lost else ''}."


_UNFINISHED = {
    "running": "The scan is still running",
    "interrupted": "The scan was interrupted",
    "failed": "The scan failed",
}


def count_tables(summary: Mapping[str, Any]) -> str:
    """Files by status and by reason."""
    return _table("Status", summary.get("by_status", {})) + _table(
        "Reason", summary.get("by_reason", {})
    )


def _facts(run: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    arguments, gallery = run.get("arguments", {}), run.get("gallery", {})
    encoder, host = run.get("encoder", {}), run.get("host", {})
    judging = run.get("judging") or {}
    yield "Case", str(arguments.get("case") or ""), ""
    yield "Examiner", str(arguments.get("examiner") or ""), ""
    yield "Note", str(arguments.get("note") or ""), ""
    yield "Scan", f"{run.get('scan')} ({run.get('state')})", ""
    yield "Started", str(run.get("started") or ""), ""
    yield "Finished", str(run.get("finished") or ""), ""
    yield "Paths", _lines(arguments.get("paths", ())), ""
    yield "Shard", shard_in_words(run), ""
    yield "Started in", str(arguments.get("directory") or ""), ""
    yield "Judged again", origin_in_words(run), ""
    yield (
        "Gallery",
        f"{gallery.get('name')}, generation {gallery.get('generation')}:"
        f" {gallery.get('reals')} real and {gallery.get('fakes')} generated references",
        "",
    )
    yield "Prior, k", f"{judging.get('prior', '')}, {run.get('k', '')}" if judging else "", ""
    yield "Tool", f"{run.get('tool')} {run.get('version')}", ""
    yield "Host", f"{host.get('system', '')}, Python {host.get('python', '')}", ""
    yield "Scan id", str(run.get("id") or ""), "hash"
    yield "Gallery SHA-256", str(gallery.get("sha256") or ""), "hash"
    yield "Encoder from", str(gallery.get("encoder_origin") or ""), ""
    yield "Encoder SHA-256", str(encoder.get("sha256") or ""), "hash"
    yield "Arithmetic", arithmetic_in_words(encoder), ""
    yield "Preprocessing", str(run.get("preprocessing") or ""), ""
    yield "Looked at", views_in_words(run.get("views")), ""
    yield "Results SHA-256", str(summary.get("results_sha256") or ""), "hash"
    yield "Purged", _lines(purges_in_words(run)), ""
    yield "Results SHA-256 before", _lines(digests_before(run)), "hash"


def _lines(paths: Sequence[Any]) -> str:
    return "; ".join(map(str, paths))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def _table(name: str, counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{for_html(key.replace('_', ' '))}</th><td>{count:,}</td></tr>"
        for key, count in counts.items()
    )
    return (
        f"<table><thead><tr><th scope=col>{name}</th><th scope=col>Files</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
