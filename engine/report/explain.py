"""Explains a verdict in plain sentences: what was measured, what it means, what to do next."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..judging.attribution import UNKNOWN
from ..judging.thresholds import Inconclusive
from ..results import FileResult, ProbeScore, Status, Verdict
from .judging import Judging
from .middle import change_in_words, middle_of
from .nearest import contradicting, of_neighbours, withheld_verdict
from .reasons import PROVENANCE, meaning
from .sentences import Sentence, number, percent, say

_VERBAL = (
    (0.301, "no support for either side"),
    (1.0, "weak support"),
    (2.0, "moderate support"),
    (3.0, "moderately strong support"),
    (4.0, "strong support"),
    (6.0, "very strong support"),
)
"""Least log10 likelihood ratio above each step: ENFSI, "Guideline for Evaluative Reporting in
Forensic Science" (2015), table of verbal equivalents."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row of a report in words.

    Attributes:
        headline: The answer in one sentence.
        sentences: What it rests on, and what each number means.
        advice: What to do next; None where nothing is to be done.
    """

    headline: Sentence
    sentences: tuple[Sentence, ...]
    advice: Sentence | None = None


def explain(result: FileResult, judging: Judging) -> Explanation:
    """Say in words why a row says what it says.

    Args:
        result: The row.
        judging: Of the run that it belongs to.
    """
    if result.classifier is not None:
        return _of_head(result, judging.k)
    if result.verdict is None:
        why = meaning(result.reason or "")
        words = "" if result.reason == "not_an_image" else result.detail  # which only says so again
        said = () if not words else (say("In the system's words: {}.", words),)
        outcome = "skipped" if result.status is Status.SKIPPED else "not judged"
        head = Sentence(f"The file was {outcome}. {why.sentence}")
        return Explanation(head, (*said, *_provenance(result)), Sentence(why.advice))
    sentences = (
        *_how_it_came(result),
        *_score(result, judging),
        *_likelihood(result, judging),
        *map(Sentence, judging.promise),
        *of_neighbours(result, judging),
        *_attribution(result, judging),
        *_crops(result, judging),
        *_probe(result, judging),
        *_provenance(result),
        *_precision(result),
    )
    return Explanation(_headline(result), sentences, _advice(result))


def _of_head(result: FileResult, k: int) -> Explanation:
    """A verdict that a head gave, and what the neighbours say beside it."""
    beside = Judging(k)  # no threshold of the neighbours decided
    sentences = (
        *_how_it_came(result),
        *_own_answer(result),
        *_score(result, beside),
        *of_neighbours(result, beside),
        *_provenance(result),
        *_precision(result),
    )
    if result.classifier_score is None:
        return Explanation(_headline(result), sentences, _advice(result))
    name = _HEADS.get(result.classifier or "", "The classifier")
    side = "an outlier among real images" if result.classifier == "svm" else "generated"
    against = contradicting(result)
    called = result.verdict if against is None else withheld_verdict(against)
    answer = say(
        f"{name} calls it {called}: its decision is {{}}, and above zero it means {side}.",
        number(result.classifier_score),
    )
    if against is None:
        return Explanation(answer, sentences, _advice(result))
    return Explanation(_headline(result), (answer, *sentences), _advice(result))


def _own_answer(result: FileResult) -> Iterator[Sentence]:
    """What a head's answer is worth."""
    if result.classifier_score is None:
        yield Sentence(
            "The classifier decides on float32 embeddings alone: how far reduced precision moves"
            " its answer is not known."
        )
        return
    if result.p_fake is not None:
        yield say(
            "It gives the probability {}, which is as it was fitted on its own training images,"
            " and is calibrated on no gallery.",
            f"{result.p_fake:.3f}",
        )
    yield Sentence("It answers for every image; how often it is wrong is not known here.")


_HEADS = {
    "linear": "The logistic regression",
    "svm": "The one-class support vector machine",
}


