"""Explanations: words for every reason, and no claim that the row and the record do not bear out."""

from dataclasses import replace

import pytest
from code_forensics.engine.archives.limits import Reason as ArchiveReason
from code_forensics.engine.decoding.decode import Reason as DecodeReason
from code_forensics.engine.files.found import Reason as WalkReason
from code_forensics.engine.judging.in_words import limits_in_words
from code_forensics.engine.judging.thresholds import Inconclusive
from code_forensics.engine.pipeline.frames import TOO_MANY_FRAMES
from code_forensics.engine.rejudge import NOT_EMBEDDED
from code_forensics.engine.report.explain import explain
from code_forensics.engine.report.histogram import Histogram
from code_forensics.engine.report.html_rows import RowEncoder
from code_forensics.engine.report.judging import Judging
from code_forensics.engine.report.reasons import INCONCLUSIVE, WITHOUT_VERDICT
from code_forensics.engine.results import (
    CropScore,
    FileResult,
    Label,
    Neighbour,
    ProbeScore,
    Status,
    Verdict,
)

from tests.engine.explained import JUDGING, row, words


def test_every_reason_has_words() -> None:
    walk = {value for name, value in vars(WalkReason).items() if name.isupper()}
    assert {str(reason) for reason in Inconclusive} == set(INCONCLUSIVE)
    inside = {str(reason) for reason in ArchiveReason} | {TOO_MANY_FRAMES}
    decoding = {str(reason) for reason in DecodeReason}
    assert decoding | walk | inside | {NOT_EMBEDDED} == set(WITHOUT_VERDICT)
    for reason in Inconclusive:
        result = FileResult("a", "0", 1, "PNG", 1, 1, Status.SCANNED, str(reason))
        said = explain(
            FileResult(*(getattr(result, n) for n in ("path", "sha256", "bytes", "format", "width",
                       "height", "status", "reason")), verdict=Verdict.INCONCLUSIVE), Judging()
        )  # fmt: skip
        assert str(said.headline).startswith("Inconclusive. ")
        assert said.advice is not None
    for reason in WITHOUT_VERDICT:
        said = explain(FileResult("a", None, 1, None, None, None, Status.FAILED, reason), Judging())
        assert said.advice is not None


def test_an_explanation_names_its_evidence() -> None:
    said = explain(row(1), Judging(fake_above=0.1, real_below=-0.1, promise=("At most 1%.",)))
    text = " ".join(map(str, said.sentences))
    for part in ("+0.2500", "+0.1000", "likelihood ratio is 10", "0.900", "g:7", "0.9000", "1%"):
        assert part in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("log10_lr", "bounds", "bound"),
    [
        (1.0, (-0.4, 1.0), True),
        (-0.4, (-0.4, 1.0), True),
        (1.0, (-0.4, 2.0), False),
        (0.0, (0.0, 2.0), True),
        (1.0, None, False),
    ],
)
def test_a_likelihood_ratio_at_its_bound_is_said_to_be_one(
    log10_lr: float, bounds: tuple[float, float] | None, bound: bool
) -> None:
    said = words(replace(row(1), log10_lr=log10_lr), Judging(lr_bounds=bounds))
    assert ("That is the bound" in said) == ("give no ground" in said) == bound
    assert ("that many times as frequent" in said) == (not bound)
    assert "too few" not in said
    assert ("ratio is 1 (in" in said) == (log10_lr == 0.0)


def test_a_copy_of_a_reference_is_said_to_be_one() -> None:
    copy = replace(row(1), neighbours=(Neighbour(7, "g:7", Label.FAKE, "", "", 0.99999),))
    assert any("same picture as g:7" in str(s) for s in explain(copy, Judging()).sentences)
    assert not any("same picture" in str(s) for s in explain(row(1), Judging()).sentences)


BY_HEAD = {**JUDGING, "classifier": {"kind": "linear", "name": "n", "sha256": "0" * 64}}
HEAD = Judging.of_run({"judging": BY_HEAD, "k": 3})


