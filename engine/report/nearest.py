"""What an explanation says of the references that a picture lies next to."""

from collections.abc import Iterator

from ..judging.leave_one_out import NEAR_DUPLICATE_SIMILARITY
from ..judging.thresholds import Inconclusive
from ..results import FileResult, Label, Neighbour, Verdict
from .judging import Judging
from .sentences import Sentence, say


def of_neighbours(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    """Name the nearest reference of each class, and what it means where it is very near or far.

    Args:
        result: The row.
        judging: Of the run that it belongs to.
    """
    for label, kind in ((Label.REAL, "real"), (Label.FAKE, "generated")):
        nearest = nearest_of(result, label)
        if nearest is not None:
            made = f" by {nearest.generator}" if nearest.generator else ""
            source = f", from {nearest.source}" if nearest.source else ""
            yield say(
                f"The nearest {kind} reference is {{}}{{}}{{}}, at cosine {{}}.",
                nearest.id,
                made,
                source,
                f"{nearest.similarity:.4f}",
            )
    nearest = max(result.neighbours, key=lambda n: n.similarity, default=None)
    if nearest is not None and nearest.similarity >= NEAR_DUPLICATE_SIMILARITY:
        yield say(
            "It is practically the same picture as {}: this says where it has been seen, and the"
            " error rates, which speak of new images, do not apply to it.",
            nearest.id,
        )
    against = contradicting(result)
    if against is not None:
        what = "its score" if result.classifier is None else "the classifier"
        yield say(
            f"That reference, {{}}, is labelled {against.label}, and {what} calls the image"
            f" {withheld_verdict(against)}: what is practically a known picture gets no verdict"
            " against its label.",
            against.id,
        )
    if judging.novel_below is not None and result.neighbours:
        yield say(
            "An image whose nearest reference lies below cosine {} counts as novel, and is not"
            " decided.",
            f"{judging.novel_below:.4f}",
        )


def nearest_of(result: FileResult, label: Label) -> Neighbour | None:
    """The nearest reference of a class; the neighbours come nearest first."""
    return next((n for n in result.neighbours if n.label is label), None)


def contradicting(result: FileResult) -> Neighbour | None:
    """The reference that withholds a row's verdict: the nearest of all; None where none does."""
    if result.reason != Inconclusive.CONTRADICTS_COPY:
        return None
    return max(result.neighbours, key=lambda n: n.similarity, default=None)


def withheld_verdict(against: Neighbour) -> Verdict:
    """The verdict that a contradicting reference withholds."""
    return Verdict.FAKE if against.label is Label.REAL else Verdict.REAL