def verbal(log10_lr: float) -> str:
    """The verbal equivalent of a likelihood ratio, with its direction.

    Args:
        log10_lr: log10 likelihood ratio of "generated" against "real".
    """
    if abs(log10_lr) < _VERBAL[0][0]:
        return _VERBAL[0][1]
    word = _VERBAL[-1][1] if abs(log10_lr) < _VERBAL[-1][0] else "extremely strong support"
    for above, term in reversed(_VERBAL[1:-1]):
        if abs(log10_lr) < above:
            word = term
    return f"{word} for {'generated' if log10_lr > 0 else 'real'}"


def _headline(result: FileResult) -> Sentence:
    if result.verdict is Verdict.FAKE:
        return Sentence("Fake: the image resembles generated references more than real ones.")
    if result.verdict is Verdict.REAL:
        return Sentence("Real: the image resembles real references more than generated ones.")
    return Sentence(f"Inconclusive. {meaning(result.reason or '').sentence}")


def _advice(result: FileResult) -> Sentence | None:
    if result.verdict is Verdict.INCONCLUSIVE:
        return Sentence(meaning(result.reason or "").advice)
    if result.verdict is Verdict.FAKE:
        return Sentence(
            "Compare the image with its nearest references, look for earlier copies of it, and"
            " read its provenance before relying on this verdict."
        )
    return None


def _how_it_came(result: FileResult) -> Iterator[Sentence]:
    if result.duplicate_of is not None:
        yield say("It has the same bytes as {}, and so the same answer.", result.duplicate_of)
    elif result.status is Status.CACHED:
        yield Sentence("Its content was known from an earlier scan and was not embedded again.")


