"""From the rows of a scan to an evaluation: who counts, rates at targets, calibration, D3."""

import numpy as np
import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.evaluation.bootstrap import unanimous_interval
from code_forensics.engine.evaluation.evaluate import Outcomes, evaluate
from code_forensics.engine.evaluation.full import evaluate_fully
from code_forensics.engine.evaluation.gather import Gallery, gather
from code_forensics.engine.evaluation.labelled import Truth
from code_forensics.engine.evaluation.layout import Layout
from code_forensics.engine.evaluation.targets import cllr_min, raw_log10_lr
from code_forensics.engine.judging.assessment import assess
from code_forensics.engine.judging.scores import FLOOR, relative_margins
from code_forensics.engine.judging.thresholds import ThresholdOptions
from code_forensics.engine.results import FileResult, Label, Status, Verdict

NOBODY = Gallery(frozenset(), frozenset())


def row(path, sha256=None, real=0.5, fake=0.6, **changes):
    values = {
        "status": Status.SCANNED,
        "knn": Label.FAKE if fake > real else Label.REAL,
        "verdict": Verdict.INCONCLUSIVE,
        "margin": fake - real,
        "score": fake - real,
        "log10_lr": fake - real,
        "real_similarity": real,
        "fake_similarity": fake,
        **changes,
    }
    return FileResult(path, sha256 or path, 1, "PNG", 300, 300, **values)


def truth_of(**known):
    labels = {"r": Label.REAL, "f": Label.FAKE}
    return lambda path: (
        known.get(path)
        or (
            Truth(labels[path[0]], "gen" if path[0] == "f" else "", "src")
            if path[0] in "rf"
            else None
        )
    )


def test_who_counts_and_who_does_not():
    results = [
        row("r1"),
        row("f1"),
        row("unlabelled"),
        row("r2", sha256="r1"),  # the same bytes again
        row("r3", sha256="both"),
        row("f3", sha256="both"),
        row("r4", sha256="held"),
        row("f4", fake=0.9991),
        row("f5", status=Status.FAILED, reason="truncated", margin=None, knn=None, verdict=None),
    ]
    gallery = Gallery(frozenset({"held"}), frozenset({"src", "other"}))
    got = gather(results, truth_of(), gallery)
    assert got.outcomes.labels.tolist() == [0, 1]
    left = got.left_out
    assert (left.same_file, left.near_duplicate, left.repeated, left.contradicted) == (1, 1, 1, 2)
    assert left.not_judged == (("truncated", 1),)
    assert (got.shared_sources, got.from_shared_sources) == (("src",), 2)
    kept = gather(results, truth_of(), gallery, keep_gallery=True)
    assert kept.outcomes.labels.tolist() == [0, 1, 0, 1]


def test_the_same_bytes_count_once_in_each_condition():
    known = {
        "ra": Truth(Label.REAL, "", "real", condition="augm"),
        "rb": Truth(Label.REAL, "", "real", condition="no_augm"),
    }
    got = gather([row("ra", "x"), row("rb", "x")], truth_of(**known), NOBODY)
    assert got.conditions.tolist() == ["augm", "no_augm"]


def test_forced_answers_follow_the_likelihood_ratio_where_there_is_one():
    got = gather([row("r1", log10_lr=-0.2), row("f1", log10_lr=0.3)], truth_of(), NOBODY)
    assert (got.calibrated, got.outcomes.predicted.tolist()) == (True, [0, 1])
    assert got.votes.tolist() == [1, 1]
    plain = gather([row("r1", log10_lr=None), row("f1", log10_lr=0.3)], truth_of(), NOBODY)
    assert (plain.calibrated, plain.outcomes.predicted.tolist()) == (False, [1, 1])
    flat = gather([row("r1", log10_lr=0.0), row("f1", log10_lr=0.0)], truth_of(), NOBODY)
    assert not flat.calibrated


