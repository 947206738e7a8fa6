"""Checks of a gallery that need nothing but its labels, sources, generators and vectors."""

from collections import Counter

import numpy as np

from ..judging.attribution import MIN_FAKES
from ..judging.calibration import MIN_REFERENCES
from ..judging.scores import FAKE, REAL, Booleans
from .findings import Finding, Measure, References, Severity, some

UNEVEN = 3.0
"""References of the larger class for one of the smaller, from which it is a note."""

VERY_UNEVEN = 10.0
"""The same, from which it is a warning."""


def check_balance(references: References) -> Finding:
    """Compare the sizes of the classes, by the references that pictures are compared with."""
    labels = references.labels[references.compared]
    real, fake = int((labels == REAL).sum()), int((labels == FAKE).sum())
    measures: tuple[Measure, ...] = (Measure("real", real), Measure("fake", fake))
    further = ""
    if calibrating := len(references.labels) - len(labels):
        measures = (*measures, Measure("calibrating", calibrating))
        further = f", and {calibrating} for calibration alone"
    if min(real, fake) < MIN_REFERENCES:
        return Finding(
            "balance",
            Severity.SERIOUS,
            f"{real} real and {fake} fake references{further}: too few to calibrate, every"
            " verdict is inconclusive",
            measures,
            f"add references until each class has at least {MIN_REFERENCES}; hundreds are better",
        )
    ratio = max(real, fake) / min(real, fake)
    severity = (
        Severity.WARNING
        if ratio >= VERY_UNEVEN
        else Severity.NOTE
        if ratio >= UNEVEN
        else Severity.GOOD
    )
    small = "real" if real < fake else "fake"
    return Finding(
        "balance",
        severity,
        f"{real} real and {fake} fake references (1 : {ratio:.1f}){further}",
        (*measures, Measure("ratio", ratio)),
        ""
        if severity is Severity.GOOD
        else f"add {small} references: scores weigh the classes equally, but the plain vote leans"
        " to the larger class, and the smaller one limits the error rates that can be promised",
    )


def dead_vectors(references: References) -> Booleans:
    """Tell which vectors carry nothing: not finite, zero, or the same number throughout."""
    vectors = references.vectors
    finite: Booleans = np.asarray(np.isfinite(vectors).all(axis=1))
    safe = np.where(finite[:, None], vectors, 0.0)
    spread = safe.max(axis=1) - safe.min(axis=1)
    flat = spread <= 1e-6 * np.maximum(np.abs(safe).max(axis=1), 1e-30)
    dead: Booleans = np.logical_not(finite) | flat
    return dead


def check_vectors(references: References) -> Finding:
    """Look for vectors that carry nothing."""
    rows = np.flatnonzero(dead_vectors(references)).tolist()
    count = len(rows)
    if not count:
        return Finding("dead_vectors", Severity.GOOD, "every vector carries something")
    digests = sorted({references.sha256[row][:16] for row in rows if references.sha256[row]})
    return Finding(
        "dead_vectors",
        Severity.SERIOUS,
        f"{count} vectors are zero, constant or not finite",
        (Measure("count", count),),
        f"take them out with: code-index remove {references.name} --sha256 HEX ({some(digests)})"
        if digests
        else "bring the vectors again, without these",
    )


def check_generators(references: References) -> Finding:
    """Look for generators with too few references to be recognised."""
    fakes = np.flatnonzero(references.labels == FAKE)
    counts = Counter(references.generators[row] for row in fakes)
    unnamed = counts.pop("", 0)
    few = sorted((count, name) for name, count in counts.items() if count < MIN_FAKES)
    measures = (
        Measure("generators", len(counts)),
        Measure("with_too_few", len(few)),
        Measure("unnamed_fakes", unnamed),
    )
    if not few and not unnamed:
        message = f"{len(counts)} generators with at least {MIN_FAKES} references each"
        return Finding("generators", Severity.GOOD, message, measures)
    parts = []
    if few:
        named = some([f"{name} ({count})" for count, name in few])
        parts.append(f"{len(few)} of {len(counts)} generators have under {MIN_FAKES}: {named}")
    if unnamed:
        parts.append(f"{unnamed} fakes name no generator")
    return Finding(
        "generators",
        Severity.NOTE,
        "; ".join(parts),
        measures,
        "add images of these generators, and name the unnamed: until then error rates by generator"
        " and attributions say little of them",
    )


def check_sources(references: References) -> Finding:
    """Look for classes of a single source, unknown sources, and sources of one class only."""
    classes: dict[str, set[int]] = {}
    for source, label in zip(references.sources, references.labels.tolist(), strict=True):
        classes.setdefault(source, set()).add(label)
    unknown = references.sources.count("")
    classes.pop("", None)
    of_class = {
        label: sum(label in labels for labels in classes.values()) for label in (REAL, FAKE)
    }
    both = sum(len(labels) == 2 for labels in classes.values())
    measures = (
        Measure("real_sources", of_class[REAL]),
        Measure("fake_sources", of_class[FAKE]),
        Measure("sources_with_both_classes", both),
        Measure("references_of_unknown_source", unknown),
    )
    message = (
        f"{of_class[REAL]} sources of reals, {of_class[FAKE]} of fakes, {both} hold both classes"
    )
    if unknown:
        message += f"; the source of {unknown} references is unknown"
    if min(of_class.values()) < 2 or unknown:
        return Finding(
            "sources",
            Severity.WARNING,
            message,
            measures,
            "name sources (sub-folders do) and use several of each class: calibration leaves a"
            " held-out image's source out, and where it cannot, error rates are optimistic",
        )
    if not both:
        return Finding(
            "sources",
            Severity.NOTE,
            message,
            measures,
            "every source has one class only, so whatever marks a source marks a class too: see"
            " the checks of metadata and content, and prefer collections with reals and fakes",
        )
    return Finding(
        "sources",
        Severity.NOTE,
        message,
        measures,
        "what marks a source does not mark a class, which is good; but references of a source that"
        " holds both are scored with it, so that rates speak of further images of these sources",
    )
