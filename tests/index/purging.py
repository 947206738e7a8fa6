"""What the tests of a purge share: how to carry one out, and what is left of it."""

from pathlib import Path

from code_forensics.engine.report.tally import summarise
from code_forensics.index.scans import ScanInfo
from code_forensics.index.upkeep.findings import Outcome
from code_forensics.index.upkeep.purge_plan import Purged, PurgeRequest
from code_forensics.index.workspace import Workspace

from tests.index.stored import (
    ENCODER,
    content_of,
    record_one,
)


def purge(space: Workspace, **what: tuple[str, ...]) -> Purged:
    purger = space.purger(summarise)
    return purger.carry_out(purger.plan(PurgeRequest(**what)))


def count(space: Workspace, table: str) -> int:
    number: int = space._database.conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    return number


def traces(space: Workspace, *needles: bytes) -> list[Path]:
    """Files of the workspace that hold any of these bytes."""
    return [
        path
        for path in space.folder.rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def assert_sound(space: Workspace) -> None:
    findings = [f for result in space.verify(lambda folder: ENCODER) for f in result.findings]
    assert [f for f in findings if f.outcome is not Outcome.NOTED] == []


def record_two(space: Workspace) -> ScanInfo:
    """A scan that was asked for a file and for a folder."""
    gallery = space.galleries.info("g")
    asked = {"arguments": {"paths": ["./seized/30.png", "a"]}, "gallery": {"name": "g"}}
    recorder = space.recorder(gallery, asked)
    record_one(recorder, "seized/30.png", content_of(30))
    record_one(recorder, "a/31.png", content_of(31))
    recorder.finish("finished", summarise(space.scans.rows(space.scans.info(str(recorder.key)))))
    return space.scans.info(str(recorder.key))