@pytest.fixture(scope="module")
def scanned():
    """A gallery of vectors with separable classes, and a scan of 400 more by brute force."""
    random = np.random.default_rng(0)

    def vectors(labels):
        found = random.normal(size=(len(labels), 16)) / 2
        found[:, 0] += np.where(labels, 1.0, -1.0)
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)

    labels = np.repeat([0, 1], 300)
    held = vectors(labels)
    assessment = assess(held, labels, [""] * 600, ["g"] * 600)
    truth = np.repeat([0, 1], 200)
    cosines = (vectors(truth) @ held.T).astype(np.float64)
    rows = []
    for i, label in enumerate(truth):
        real, fake = cosines[i, :300].max(), cosines[i, 300:].max()
        score = relative_margins([[real]], [[fake]])[0]
        lr = float(assessment.calibration.log10_lr([score])[0])
        reason = "novel" if i % 20 == 0 else None  # as the scan found, by whatever it looked at
        name = f"{'rf'[label]}{i}"
        rows.append(row(name, real=real, fake=fake, score=score, log10_lr=lr, reason=reason))
    return assessment, gather(rows, truth_of(), NOBODY)


def test_rates_at_targets_are_those_of_the_thresholds(scanned):
    assessment, gathered = scanned
    full = evaluate_fully(gathered, assessment, Layout.FOLDERS, resamples=200)
    assert [t.target_fpr for t in full.targets] == [0.01, 0.05]
    for target in full.targets:
        line = assessment.thresholds(ThresholdOptions(target_fpr=target.target_fpr))
        real = gathered.outcomes.labels == 0
        above = gathered.outcomes.scores > line.fake_above
        novel = gathered.undecidable
        assert target.fpr.value == pytest.approx((above & ~novel)[real].mean())
        assert target.tpr.value == pytest.approx((above & ~novel)[~real].mean())
        assert target.fpr.ci95[0] <= target.fpr.value <= target.fpr.ci95[1]
        assert target.guaranteed_fpr <= target.target_fpr
    assert full.targets[0].fpr.value <= 0.04  # 1 % asked, 200 reals
    assert full.before.cllr.value > full.after.cllr.value > full.after.cllr_min


def test_rates_at_targets_keep_the_rate_of_the_other_class(scanned):
    assessment, gathered = scanned
    full = evaluate_fully(gathered, assessment, Layout.FOLDERS, target_fnr=0.2, resamples=0)
    for target in full.targets:
        line = assessment.thresholds(ThresholdOptions(target.target_fpr, 0.2))
        fake = gathered.outcomes.labels == 1
        below = (gathered.outcomes.scores < line.real_below) & ~gathered.undecidable
        assert target.fnr.value == pytest.approx(below[fake].mean()) != 0


def test_undecidable_pictures_are_decided_at_no_target(scanned):
    assessment, gathered = scanned
    from dataclasses import replace

    small = replace(gathered, undecidable=np.ones(400, dtype=bool))
    full = evaluate_fully(small, assessment, Layout.FOLDERS, resamples=0)
    assert {t.abstained.value for t in full.targets} == {1.0}
    assert {t.fpr.ci95 for t in full.targets} == {None}


def test_least_cllr_is_that_of_isotonic_regression():
    isotonic = pytest.importorskip("sklearn.isotonic")
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1], [70, 50])
    scores = np.round(labels + random.normal(0, 1, 120), 1)  # with ties
    weights = np.where(labels, 0.5 / 50, 0.5 / 70)
    fitted = isotonic.IsotonicRegression(y_min=0, y_max=1).fit(scores, labels, weights)
    p = fitted.predict(scores)
    p = np.clip(p, 1e-15, 1 - 1e-15)
    wanted = -(weights * np.where(labels, np.log2(p), np.log2(1 - p))).sum()
    assert cllr_min(labels, scores) == pytest.approx(wanted, abs=1e-9)
    assert cllr_min(labels, labels.astype(float)) == 0.0
    assert cllr_min(labels, -labels.astype(float)) == pytest.approx(1.0)


def test_raw_ratios_are_those_of_the_distances():
    real, fake = 0.42, 0.47
    times = (1 - real + FLOOR / 2) / (1 - fake + FLOOR / 2)
    score = relative_margins([[real]], [[fake]])
    assert raw_log10_lr(score)[0] == pytest.approx(np.log10(times))
    assert np.isfinite(raw_log10_lr(np.array([-2.0, 1.0]))).all()


