"""What the scanner says of one file: the columns of every report."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a file's result came about."""

    SCANNED = "scanned"  # read, decoded and embedded in this scan
    CACHED = "cached"  # the workspace knew this content: nothing was embedded
    DUPLICATE = "duplicate"  # the same bytes as an earlier file of this scan
    SKIPPED = "skipped"  # not a file that can be scanned; the reason says why
    FAILED = "failed"  # an image, or unreadable; the reason says why

    @property
    def judged(self) -> bool:
        """Whether rows of this status carry a verdict."""
        return self in (Status.SCANNED, Status.CACHED, Status.DUPLICATE)


class Label(StrEnum):
    """The class of a reference, and the answer of the plain vote."""

    REAL = "real"
    FAKE = "fake"


class Verdict(StrEnum):
    """The scanner's answer."""

    REAL = "real"
    FAKE = "fake"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A reference near the file's embedding.

    Attributes:
        key: The gallery's own key, meaningful to the workspace only.
        id: ``GALLERY:ORDINAL``, stable for the life of the gallery.
        label: ``real`` or ``fake``.
        generator: What made a fake; empty where unknown.
        source: The collection that it comes from; empty where unknown.
        similarity: Cosine to the file's embedding, in [-1, 1].
    """

    key: int
    id: str
    label: Label
    generator: str
    source: str
    similarity: float


@dataclass(frozen=True, slots=True)
class CropScore:
    """One crop of several: which part of the picture looks how.

    Attributes:
        left: Of the crop in the picture as stored, in pixels; negative where it is padded.
        top: As `left`.
        size: Side of the crop, in pixels.
        score: Its score, as the file's.
        p_fake: Its calibrated probability of "generated"; None where uncalibrated.
    """

    left: int
    top: int
    size: int
    score: float
    p_fake: float | None


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """The answer after a change that should not matter.

    Attributes:
        change: What was changed, a stable code such as ``jpeg_75``.
        score: The score after it.
        verdict: The verdict after it.
    """

    change: str
    score: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class FileResult:
    """One row of a report.

    Attributes:
        path: As found, undecodable bytes surrogate-escaped.
        sha256: Of the content, hexadecimal; None where the file was not read.
        bytes: Size; None where the file could not be examined.
        format: Of the content, in Pillow's names; None where unknown.
        width: In pixels, as stored (EXIF orientation is not applied).
        height: In pixels.
        status: How the result came about.
        reason: Why the file was skipped or failed, or the verdict is inconclusive; else None.
        knn: The plain published vote of the k nearest references.
        verdict: The scanner's answer.
        p_fake: Calibrated probability of "generated" in [0, 1]; None where uncalibrated.
        margin: ``fake_similarity - real_similarity``, in [-2, 2].
        real_similarity: Largest cosine to a real reference.
        fake_similarity: Largest cosine to a fake reference.
        generator: That of the nearest fake reference, where the verdict is fake.
        neighbour: Id of the nearest reference.
        duplicate_of: First path of this scan, in its order, with the same bytes.
        provenance: What the file says of its origin, by kind.
        detail: The decoder's own words behind the reason.
        precision: Arithmetic of the embedding, ``float32``, ``bfloat16`` or ``float16``.
        neighbours: The k nearest references of each class, nearest first.
        score: How much nearer the fake references lie than the real ones, relative to both
            distances, in (-1, 1); what is calibrated, see :func:`judging.scores.relative_margins`.
        log10_lr: Calibrated log10 likelihood ratio of "generated"; None where uncalibrated.
        attribution: The generator that the nearest fakes vote for, or ``unknown``, where the
            verdict is fake.
        attribution_certainty: The winner's share of that vote, in [0, 1].
        crops: Each crop's part, where several are taken.
        probe: Answers under harmless changes, where asked for.
        container: The file on disk that it lies in, where it is an archive's member or a further
            frame of a picture; None for a file on disk.
        frame: Which picture of a file that holds several, from 1; None of one that does not.
        frames: How many pictures the file holds, where it is several.
        classifier: The head that gave the verdict, ``linear`` or ``svm``; None where the
            neighbours did.
        classifier_score: Its decision function, turned so that above 0 is fake.
    """

    path: str
    sha256: str | None
    bytes: int | None
    format: str | None
    width: int | None
    height: int | None
    status: Status
    reason: str | None = None
    knn: Label | None = None
    verdict: Verdict | None = None
    p_fake: float | None = None
    margin: float | None = None
    real_similarity: float | None = None
    fake_similarity: float | None = None
    generator: str | None = None
    neighbour: str | None = None
    duplicate_of: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    detail: str | None = None
    precision: str | None = None
    neighbours: tuple[Neighbour, ...] = ()
    score: float | None = None
    log10_lr: float | None = None
    attribution: str | None = None
    attribution_certainty: float | None = None
    crops: tuple[CropScore, ...] = ()
    probe: tuple[ProbeScore, ...] = ()
    container: str | None = None
    frame: int | None = None
    frames: int | None = None
    classifier: str | None = None
    classifier_score: float | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "FileResult":
        """Rebuild a result from a stored row, a mapping of this class's field names.

        Enumerations may be given by value; ``neighbours``, ``crops`` and ``probe`` are
        sequences of mappings of their classes' fields.
        """
        values = {f.name: row[f.name] for f in fields(cls) if f.name in row}
        values["status"] = Status(row["status"])
        values["knn"] = Label(row["knn"]) if row["knn"] else None
        values["verdict"] = Verdict(row["verdict"]) if row["verdict"] else None
        values["neighbours"] = tuple(
            Neighbour(
                key=n["key"],
                id=n["id"],
                label=Label(n["label"]),
                generator=n["generator"],
                source=n["source"],
                similarity=n["similarity"],
            )
            for n in row["neighbours"]
        )
        values["crops"] = tuple(CropScore(**crop) for crop in row["crops"])
        values["probe"] = tuple(
            ProbeScore(p["change"], p["score"], Verdict(p["verdict"])) for p in row["probe"]
        )
        return cls(**values)


class MostSuspicious:
    """The files of a scan that a person should look at first, kept while it runs.

    Files called fake, the likeliest first by what gave the verdict, a classifier or the score;
    then undecided ones that the plain vote calls fake.
    """

    def __init__(self, wanted: int = 10) -> None:
        self._wanted = wanted
        self._seen = 0
        self._heap: list[tuple[bool, float, int, FileResult]] = []

    def add(self, result: FileResult) -> None:
        """Consider one row."""
        self._seen += 1
        called = result.verdict is Verdict.FAKE
        if called or (result.verdict is Verdict.INCONCLUSIVE and result.knn is Label.FAKE):
            decision = result.classifier_score
            likely = result.score if decision is None else decision
            entry = (called, likely or 0.0, -self._seen, result)
            heapq.heappush(self._heap, entry)
            if len(self._heap) > self._wanted:
                heapq.heappop(self._heap)

    def rows(self) -> list[FileResult]:
        """The files, the most suspicious first."""
        return [result for *_, result in sorted(self._heap, reverse=True)]


@dataclass(slots=True)
class Summary:
    """Counts over a scan, kept while it runs.

    Attributes:
        files: Rows so far.
        bytes: Sum of their sizes.
        by_status: Rows by status.
        by_verdict: Judged rows by verdict.
        by_reason: Rows by reason.
        left_out: Files that ``--include`` or ``--exclude`` left out; they have no row.
    """

    files: int = 0
    bytes: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    by_verdict: dict[str, int] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)
    left_out: int = 0

    def add(self, result: FileResult) -> None:
        """Count one row."""
        self.files += 1
        self.bytes += result.bytes or 0
        for counts, key in (
            (self.by_status, result.status),
            (self.by_verdict, result.verdict),
            (self.by_reason, result.reason),
        ):
            if key:
                counts[str(key)] = counts.get(str(key), 0) + 1

    def as_dict(self) -> dict[str, Any]:
        """As the report's ``summary`` object."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "by_status": dict(sorted(self.by_status.items())),
            "by_verdict": dict(sorted(self.by_verdict.items())),
            "by_reason": dict(sorted(self.by_reason.items())),
            "left_out": self.left_out,
        }
