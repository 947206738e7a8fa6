"""Whether the classes of a gallery differ by things other than how their pictures were made."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..decoding.decode import Decoded, decode
from ..decoding.views import SIZE
from ..files.found import FoundFile
from ..files.read import read_file
from ..judging.held_out_search import source_codes
from ..judging.scores import FAKE, REAL, Floats, Integers
from .file_facts import FileFacts, read_facts
from .findings import Finding, Measure, References, Severity
from .metadata_classifier import Features, Separability, features_of, separability, strongest

SAMPLE = 2000
"""References of a class that are looked at, at most."""

MAX_BYTES = 256 << 20
"""Largest file that is looked at."""

ENOUGH = 20
"""References of a class that must be looked at."""

_READ_SHARE = 0.9  # of each class, from which headers are compared, not the stored facts alone
_WARN, _SERIOUS = 0.65, 0.8  # lower end of the AUC's interval


@dataclass(frozen=True, slots=True)
class Look:
    """What a reference's file shows.

    Attributes:
        facts: From its header; from the workspace where the file is gone; None where neither is.
        read: Whether the file itself was read, and is still the one that was embedded.
        changed: Whether there is another file at its path now.
        tones: Shape (15,): coarse colours and tones of the centre crop; None where not decoded.
    """

    facts: FileFacts | None
    read: bool = False
    changed: bool = False
    tones: Floats | None = None


def look_at(
    references: References, known: Callable[[str], FileFacts | None], seed: int = 0
) -> tuple[Integers, tuple[Look, ...]]:
    """Look at a sample of the references' files.

    Args:
        references: Of the gallery.
        known: What the workspace knows of a file by its SHA-256; called from one thread.
        seed: Of the sample, at most 2,000 of each class.

    Returns:
        Rows of the sample, ascending, and what each shows.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for label in (REAL, FAKE):
        rows = np.flatnonzero(references.labels == label)
        chosen.append(rows if len(rows) <= SAMPLE else random.choice(rows, SAMPLE, replace=False))
    sample: Integers = np.sort(np.concatenate(chosen)).astype(np.int64)
    stored = [known(references.sha256[row]) if references.sha256[row] else None for row in sample]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        looks = pool.map(
            lambda pair: _look(references.paths[pair[0]], references.sha256[pair[0]], pair[1]),
            zip(sample.tolist(), stored, strict=True),
        )
        return sample, tuple(looks)