@pytest.mark.parametrize("crops", ["center", "five"])
def test_an_explanation_promises_what_the_limits_promise(crops: str) -> None:
    views = {"crops": crops, "probe": False}
    limits = limits_in_words(JUDGING, views)
    rates, prior, *reservations = limits
    assert "from new sources" in rates and "not the 0.50% asked for" in rates
    assert any("not promised for means" in limit for limit in limits) == (crops == "five")
    said = [str(s) for s in explain(row(1), Judging.of_run({"judging": JUDGING, "views": views}))
            .sentences]  # fmt: skip
    assert [sentence for sentence in said if sentence in limits] == [rates, *reservations]
    assert prior not in said  # it says that by the row's own figures
    assert not any("The thresholds are set" in sentence for sentence in said)


def test_an_older_record_promises_what_it_holds() -> None:
    thresholds = {"fake_above": 0.2, "real_below": -0.2, "fpr": 0.01, "fnr": 0.02}
    judging = Judging.of_run({"judging": {"thresholds": thresholds}})
    assert len(judging.promise) == 1 and "At most 1.00% of real images" in judging.promise[0]
    assert Judging.of_run({}).promise == ()


def test_a_head_knows_no_thresholds_of_the_neighbours() -> None:
    assert Judging(k=3, classifier="linear") == HEAD
    decided = replace(row(1), classifier="linear", classifier_score=1.2, log10_lr=None)
    for judging in (HEAD, Judging.of_run({"judging": JUDGING})):
        said = words(decided, judging)
        assert said.startswith("The logistic regression calls it fake: its decision is +1.2000")
        for word in ("novel", "is called fake", "At most"):
            assert word not in said
    drawn = Histogram()
    drawn.add(replace(decided, score=-0.3))
    assert "neighbours" in drawn.svg(HEAD)
    assert 'class="threshold"' not in drawn.svg(HEAD)
    assert 'class="threshold"' in drawn.svg(Judging.of_run({"judging": JUDGING}))


def test_a_head_of_a_later_version_has_words() -> None:
    later = replace(row(1), classifier="mlp {}", classifier_score=1.2)
    assert words(later, HEAD).startswith("The classifier calls it fake: its decision is +1.2000")


def test_a_head_that_reduced_precision_silenced_blames_no_threshold() -> None:
    refused = replace(
        row(1, Verdict.INCONCLUSIVE), reason="precision", classifier="linear", precision="bfloat16"
    )
    said = words(refused, HEAD)
    assert "threshold" not in said and "answers for every image" not in said
    assert "decides on float32 embeddings alone" in said


@pytest.mark.parametrize(
    ("least", "words_", "others"),
    [
        ({"least_certainty": None}, "this gallery cannot name generators", "needed"),
        ({"least_certainty": 0.8}, "has 61%, and 80% are needed", "cannot name"),
        (None, "has 61%", "needed"),
    ],
    ids=["no certainty is enough", "not certain enough", "an older record"],
)
def test_an_unknown_generator_is_explained_by_the_rule(
    least: dict[str, float | None] | None, words_: str, others: str
) -> None:
    unknown = replace(row(1), attribution="unknown", attribution_certainty=0.61)
    said = words(unknown, Judging.of_run({"judging": {**JUDGING, "attribution": least}}))
    assert words_ in said and others not in said and "do not agree" not in said


def probed(reason: str | None, *answers: Verdict) -> FileResult:
    verdict = Verdict.INCONCLUSIVE if reason else Verdict.FAKE
    changes = tuple(ProbeScore(f"jpeg_{n}", 0.1, answer) for n, answer in enumerate(answers))
    return replace(row(1, verdict), reason=reason, probe=changes)


REAL, FAKE = Verdict.REAL, Verdict.FAKE
STAYED, FLIPPED = "The answer on its middle stayed", "do not all leave the answer"


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (probed(None, FAKE, FAKE), STAYED),
        (probed("between_thresholds", Verdict.INCONCLUSIVE), STAYED),
        (probed("unstable", REAL, REAL), FLIPPED),
        (probed("too_small", REAL, FAKE), FLIPPED),
        (probed("too_small", REAL, REAL), "2 changes of its middle that should not matter the answer"
         " is each time real"),
        (probed("precision", REAL, REAL), "is each time real"),
    ],
    ids=lambda value: value.reason or "decided" if isinstance(value, FileResult) else "",
)  # fmt: skip
def test_a_probe_claims_only_what_the_row_shows(result: FileResult, said: str) -> None:
    for judging in (Judging(), THRESHOLDS):  # of an older row the precision is not known
        text = words(result, judging)
        assert said in text
        assert sum(part in text for part in (STAYED, FLIPPED, "is each time")) == 1


