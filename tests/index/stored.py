"""A workspace filled without an encoder: vectors that numpy draws, and scans of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from code_forensics.index.gallery_records import NewReference
from code_forensics.index.scan_recorder import ScanRecorder
from code_forensics.index.workspace import Workspace
from numpy.typing import NDArray

DIMENSION = 16
ENCODER = "e" * 64
STEPS = "p/1"


@dataclass(frozen=True)
class File:
    """A file as discovered."""

    path: str
    bytes: int = 100
    mtime_ns: int = 1
    inode: int = 1
    device: int = 1
    container: str | None = None


@dataclass(frozen=True)
class Content:
    """What a scan learnt of some bytes."""

    sha256: str
    vector: NDArray[np.float32] | None
    precision: str | None = "float32"
    bytes: int = 100
    format: str | None = "PNG"
    width: int | None = 10
    height: int | None = 10
    decoder: str | None = "pillow"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None
    views: NDArray[np.float32] | None = None
    frame: int = 1
    frames: int | None = None


def vector_of(number: int) -> NDArray[np.float32]:
    """The embedding of picture number n."""
    vector: NDArray[np.float32] = np.random.default_rng(number).normal(size=DIMENSION)
    return vector.astype(np.float32)


def sha256_of(number: int) -> str:
    """The hash of picture number n."""
    return f"{number:064x}"


def content_of(number: int) -> Content:
    """What is known of picture number n."""
    return Content(sha256_of(number), vector_of(number))


def file_of(path: str) -> File:
    """A file at a path."""
    return File(path)


def references(count: int, seed: int = 0, source: str = "s") -> list[NewReference]:
    """As many references of each class."""
    rng = np.random.default_rng(seed)
    return [
        NewReference(label, "gen" if label == "fake" else "", source,
                     rng.normal(size=DIMENSION).astype(np.float32))
        for _ in range(count)
        for label in ("real", "fake")
    ]  # fmt: skip


def make_workspace(folder: Path) -> Workspace:
    """A workspace with an encoder and a gallery ``g`` of ten references a class."""
    workspace = Workspace(folder)
    workspace.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "test")
    workspace.galleries.create("g", ENCODER, STEPS, references(10), "build")
    return workspace


def begin_scan(space: Workspace, folder: str, gallery: str = "g") -> ScanRecorder:
    """Begin a scan."""
    info = space.galleries.info(gallery)
    return space.recorder(info, {"arguments": {"paths": [folder]}, "gallery": {"name": gallery}})


def record_scan(
    space: Workspace,
    folder: str,
    numbers: Iterable[int],
    vectors: Mapping[int, NDArray[np.float32]] | None = None,
    finish: bool = True,
) -> ScanRecorder:
    """Record a scan of pictures ``FOLDER/NUMBER.png``, by some of them with another vector."""
    recorder = begin_scan(space, folder)
    for number in numbers:
        content = content_of(number)
        if vectors and number in vectors:
            content = replace(content, vector=vectors[number])
        record_one(recorder, f"{folder}/{number}.png", content)
    if finish:
        recorder.finish("finished", {"files": 1})
    return recorder


def record_one(recorder: ScanRecorder, path: str, content: Any) -> None:
    """Record one row, with the first reference as its neighbour."""
    from code_forensics.engine.results import FileResult, Label, Status, Verdict
    from code_forensics.engine.results import Neighbour as Evidence

    evidence = Evidence(1, "g:1", Label.REAL, "", "s", 0.5)
    row = FileResult(
        path, content.sha256, content.bytes, "PNG", 10, 10, Status.SCANNED,
        knn=Label.REAL, verdict=Verdict.REAL, neighbours=(evidence,),
    )  # fmt: skip
    recorder.record([(file_of(path), content, row)])