def test_the_table_of_the_paper():
    known = {}
    rows = []
    for condition in ("augm", "no_augm"):
        for folder in ("real", "gen_0", "gen_1"):
            for i in range(4):
                path = f"{condition}-{folder}-{i}"
                label = Label.REAL if folder == "real" else Label.FAKE
                generator = "" if folder == "real" else folder
                known[path] = Truth(label, generator, folder, condition=condition)
                wrong = condition == "augm" and i < {"real": 0, "gen_0": 1, "gen_1": 3}[folder]
                fake = (label is Label.FAKE) is not wrong
                rows.append(row(path, fake=0.6 if fake else 0.4))
    assessment = assess(np.eye(4, dtype=np.float32), [0, 0, 1, 1], [""] * 4, [""] * 4)
    gathered = gather(rows, known.get, NOBODY)
    full = evaluate_fully(gathered, assessment, Layout.D3, resamples=0)
    table = {r.condition: r for r in full.d3}
    assert table["augm"].real == 1.0
    assert table["augm"].by_generator == (("gen_0", 0.75), ("gen_1", 0.25))
    assert table["augm"].mean == pytest.approx(2 / 3)
    assert (table["no_augm"].mean, len(table)) == (1.0, 2)
    assert full.as_dict()["d3"][0]["by_generator"]["gen_0"] in (0.75, 1.0)


def test_a_generator_called_unnamed_is_not_taken_for_the_unnamed():
    known = {
        "fa": Truth(Label.FAKE, "", "src"),
        "fb": Truth(Label.FAKE, "", "src"),
        "fc": Truth(Label.FAKE, "unnamed", "src"),
        "fd": Truth(Label.FAKE, "SD", "src"),
    }
    assessment = assess(np.eye(4, dtype=np.float32), [0, 0, 1, 1], [""] * 4, [""] * 4)

    def fakes(*names):
        gathered = gather([row("ra"), row("rb"), *map(row, names)], truth_of(**known), NOBODY)
        document = evaluate_fully(gathered, assessment, Layout.CSV, resamples=0).as_dict()
        return {name: found["n_fake"] for name, found in document["by_generator"].items()}

    assert fakes("fa", "fb", "fd") == {"unnamed": 2, "SD": 1}
    assert fakes("fa", "fb", "fc", "fd") == {"(unnamed)": 2, "unnamed": 1, "SD": 1}


def test_nothing_left_of_a_class_says_why(scanned):
    assessment, _ = scanned
    gathered = gather(
        [row("r1"), row("f1", "held")], truth_of(), Gallery(frozenset({"held"}), frozenset())
    )
    with pytest.raises(InputError, match=r"no fake image is left.*1 in the gallery"):
        evaluate_fully(gathered, assessment, Layout.FOLDERS)


def test_a_generator_is_compared_with_the_reals_of_its_group():
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.8, 0.9, 0.5, 0.5, 0.95])
    verdicts = np.full(7, Verdict.INCONCLUSIVE, dtype=object)
    outcomes = Outcomes(labels, scores, scores, labels, verdicts)
    groups = ["a", "a", "b", "b", "a", "b", "c"]
    got = evaluate(outcomes, ["", "", "", "", "a", "b", "c"], groups=groups, resamples=0)
    assert (got.by_generator["a"].auc, got.by_generator["b"].auc) == (1.0, 0.0)
    assert got.by_generator["c"].n_real == 4  # a group without reals has all of them
    assert evaluate(outcomes, ["x"] * 7, resamples=0).by_generator["x"].n_real == 4


@pytest.mark.parametrize("count", [1, 10, 300])
def test_the_interval_of_no_errors_is_exact(count):
    low, high = unanimous_interval(0.0, count)
    assert low == 0.0
    assert (1 - high) ** count == pytest.approx(0.025)  # so rarely would none have occurred
    assert unanimous_interval(1.0, count) == pytest.approx((1 - high, 1.0))
    assert unanimous_interval(0.5, count) is unanimous_interval(0.0, 0) is None
