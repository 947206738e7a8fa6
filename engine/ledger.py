"""Rows of a report: made from what is known of a file and its judgement, committed in batches."""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .archives.kinds import Kind
from .archives.walk import INSIDE
from .contracts import Content, Recorder
from .decoding.formats import suffix_fits
from .files.addresses import suffix_of
from .files.found import FoundFile
from .judging.judgement import Judgement
from .pipeline.items import Item
from .pipeline.options import StageTimes
from .results import FileResult, Status

COMMIT_ROWS = 256
COMMIT_SECONDS = 0.5

_AGAIN = re.compile(r"(?:#\d+)+$")  # behind a member's name that was there before

SKIPPED = frozenset(
    {
        "empty",
        "not_an_image",
        "special_file",
        "symlink",
        "symlink_loop",
        "too_large",
        "too_many_pixels",
        "archive",
        "archive_bomb",
        "too_deep",
        "too_many_members",
        "too_many_frames",
        "hard_link",
    }
)
"""Reasons that make a file ``skipped``: it is no image, or a bound that the user sets says no."""


class Ledger:
    """Takes finished files and commits their rows in batches."""

    def __init__(self, recorder: Recorder, times: StageTimes) -> None:
        self._recorder = recorder
        self._times = times
        self._rows: list[tuple[FoundFile | None, Content | None, FileResult]] = []
        # Path by SHA-256 and frame, of the rows not yet committed
        self._first: dict[tuple[str, int], str] = {}
        self._committed = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether enough has come together, or enough time has passed, for a commit."""
        late = time.monotonic() - self._committed >= COMMIT_SECONDS
        return len(self._rows) >= COMMIT_ROWS or (late and bool(self._rows))

    def add(self, item: Item, judgement: Judgement | None) -> None:
        """Add a file that has come through the pipeline."""
        file, content = item.file, item.content
        if judgement is None:
            reason = file.reason or (content.reason if content else None)
            status = Status.SKIPPED if reason in SKIPPED else Status.FAILED
            result = _facts(file, content, status, reason)
        else:
            assert content is not None
            key = (content.sha256, content.frame)
            first = self._first.get(key) or self._recorder.first_path(*key)
            if first is None or first == file.path:  # its own: it was scanned before it changed
                first = None
                self._first[key] = file.path
                status = Status.SCANNED if item.embedded else Status.CACHED
            else:
                status = Status.DUPLICATE if item.opened else Status.CACHED
            result = judged(_facts(file, content, status, None, first), judgement)
        self._rows.append((file, content, result))

    def copy(self, result: FileResult) -> None:
        """Add a row that was made without looking at the file."""
        self._rows.append((None, None, result))

    def commit(self) -> list[FileResult]:
        """Record what was added, durably.

        Returns:
            The rows.
        """
        rows, self._rows = self._rows, []
        if rows:
            started = time.perf_counter()
            self._recorder.record(rows)
            self._times.record += time.perf_counter() - started
            self._first.clear()
        self._committed = time.monotonic()
        return [result for _, _, result in rows]


def judged(facts: FileResult, judgement: Judgement) -> FileResult:
    """A row with another judgement."""
    return replace(
        facts,
        reason=judgement.reason,
        knn=judgement.knn,
        verdict=judgement.verdict,
        p_fake=judgement.p_fake,
        margin=judgement.margin,
        real_similarity=judgement.real_similarity,
        fake_similarity=judgement.fake_similarity,
        generator=judgement.generator,
        neighbour=judgement.neighbours[0].id if judgement.neighbours else None,
        neighbours=judgement.neighbours,
        score=judgement.score,
        log10_lr=judgement.log10_lr,
        attribution=judgement.attribution,
        attribution_certainty=judgement.attribution_certainty,
        crops=judgement.crops,
        probe=judgement.probe,
        classifier=judgement.classifier,
        classifier_score=judgement.classifier_score,
    )


def _provenance(file: FoundFile, content: Content) -> Mapping[str, Any]:
    """What the bytes say of their origin, and what the file's name says of the bytes."""
    suffix = suffix_of(_own_name(file, content))
    if not content.format or not suffix or content.format in set(Kind):
        return content.provenance
    if suffix_fits(suffix.lower(), content.format):
        return content.provenance
    note = {
        "kind": "suffix",
        "value": f"{suffix[:20]} on {content.format}",
        "strength": "noted",
        "where": "file name",
    }
    findings = [*content.provenance.get("findings", ()), note]
    return {"strength": "stripped", "claims_generated": False, **content.provenance} | {
        "findings": findings
    }


def _own_name(file: FoundFile, content: Content) -> str:
    """A file's path without what this program has put behind it, see `members` and `frames`."""
    path = file.path
    if content.frame > 1:
        path = path.removesuffix(f"#frame={content.frame}")
    within = f"{file.container}{INSIDE}"
    if file.container is not None and path.startswith(within):
        return _AGAIN.sub("", path.removeprefix(within))
    return path


def _facts(
    file: FoundFile,
    content: Content | None,
    status: Status,
    reason: str | None,
    duplicate_of: str | None = None,
) -> FileResult:
    several = content if content and (content.frames or 1) > 1 else None
    return FileResult(
        path=file.path,
        sha256=content.sha256 if content else None,
        bytes=file.bytes,
        format=content.format if content else None,
        width=content.width if content else None,
        height=content.height if content else None,
        status=status,
        reason=reason,
        duplicate_of=duplicate_of,
        precision=content.precision if content else None,
        provenance=_provenance(file, content) if content else {},
        detail=file.detail or (content.detail if content else None),
        container=file.container,
        frame=several.frame if several else None,
        frames=several.frames if several else None,
    )