def _score(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    score = result.margin if result.score is None else result.score
    if score is None:
        return
    nearest = "nearest" if judging.k == 1 else f"{judging.k} nearest"
    over = ", in the mean of its crops" if len(result.crops) > 1 else ""
    yield say(
        f"Its score is {{}}: how much nearer the {nearest} generated references lie than the"
        f" {nearest} real ones{over}; above zero it leans to generated.",
        number(score),
    )
    if judging.fake_above is not None and judging.real_below is not None:
        yield say(
            "A score above {} is called fake and one below {} real; between them nothing is"
            " decided.",
            number(judging.fake_above),
            number(judging.real_below),
        )


_UNLIKE = (Inconclusive.NOVEL, Inconclusive.TOO_SMALL)
"""Reasons for which calibration does not hold."""


def _likelihood(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    if result.log10_lr is None or result.p_fake is None:
        yield Sentence(
            "There is no calibrated probability: how often such a score is wrong is not known."
        )
        return
    if result.reason in _UNLIKE:
        yield Sentence(
            "No likelihood ratio is stated: the references that it would rest on say nothing of"
            " such an image, and the figures in the report are no evidence."
        )
        return
    bounded = result.log10_lr in (judging.lr_bounds or ())
    towards, other = ("generated", "real") if result.log10_lr >= 0 else ("real", "generated")
    side = f" for {towards}" if result.log10_lr else ""
    compared = "the middles of the gallery's" if len(result.crops) > 1 else "the gallery's"
    meant = (
        ""
        if bounded
        else f": by what was fitted on {compared} references, such a score is that many times as"
        f" frequent for {towards} images as for {other} ones"
    )
    yield say(
        f"Its likelihood ratio is {{}}{side}{meant} (in the words of ENFSI: {{}}).",
        f"{10.0 ** abs(result.log10_lr):,.3g}",
        verbal(result.log10_lr),
    )
    if bounded:
        yield Sentence(
            "That is the bound (ELUB): the fit gives such a score a ratio at least as strong, but"
            " the gallery's references, by their number and by how far the scores of both classes"
            " overlap, give no ground for one beyond the bound."
        )
    yield say(
        "With a prior of {} that an image is generated, before looking at it, the probability is"
        " {}; with another prior it is another.",
        f"{judging.prior:g}",
        f"{result.p_fake:.3f}",
    )


def _attribution(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    if result.attribution is None:
        return
    share = percent(result.attribution_certainty or 0.0)
    least = judging.least_certainty
    if result.attribution != UNKNOWN:
        yield say(
            "The nearest generated references point to {} with {} of the vote; a generator that"
            " the gallery lacks cannot be named.",
            result.attribution,
            share,
        )
    elif least is None:
        yield say(
            "Its generator is unknown: in the vote of the nearest generated references the best"
            " has {}.",
            share,
        )
    elif least == math.inf:
        yield say(
            "Its generator is unknown: this gallery cannot name generators reliably enough,"
            " whatever its references vote (the best has {} of the vote).",
            share,
        )
    else:
        yield say(
            "Its generator is unknown: in the vote of the nearest generated references the best"
            " has {}, and {} are needed.",
            share,
            percent(least),
        )


def _crops(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    if len(result.crops) < 2:
        return
    best = max(result.crops, key=lambda crop: crop.score)
    limit = 0.0 if judging.fake_above is None else judging.fake_above
    yield say(
        "Of {} crops, {} score above {}; the highest, {}, lies at {}, {} pixels from the left and"
        " the top.",
        str(len(result.crops)),
        str(sum(crop.score > limit for crop in result.crops)),
        number(limit),
        number(best.score),
        str(best.left),
        str(best.top),
    )


_HIDING = (Inconclusive.PRECISION, Inconclusive.TOO_SMALL)
"""Reasons that take the place of ``unstable``, which would say that the probe flips the answer."""

_SETTLED = (
    None,
    Inconclusive.BETWEEN_THRESHOLDS,
    Inconclusive.NOVEL,
    Inconclusive.CONTRADICTS_COPY,
)
"""Reasons that ``precision`` would have taken the place of, and None of a verdict."""


def _probe(result: FileResult, judging: Judging) -> Iterator[Sentence]:
    if not result.probe:
        return
    middle = middle_of(result, judging)
    if middle is None:
        yield _probe_alone(result)
        return
    changed = [p for p in result.probe if p.verdict is not middle.verdict]
    same = len(result.probe) - len(changed)
    if changed:
        rest = f"; under the other {same} it stays." if same else "."
        then, under = (
            "; under changes that should not matter it becomes {}" + rest,
            _answers(changed),
        )
    else:
        then, under = ", and stays so under {} changes that should not matter.", str(same)
    yield say(
        "By its middle alone it is {} (score {})" + then,
        str(middle.verdict),
        number(middle.score),
        under,
    )
    if result.reason == Inconclusive.UNSTABLE and result.score is not None:
        low, high = judging.real_below, judging.fake_above
        if low is not None and high is not None and low <= result.score <= high:
            yield Sentence(
                "Its score lies between the thresholds: undecided without the probe too."
            )


def _probe_alone(result: FileResult) -> Sentence:
    """What a probe gave where it is not on record what the middle itself gives."""
    answers = {p.verdict for p in result.probe}
    if result.reason == Inconclusive.UNSTABLE or len(answers) > 1:
        return say(
            "Changes of its middle that should not matter do not all leave the answer on it: it is"
            " {}.",
            _answers(result.probe),
        )
    if result.reason in _HIDING:
        return say(
            f"Under {{}} changes of its middle that should not matter the answer is each time"
            f" {answers.pop()}.",
            str(len(result.probe)),
        )
    return say(
        "The answer on its middle stayed under {} changes that should not matter.",
        str(len(result.probe)),
    )


def _answers(probes: Sequence[ProbeScore]) -> str:
    return ", ".join(f"{p.verdict} {change_in_words(p.change)} ({number(p.score)})" for p in probes)


def _provenance(result: FileResult) -> Iterator[Sentence]:
    if result.sha256 is None:
        return
    provenance = result.provenance
    strength = str(provenance.get("strength", "stripped"))
    yield Sentence(PROVENANCE.get(strength, PROVENANCE["asserted"]))
    if provenance.get("claims_generated"):
        yield Sentence("It names a generator as its maker. The verdict does not depend on that.")


def _precision(result: FileResult) -> Iterator[Sentence]:
    if result.precision is None:
        return
    yield say("The embedding was computed in {}.", result.precision)
    if result.precision != "float32" and result.reason in _SETTLED:
        yield Sentence(
            "Vote and verdict lie outside the band that was measured for its error: by all that was"
            " measured float32 gives the same; scores and cosines may differ within the band."
        )
