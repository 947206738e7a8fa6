"""Examine a gallery: everything that could make its verdicts wrong, and what to do about it."""

from collections.abc import Callable

from ..judging.assessment import Assessment
from .duplicates import Against, check_exact, check_leakage, check_near
from .file_facts import FileFacts
from .findings import Finding, References, Severity
from .gallery_checks import check_balance, check_generators, check_sources, check_vectors
from .separation import check_separation
from .shortcuts import check_content, check_metadata, look_at

_RANK = list(Severity)


def examine(
    references: References,
    known: Callable[[str], FileFacts | None],
    against: Against | None = None,
    assessment: Assessment | None = None,
    *,
    seed: int = 0,
) -> tuple[Finding, ...]:
    """Run every check on a gallery.

    Args:
        references: Of the gallery.
        known: What is known of a file by its SHA-256, where the file itself is not at hand.
        against: Files that should not be in the gallery; None leaves that check out.
        assessment: What scans by the gallery rest on; None leaves its separation out.
        seed: Of samples and cross-validation.

    Returns:
        One finding a check, the most serious first.
    """
    sample, looks = look_at(references, known, seed)
    findings = [
        check_balance(references),
        check_vectors(references),
        check_exact(references),
        check_near(references),
        check_metadata(references, sample, looks),
        check_content(references, sample, looks),
        check_sources(references),
        check_generators(references),
    ]
    if against is not None:
        findings.append(check_leakage(references, against))
    if assessment is not None:
        findings.append(check_separation(assessment))
    return tuple(sorted(findings, key=lambda f: -_RANK.index(f.severity)))