def tones_of(crop: npt.NDArray[np.uint8], width: int, height: int) -> Floats:
    """Describe a crop so coarsely that traces of a generator cannot show.

    Args:
        crop: Shape (224, 224, 3), uint8; black where the picture is smaller.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Returns:
        Shape (15,), in [0, 255]: mean red, green and blue of the four quarters, mean and
        standard deviation of the luma (ITU-R BT.601), and mean saturation (largest less least
        channel).
    """
    across, down = min(width, SIZE), min(height, SIZE)
    left, top = (SIZE - across) // 2, (SIZE - down) // 2
    picture = crop[top : top + down, left : left + across].astype(np.float64)
    half_down, half_across = max(down // 2, 1), max(across // 2, 1)
    quarters = [
        part.mean(axis=(0, 1)) if part.size else picture.mean(axis=(0, 1))
        for rows in (picture[:half_down], picture[half_down:])
        for part in (rows[:, :half_across], rows[:, half_across:])
    ]
    luma = picture @ np.array([0.299, 0.587, 0.114])
    saturation = picture.max(axis=2) - picture.min(axis=2)
    described: Floats = np.concatenate((*quarters, [luma.mean(), luma.std(), saturation.mean()]))
    return described


def check_metadata(references: References, sample: Integers, looks: Sequence[Look]) -> Finding:
    """Try to tell the classes apart by format, size, compression and other headers alone."""
    labels = references.labels[sample]
    read = np.array([look.read for look in looks], dtype=np.bool_)
    known = np.array([look.facts is not None for look in looks], dtype=np.bool_)
    headers = all(
        read[labels == label].mean() >= _READ_SHARE
        for label in (REAL, FAKE)
        if (labels == label).any()
    )
    # Whether a file is at hand must not tell the classes apart: all or none by their headers.
    rows = np.flatnonzero(read if headers else known).astype(np.int64)
    facts = [f if headers else _stored_only(f) for row in rows.tolist() if (f := looks[row].facts)]
    return _judge(
        "metadata",
        references,
        sample[rows],
        features_of(facts),
        (
            Measure("looked_at", len(rows)),
            Measure("not_looked_at", len(sample) - len(rows)),
            Measure("changed_since", sum(look.changed for look in looks)),
            Measure("seen", "headers" if headers else "stored format, size and bytes"),
        ),
        "format, size and compression alone",
        "bring both classes into the same format, size and compression before embedding, or add"
        " references of each class in the other's; until then the gallery may judge the file,"
        " not the picture",
    )


def check_content(references: References, sample: Integers, looks: Sequence[Look]) -> Finding:
    """Try to tell the classes apart by coarse colours and tones alone.

    A high value says that the classes show different things or were toned differently. A low one
    does not say that they show the same: faces and landscapes of equal tones look alike to it.
    """
    rows = np.array([i for i, look in enumerate(looks) if look.tones is not None], dtype=np.int64)
    tones = [t for row in rows.tolist() if (t := looks[row].tones) is not None]
    names = [
        f"{channel} of quarter {q}" for q in range(1, 5) for channel in ("red", "green", "blue")
    ]
    names += ["mean luma", "contrast", "saturation"]
    features = Features(
        tuple(names),
        np.array(tones, dtype=np.float64).reshape(len(rows), len(names)),
        (),
        np.empty((len(rows), 0), dtype=np.str_),
    )
    return _judge(
        "content",
        references,
        sample[rows],
        features,
        (Measure("looked_at", len(rows)), Measure("not_looked_at", len(sample) - len(rows))),
        "coarse colours and tones alone",
        "match what the classes show: reals and fakes of the same subjects, or reals that were the"
        " generator's models; else the gallery may judge the subject",
    )


def _judge(
    check: str,
    references: References,
    rows: Integers,
    features: Features,
    measures: tuple[Measure, ...],
    by: str,
    advice: str,
) -> Finding:
    labels = references.labels[rows]
    held = min(int((references.labels == label).sum()) for label in (REAL, FAKE))
    counts = [int((labels == label).sum()) for label in (REAL, FAKE)]
    if min(counts) < ENOUGH:
        return Finding(
            check,
            Severity.UNKNOWN,
            f"only {counts[0]} real and {counts[1]} fake files could be looked at,"
            f" {ENOUGH} of each are needed",
            measures,
            "examine the gallery where its files lie at the paths that it was built from"
            if held >= ENOUGH
            else f"add references until each class has at least {ENOUGH}",
        )
    codes = source_codes([references.sources[row] for row in rows])
    # A class of unknown sources alone is held out file by file, which says nothing of new ones.
    known = all((codes[labels == label] >= 0).any() for label in (REAL, FAKE))
    apart = separability(features, labels, codes) if known else None
    mixed = separability(features, labels, None)
    best = strongest(features, labels, None) if mixed is not None else ()
    found = (
        *measures,
        *_measures("held_out_sources", apart),
        *_measures("random_split", mixed),
        *(Measure(f"alone: {name}", round(value, 4)) for name, value in best),
    )
    shown = apart or mixed
    assert shown is not None  # there are enough files of each class for a random split
    low = shown.ci95[0]
    severity = (
        Severity.SERIOUS if low >= _SERIOUS else Severity.WARNING if low >= _WARN else Severity.GOOD
    )
    if severity is Severity.GOOD and mixed is not None and mixed.ci95[0] >= _SERIOUS:
        # Learnable within sources; whether it carries to new ones, few sources cannot say.
        severity = Severity.WARNING if shown.ci95[1] >= _SERIOUS else Severity.NOTE
    how = "on sources held out" if apart else "on files held out, known sources being too few"
    message = f"{by} tell the classes apart with AUC {shown.auc:.2f}" + (
        f" [{shown.ci95[0]:.2f}, {shown.ci95[1]:.2f}] {how}"
    )
    if apart and mixed:
        message += f", {mixed.auc:.2f} on a random split"
    return Finding(check, severity, message, found, "" if severity is Severity.GOOD else advice)


def _measures(name: str, found: Separability | None) -> tuple[Measure, ...]:
    if found is None:
        return ()
    return (
        Measure(f"auc_{name}", found.auc),
        Measure(f"auc_{name}_low", found.ci95[0]),
        Measure(f"auc_{name}_high", found.ci95[1]),
    )


def _stored_only(facts: FileFacts) -> FileFacts:
    return FileFacts(facts.format, facts.bytes, facts.width, facts.height)


def _look(path: str, sha256: str, stored: FileFacts | None) -> Look:
    if not path:
        return Look(stored)
    file = read_file(FoundFile(path), MAX_BYTES)
    if file.data is None:
        return Look(stored)
    if sha256 and file.sha256 != sha256:
        return Look(stored, changed=True)
    decoded = decode(file.data)
    tones = None
    if isinstance(decoded, Decoded):
        tones = tones_of(decoded.crop, decoded.width, decoded.height)
    facts = read_facts(file.data)
    return Look(facts or stored, read=facts is not None, tones=tones)