THRESHOLDS = Judging(fake_above=0.2, real_below=-0.2, novel_below=0.5)
UNSURE = Verdict.INCONCLUSIVE


def of_middle(middle: float, nearest: float, *answers: Verdict) -> FileResult:
    """Of a float32 row of two crops, whose middle has a score of its own."""
    crops = (CropScore(9, 9, 224, middle, 0.5), CropScore(0, 0, 224, 0.7, 0.9))
    changes = zip(("jpeg_75", "jpeg_90", "resize_075", "shift_8"), answers, strict=False)
    return replace(
        row(1, UNSURE),
        reason="unstable",
        precision="float32",
        real_similarity=nearest,
        fake_similarity=nearest - 0.1,
        crops=crops,
        probe=tuple(ProbeScore(change, 0.125, answer) for change, answer in changes),
    )


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            of_middle(-0.3, 0.9, REAL, REAL, UNSURE, REAL),
            "By its middle alone it is real (score -0.3000); under changes that should not matter"
            " it becomes inconclusive at three quarters of its size (+0.1250); under the other 3"
            " it stays.",
        ),
        (
            of_middle(0.3, 0.9, UNSURE, REAL),
            "By its middle alone it is fake (score +0.3000); under changes that should not matter"
            " it becomes inconclusive after JPEG 75 (+0.1250), real after JPEG 90 (+0.1250).",
        ),
        (
            of_middle(0.2, 0.9, UNSURE, UNSURE),
            "By its middle alone it is inconclusive (score +0.2000), and stays so under 2 changes",
        ),
        (of_middle(0.3, 0.4, UNSURE, FAKE), "inconclusive (score +0.3000); under changes"),
    ],
    ids=["one", "all", "none", "novel"],
)
def test_a_probe_names_the_middles_answer_and_what_differs(result: FileResult, said: str) -> None:
    assert said in words(result, THRESHOLDS)
    assert not any(part in words(result, THRESHOLDS) for part in (STAYED, FLIPPED))
    judged = replace(result, crops=(), score=result.crops[0].score)  # the middle was all
    assert said in words(judged, THRESHOLDS)
    table = [change for change, *_ in RowEncoder(THRESHOLDS).detail(result)["probe"]]
    assert table[:2] == ["as it is", "after JPEG 75"] and len(table) == 1 + len(result.probe)


@pytest.mark.parametrize(("score", "undecided"), [(0.1, True), (0.3, False)])
def test_what_is_undecided_without_the_probe_is_said_to_be(score: float, undecided: bool) -> None:
    result = replace(of_middle(-0.3, 0.9, REAL, UNSURE), score=score)
    assert ("undecided without the probe too" in words(result, THRESHOLDS)) == undecided


def test_a_probe_of_reduced_precision_has_no_middle_to_name() -> None:
    reduced = replace(of_middle(-0.3, 0.9, REAL, UNSURE), precision="bfloat16")
    assert FLIPPED in words(reduced, THRESHOLDS) and "middle alone it" not in words(
        reduced, THRESHOLDS
    )
    assert RowEncoder(THRESHOLDS).detail(reduced)["probe"][0][0] == "after JPEG 75"


@pytest.mark.parametrize("reason", [None, *map(str, Inconclusive)])
def test_float32_would_give_the_same_only_where_that_was_settled(reason: str | None) -> None:
    verdict = Verdict.INCONCLUSIVE if reason else Verdict.FAKE
    text = words(replace(row(1, verdict), reason=reason, precision="bfloat16"), Judging())
    settled = reason in (None, "between_thresholds", "novel", "contradicts_copy")
    assert ("by all that was measured float32 gives the same" in text) == settled
    assert "The embedding was computed in bfloat16." in text
