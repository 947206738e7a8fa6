"""The HTML report as text: inert, complete, within its budget; explanations for every reason."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from code_forensics.cli.pull import REPO
from code_forensics.engine.archives.limits import Reason as ArchiveReason
from code_forensics.engine.decoding.decode import DecodeOptions
from code_forensics.engine.decoding.decode import Reason as DecodeReason
from code_forensics.engine.decoding.thumbnail import SIDE, thumbnail
from code_forensics.engine.files.found import Reason as WalkReason
from code_forensics.engine.judging.in_words import limits_in_words
from code_forensics.engine.judging.thresholds import Inconclusive
from code_forensics.engine.pipeline.frames import TOO_MANY_FRAMES
from code_forensics.engine.rejudge import NOT_EMBEDDED
from code_forensics.engine.report.as_html import CHUNK, HtmlReport
from code_forensics.engine.report.explain import explain
from code_forensics.engine.report.histogram import Histogram
from code_forensics.engine.report.html_rows import RowEncoder
from code_forensics.engine.report.html_sections import summary_cards
from code_forensics.engine.report.interface import Report
from code_forensics.engine.report.judging import Judging
from code_forensics.engine.report.limits import limits
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
from code_forensics.engine.starter.read import ORIGIN, read_about
from PIL import Image

HOSTILE = "</script><script>alert(1)</script><!-- \x1b[31m \u202e =cmd.jpg"
RUN = {
    "scan": 1, "state": "finished", "arguments": {"paths": ["p"], "case": HOSTILE}, "k": 1,
    "gallery": {"name": "g", "generation": 1, "reals": 1, "fakes": 1, "sha256": "0"},
    "encoder": {}, "host": {}, "tool": "t", "version": "1",
}  # fmt: skip


def row(number: int, verdict: Verdict | None = Verdict.FAKE) -> FileResult:
    if verdict is None:
        return FileResult(f"{number}", None, 3, None, None, None, Status.SKIPPED, "not_an_image")
    near = Neighbour(7, "g:7", Label.FAKE, HOSTILE, HOSTILE, 0.9)
    return FileResult(
        f"{number}{HOSTILE}", f"{number:064}", 10, "PNG", 300, 200, Status.SCANNED,
        verdict=verdict, p_fake=0.9, score=0.25, log10_lr=1.0, neighbours=(near,),
        provenance={"findings": [
            {"kind": "prompt", "value": HOSTILE, "strength": "asserted", "where": "PNG"}
        ]},
        crops=(CropScore(0, 0, 224, 0.25, 0.9), CropScore(76, 0, 224, 0.1, 0.6)),
        probe=(ProbeScore("jpeg_75", 0.2, Verdict.FAKE),),
    )  # fmt: skip


def written(rows: Iterator[FileResult] | list[FileResult], **options: object) -> str:
    stream = io.StringIO()
    HtmlReport(**options)(Report(RUN, {"by_verdict": {"fake": 500}}, rows), stream)
    return stream.getvalue()


class Page(HTMLParser):
    """Collects elements, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, dict[str, str | None], str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = True

    def handle_endtag(self, tag):
        self._open = False

    def handle_data(self, data):
        if self._open:
            self.texts.append((*self.tags[-1], data))


def test_every_row_is_there_and_nothing_else_runs() -> None:
    page = Page(written(row(n) for n in range(CHUNK + 3)))
    scripts = [(attributes, text) for tag, attributes, text in page.texts if tag == "script"]
    run = [text for attributes, text in scripts if "type" not in attributes]
    assert len(run) == 2
    data = [(a, json.loads(text)) for a, text in scripts if a.get("type") == "application/json"]
    rows = [r for a, block in data if a.get("class") == "rows" for r in block]
    details = [d for a, block in data if a.get("class") == "details" for d in block]
    assert len(rows) == len(details) == CHUNK + 3
    assert "alert(1)" in rows[0][0]  # as text, in a name
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    for text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_hostile_text_is_nowhere_markup_or_control() -> None:
    text = written([row(1), row(2, None)])
    assert "<script>alert" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "<!--" not in text


class Pictures:
    """Thumbnails of one size."""

    def __init__(self) -> None:
        self.asked = 0

    def of_file(self, result: FileResult) -> bytes | None:
        self.asked += 1
        return bytes(10_000)

    def of_reference(self, neighbour: Neighbour) -> bytes | None:
        return bytes(10_000)


def test_thumbnails_keep_to_their_budget_and_references_are_drawn_once() -> None:
    pictures = Pictures()
    rows = [row(n) for n in range(400)]
    text = written(rows, pictures=pictures, budget=1 << 20)
    assert 50 < pictures.asked < 110
    assert len(re.findall(r'id="reference-', text)) == 1
    assert len(text) < 2 << 20
    assert 'id="file-' not in written(rows)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16", "1", "LA"])
def test_thumbnails_are_small_clean_jpegs(mode: str) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (700, 900, 3), dtype=np.uint8))
    image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    name = "TIFF" if mode == "CMYK" else "PNG"
    image.save(file, name, exif=exif) if name == "PNG" else image.save(file, name)
    drawn = thumbnail(file.getvalue(), DecodeOptions())
    assert drawn is not None
    assert b"SECRET" not in drawn
    with Image.open(io.BytesIO(drawn)) as small:
        assert (small.format, small.mode, max(small.size)) == ("JPEG", "RGB", SIDE)


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert thumbnail(b"", DecodeOptions()) is None
    assert thumbnail(b"\xff\xd8\xff\xe0 broken", DecodeOptions()) is None
    file = io.BytesIO()
    Image.new("RGB", (300, 300)).save(file, "PNG")
    assert thumbnail(file.getvalue(), DecodeOptions(max_pixels=100)) is None


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
    ("scores", "anchors"),
    [((-0.24, 0.11), ["start", "end"]), ((-2.0, 2.0), ["end", "start"])],
    ids=["at the edges", "in the middle"],
)
def test_the_words_at_thresholds_lie_within_the_histogram(
    scores: tuple[float, float], anchors: list[str]
) -> None:
    drawn = Histogram()
    for score in scores:
        drawn.add(replace(row(1), score=score))
    svg = drawn.svg(Judging(real_below=-0.25, fake_above=0.11))
    found = re.findall(r'text-anchor="(\w+)">(?:real below|fake above)', svg)
    assert found == anchors


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


