"""Duplicates within a gallery, and files under examination that the gallery holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..judging.held_out_search import HeldOut, nearest_left, unit_vectors
from ..judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY
from ..judging.scores import FAKE, REAL, Booleans
from .findings import Finding, Measure, References, Severity, some
from .gallery_checks import dead_vectors

_NEIGHBOURS = 4  # so that exact copies do not hide a near one
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file that may be in the gallery.

    Attributes:
        path: For people.
        sha256: Of its content; empty where it was not read.
        vector: Its embedding by the gallery's encoder, shape (D,); None where there is none.
        similarity: Largest cosine to a reference, where it is known without the vector.
    """

    path: str
    sha256: str
    vector: npt.NDArray[np.float32] | None = None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class Against:
    """Files that should not be in the gallery.

    Attributes:
        where: What they are, for people.
        total: How many were looked at.
        files: Those of them that may be in the gallery, or all.
    """

    where: str
    total: int
    files: Sequence[ScannedFile]


def check_exact(references: References) -> Finding:
    """Look for references with the same bytes."""
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(references.sha256):
        if digest:
            places.setdefault(digest, []).append(row)
    repeated = [rows for rows in places.values() if len(rows) > 1]
    crossing = [rows for rows in repeated if len({int(references.labels[r]) for r in rows}) > 1]
    sources = [rows for rows in repeated if len({references.sources[r] for r in rows}) > 1]
    measures = (
        Measure("repeated_files", len(repeated)),
        Measure("in_both_classes", len(crossing)),
        Measure("in_several_sources", len(sources)),
        Measure("references_without_digest", references.sha256.count("")),
    )
    if crossing:
        digests = [references.sha256[rows[0]][:16] for rows in crossing]
        return Finding(
            "exact_duplicates",
            Severity.SERIOUS,
            f"{len(crossing)} files stand in both classes",
            measures,
            "decide what they are, and take the wrong ones out with: code-index remove"
            f" {references.name} --sha256 HEX ({some(digests)})",
        )
    if repeated:
        return Finding(
            "exact_duplicates",
            Severity.NOTE,
            f"{len(repeated)} files stand in the gallery more than once,"
            f" {len(sources)} of them in several sources",
            measures,
            "keep one of each: a copy adds nothing, and one in another source is not left out with"
            " the held-out image's source (calibration leaves it out as a near duplicate)",
        )
    if not places:
        return Finding(
            "exact_duplicates",
            Severity.UNKNOWN,
            "the gallery knows no file digests (ready vectors)",
            measures,
        )
    return Finding("exact_duplicates", Severity.GOOD, "no file stands in it twice", measures)


def check_near(references: References) -> Finding:
    """Look for references whose vectors are almost equal, though their bytes differ."""
    alive = np.flatnonzero(~dead_vectors(references))
    units = unit_vectors(references.vectors[alive])
    labels = references.labels[alive]
    digests = np.array(references.sha256, dtype=np.str_)[alive]
    names = np.array(references.sources, dtype=np.str_)[alive]
    groups = np.full(len(alive), -1)
    within = np.zeros(len(alive), dtype=np.bool_)
    across = np.zeros(len(alive), dtype=np.bool_)
    sources = np.zeros(len(alive), dtype=np.bool_)
    everyone = HeldOut(np.arange(len(alive)), groups, np.zeros(len(alive), dtype=np.bool_))
    for label in (REAL, FAKE):
        found = nearest_left(
            units,
            groups,
            np.flatnonzero(labels == label),
            everyone,
            k=_NEIGHBOURS,
            near_duplicate_similarity=NEAR_DUPLICATE_SIMILARITY,
        )
        close = (found.rows >= 0) & (found.similarities >= NEAR_DUPLICATE_SIMILARITY)
        same_file = (digests[found.rows] == digests[:, None]) & (digests[:, None] != "")
        near = close & ~same_file
        any_near: Booleans = near.any(axis=1)
        within |= any_near & (labels == label)
        across |= any_near & (labels != label)
        elsewhere = near & (names[found.rows] != names[:, None]) & (labels == label)[:, None]
        sources |= elsewhere.any(axis=1)
    measures = (
        Measure("within_class", int(within.sum())),
        Measure("across_classes", int(across.sum())),
        Measure("across_sources", int(sources.sum())),
        Measure("cosine", NEAR_DUPLICATE_SIMILARITY),
    )
    if across.any():
        return Finding(
            "near_duplicates",
            Severity.SERIOUS,
            f"{int(across.sum())} references have an almost equal vector in the other class",
            measures,
            "look at them: the same picture under two labels, or pictures that the encoder cannot"
            " tell apart (blank, tiny); take the wrong ones out",
        )
    if within.any():
        return Finding(
            "near_duplicates",
            Severity.WARNING if sources.any() else Severity.NOTE,
            f"{int(within.sum())} references have an almost equal one in their class,"
            f" {int(sources.sum())} of them in another source",
            measures,
            "keep one of each: calibration leaves near duplicates out, but a source whose pictures"
            " stand in another one is no independent source",
        )
    return Finding("near_duplicates", Severity.GOOD, "no two vectors are almost equal", measures)


def check_leakage(references: References, against: Against) -> Finding:
    """Look for files that the gallery holds: they would be compared with themselves."""
    files, held = against.files, set(references.sha256) - {""}
    same = [file.path for file in files if file.sha256 in held]
    near = [
        file.path
        for file, close in zip(files, _close_to(references, files), strict=True)
        if close and file.sha256 not in held
    ]
    unread = sum(not file.sha256 and file.vector is None for file in files)
    measures = (
        Measure("files", against.total),
        Measure("same_file", len(same)),
        Measure("near_duplicate", len(near)),
        Measure("not_read", unread),
    )
    if not same and not near:
        return Finding(
            "leakage",
            Severity.GOOD,
            f"none of {against.total} {against.where} is in the gallery, nor nearly the same as a"
            " reference; copies that were made smaller or saved anew are not recognised",
            measures,
        )
    return Finding(
        "leakage",
        Severity.SERIOUS,
        f"{len(same)} of {against.total} {against.where} are in the gallery and {len(near)} have"
        f" an almost equal vector there: {some([*same, *near])}",
        measures,
        "their verdicts repeat the gallery's labels: take them out of the gallery before relying"
        f" on them (code-index remove {references.name} --sha256 HEX, or --source NAME)",
    )


def _close_to(references: References, files: Sequence[ScannedFile]) -> list[bool]:
    """Tell which files have a reference of either class within the cosine of near duplicates."""
    alive = ~dead_vectors(references)
    units = unit_vectors(references.vectors[alive])
    rows = [i for i, file in enumerate(files) if file.vector is not None]
    close = [(file.similarity or -1.0) >= NEAR_DUPLICATE_SIMILARITY for file in files]
    for first in range(0, len(rows), _BLOCK):
        part = rows[first : first + _BLOCK]
        vectors = np.stack([v for i in part if (v := files[i].vector) is not None])
        queries = unit_vectors(np.where(np.isfinite(vectors), vectors, 0.0))
        best = np.full(len(part), -1.0, dtype=np.float32)
        for start in range(0, len(units), _BLOCK):
            best = np.maximum(best, (queries @ units[start : start + _BLOCK].T).max(axis=1))
        for i, cosine in zip(part, best.tolist(), strict=True):
            close[i] = cosine >= NEAR_DUPLICATE_SIMILARITY
    return close