JUDGING = {
    "prior": 0.5,
    "target_fpr": 0.005,
    "target_fnr": 0.02,
    "calibration": {
        "status": "calibrated", "n_real": 99, "n_fake": 99, "lower": -2.0, "upper": 2.0,
    },
    "thresholds": {
        "fake_above": 0.2, "real_below": -0.2, "novel_below": 0.95, "fpr": 0.01, "fnr": 0.02,
        "fpr_supported": False, "fnr_supported": True, "exchangeable": "sources",
        "optimistic": True,
    },
    "attribution": {"least_certainty": 0.8},
    "classifier": None,
}  # fmt: skip
BY_HEAD = {**JUDGING, "classifier": {"kind": "linear", "name": "n", "sha256": "0" * 64}}
HEAD = Judging.of_run({"judging": BY_HEAD, "k": 3})


def words(result: FileResult, judging: Judging) -> str:
    said = explain(result, judging)
    return " ".join(map(str, (said.headline, *said.sentences)))


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


def test_rows_carry_a_heads_decision_only_where_there_is_one() -> None:
    page = Page(written([row(1), replace(row(2), classifier="svm", classifier_score=1.234567891)]))
    texts = [text for tag, a, text in page.texts if a.get("class") == "rows"]
    plain, by_head = json.loads(texts[0])
    assert by_head[:1] != plain[:1] and by_head[9:] == [1.23456789] and plain[9:] == []


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
    assert ("float32 would give the same" in text) == settled
    assert "The embedding was computed in bfloat16." in text


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"state": "finished"}, "Every file under the given paths has a row."),
        (
            {"state": "finished", "arguments": {"shard": "1/2"}},
            "The scan is part 1 of 2: every file of it has a row.",
        ),
        (
            {"state": "interrupted"},
            "The scan was interrupted: files without a row were not reached.",
        ),
        (
            {"state": "failed", "arguments": {"shard": "2/2"}},
            "The scan failed, and is part 2 of 2: files without a row were not reached.",
        ),
        ({"state": "running"}, "The scan is still running: files without a row were not reached."),
        (
            {"state": "finished", "arguments": {"watch": 0.5}},
            "The scan watched the given paths: every file that it read has a row, and a further"
            " one where it was read again after a change. Files that vanished before they had"
            " stayed unchanged for 0.5 s, or that were still to be read at the end, have none.",
        ),
        (
            {"state": "finished", "arguments": {"watch": 2.0, "shard": "1/2"}},
            "The scan, part 1 of 2, watched the given paths: every file that it read has a row",
        ),
        (
            {"state": "failed", "arguments": {"watch": 2.0}},
            "The scan failed: files without a row were not reached.",
        ),
        ({}, "not known to have finished"),
    ],
)
def test_a_report_says_which_files_have_a_row(run: dict[str, object], said: str) -> None:
    text = summary_cards(run, {"files": 2})
    assert said in text
    assert ("Every file" in text) == (said.startswith("Every file"))


@pytest.mark.parametrize("score", [0.0671496, 0.0671504, -0.00004999])
def test_the_table_and_the_sentences_show_the_same_digits(score: float) -> None:
    result = replace(row(1), score=score)
    assert f"Its score is {RowEncoder(Judging()).row(result)[8]:+.4f}" in words(result, Judging())


SDXL = "generators up to SDXL"


@pytest.mark.parametrize(
    ("encoder", "origin", "said", "licence"),
    [
        ("0" * 64, REPO, SDXL, None),
        ("0" * 64, "/models/deit", "is not known here", None),
        ("0" * 64, None, "is not known here", None),
        ("0" * 64, ORIGIN, "another version of code-forensics", None),
        (read_about().encoder_sha256, None, "model card", "CC-BY-NC-4.0: not for commercial use."),
        (read_about().encoder_sha256, ORIGIN, "model card", "CC-BY-NC-4.0: not for commercial"),
    ],
    ids=["published", "own", "older record", "older starter", "starter, older record", "starter"],
)
def test_limits_say_of_the_encoder_what_is_known(
    encoder: str, origin: str | None, said: str, licence: str | None
) -> None:
    gallery = {"name": "g"} if origin is None else {"name": "g", "encoder_origin": origin}
    text = " ".join(limits({"encoder": {"sha256": encoder}, "gallery": gallery}))
    assert said in text and (SDXL in text) == (said == SDXL)
    assert licence in text if licence else "licensed" not in text


def test_a_licence_on_record_outlives_the_package() -> None:
    run = {"encoder": {"sha256": "0" * 64, "licence": "MIT"}, "gallery": {"encoder_origin": ORIGIN}}
    assert any(limit.endswith("are licensed MIT.") for limit in limits(run))


def test_no_report_calls_itself_one_of_authenticity() -> None:
    text = written([row(1)])
    assert "Image comparison report" in text
    assert "authentic" not in text.lower()
