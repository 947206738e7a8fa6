"""The gallery doctor on galleries whose faults are known."""

from dataclasses import replace

import numpy as np
import pytest
from code_forensics.engine.decoding.decode import decode
from code_forensics.engine.evaluation.doctor import examine
from code_forensics.engine.evaluation.duplicates import Against, ScannedFile
from code_forensics.engine.evaluation.file_facts import FileFacts
from code_forensics.engine.evaluation.findings import References, Severity
from code_forensics.engine.evaluation.separation import check_separation
from code_forensics.engine.evaluation.shortcuts import tones_of
from code_forensics.engine.judging.assessment import assess
from code_forensics.engine.judging.calibration import CalibrationStatus
from PIL import Image
from sklearn.metrics import roc_auc_score


def draw(n_real=60, n_fake=60, seed=0):
    """A gallery without faults, of ready vectors: four sources, both classes in each."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_real, n_fake])
    number = len(labels)
    sources = tuple(f"s{i % 4}" for i in range(number))
    return References(
        "desk",
        random.normal(size=(number, 32)).astype(np.float32),
        labels,
        sources,
        tuple("sdxl" if label else "" for label in labels),
        tuple(f"{i:064x}" for i in range(1, number + 1)),
        ("",) * number,
        np.ones(number, dtype=bool),
    )


def nothing(_):
    return None


def findings(references, known=nothing, against=None):
    return {f.check: f for f in examine(references, known, against)}


def numbers(finding):
    return {m.name: m.value for m in finding.measures}


def put(values, **changes):
    values = list(values)
    for at, value in changes.items():
        values[int(at.removeprefix("at"))] = value
    return tuple(values)


def test_a_gallery_without_faults_is_good():
    found = findings(draw())
    others = {
        "metadata": Severity.UNKNOWN,  # no files are at hand
        "content": Severity.UNKNOWN,
        "sources": Severity.NOTE,  # rates speak of sources that hold both classes
    }
    for check, finding in found.items():
        assert finding.severity is others.get(check, Severity.GOOD), finding


@pytest.mark.parametrize(
    ("real", "fake", "severity"),
    [
        (19, 60, Severity.SERIOUS),
        (60, 170, Severity.GOOD),
        (60, 180, Severity.NOTE),
        (600, 60, Severity.WARNING),
    ],
)
def test_balance(real, fake, severity):
    assert findings(draw(real, fake))["balance"].severity is severity


def test_balance_is_that_of_the_references_that_are_compared_with():
    compared = np.arange(120) < 75
    found = findings(replace(draw(60, 60), compared=compared))["balance"]
    assert found.severity is Severity.SERIOUS  # 15 fakes are left
    compared = np.arange(160) % 5 < 3
    compared[:60] = True
    found = findings(replace(draw(60, 100), compared=compared))["balance"]
    assert numbers(found) == {"real": 60, "fake": 60, "calibrating": 40, "ratio": 1}
    assert "60 real and 60 fake references (1 : 1.0), and 40 for calibration alone" in found.message


def test_dead_vectors_are_named_and_stop_nothing():
    references = draw()
    references.vectors[3] = 0
    references.vectors[64] = np.nan
    references.vectors[70] = 0.25
    found = findings(references)["dead_vectors"]
    assert (found.severity, numbers(found)["count"]) == (Severity.SERIOUS, 3)
    assert references.sha256[3][:16] in found.advice


def test_exact_duplicates_within_and_across_classes():
    references = draw()
    twice = replace(references, sha256=put(references.sha256, at1=references.sha256[0]))
    found = findings(twice)["exact_duplicates"]
    assert (found.severity, numbers(found)["in_several_sources"]) == (Severity.NOTE, 1)
    both = replace(references, sha256=put(references.sha256, at60=references.sha256[0]))
    found = findings(both)["exact_duplicates"]
    assert (found.severity, numbers(found)["in_both_classes"]) == (Severity.SERIOUS, 1)
    ready = replace(references, sha256=("",) * 120)
    assert findings(ready)["exact_duplicates"].severity is Severity.UNKNOWN


def test_near_duplicates_within_and_across_classes():
    references = draw()
    references.vectors[4] = 2 * references.vectors[0] + 1e-4  # of the same source
    found = findings(references)["near_duplicates"]
    assert (found.severity, numbers(found)["within_class"]) == (Severity.NOTE, 2)
    references.vectors[5] = references.vectors[0]
    assert findings(references)["near_duplicates"].severity is Severity.WARNING
    references.vectors[70] = references.vectors[0]
    found = findings(references)["near_duplicates"]
    assert (found.severity, numbers(found)["across_classes"]) == (Severity.SERIOUS, 4)


def test_the_same_bytes_are_no_near_duplicate():
    references = draw()
    references.vectors[4] = references.vectors[0]
    same = replace(references, sha256=put(references.sha256, at4=references.sha256[0]))
    assert findings(same)["near_duplicates"].severity is Severity.GOOD


def test_sources_and_generators():
    references = draw()
    one = replace(references, sources=tuple("real" if x == 0 else "s" for x in references.labels))
    assert findings(one)["sources"].severity is Severity.WARNING
    apart = replace(
        references,
        sources=tuple(f"{label}{i % 3}" for i, label in enumerate(references.labels)),
    )
    found = findings(apart)["sources"]
    assert (found.severity, numbers(found)["sources_with_both_classes"]) == (Severity.NOTE, 0)
    unnamed = replace(references, generators=put(references.generators, at60="rare", at61=""))
    found = findings(unnamed)["generators"]
    assert (found.severity, numbers(found)["unnamed_fakes"]) == (Severity.NOTE, 1)
    assert "rare (1)" in found.message


def test_leakage_by_bytes_and_by_vector():
    references = draw()
    clean = ScannedFile("clean.jpg", "f" * 64, np.ones(32, dtype=np.float32))
    files = [
        clean,
        ScannedFile("same.jpg", references.sha256[7]),
        ScannedFile("near.jpg", "e" * 64, 3 * references.vectors[9]),
        ScannedFile("known.jpg", "d" * 64, similarity=0.9995),
        ScannedFile("unread.jpg", ""),
    ]
    found = findings(references, against=Against("files", 5, files))["leakage"]
    counts = numbers(found)
    assert found.severity is Severity.SERIOUS
    assert (counts["same_file"], counts["near_duplicate"], counts["not_read"]) == (1, 2, 1)
    good = findings(references, against=Against("files", 1, [clean]))["leakage"]
    assert good.severity is Severity.GOOD


def test_metadata_bias_from_stored_facts():
    references = draw()

    def biased(digest):
        row = references.sha256.index(digest)
        return FileFacts("PNG" if references.labels[row] else "JPEG", 9000 + row, 512, 512)

    found = findings(references, biased)["metadata"]
    values = numbers(found)
    assert (found.severity, values["auc_held_out_sources"]) == (Severity.SERIOUS, 1.0)
    assert values["seen"] == "stored format, size and bytes"
    assert values["alone: format"] == 1.0

    def alike(digest):
        return FileFacts("JPEG", 9000 + references.sha256.index(digest) % 60, 512, 512)

    assert findings(references, alike)["metadata"].severity is Severity.GOOD


def test_files_of_unknown_sources_are_no_held_out_sources():
    references = replace(draw(), sources=("",) * 60 + ("s0", "s1") * 30)

    def alike(digest):
        return FileFacts("JPEG", 9000 + references.sha256.index(digest) % 60, 512, 512)

    found = findings(references, alike)["metadata"]
    assert "on files held out" in found.message
    assert "auc_held_out_sources" not in numbers(found)


@pytest.mark.parametrize(
    ("real", "fake", "advice"), [(2, 60, "add references until"), (60, 60, "where its files lie")]
)
def test_too_few_looked_at_says_what_would_help(real, fake, advice):
    for check in ("metadata", "content"):
        found = findings(draw(real, fake))[check]
        assert (found.severity, found.advice.count(advice)) == (Severity.UNKNOWN, 1)


def test_files_at_hand_are_read_and_changed_ones_are_told(tmp_path):
    import hashlib

    random = np.random.default_rng(0)
    paths, digests = [], []
    for row in range(80):
        path = tmp_path / f"{row}.jpg"
        tone = 200 if row >= 40 else 60  # the fakes are bright
        pixels = np.clip(random.normal(tone, 20, (48, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90 if row % 2 else 80)
        paths.append(str(path))
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    (tmp_path / "0.jpg").write_bytes(b"something else")
    (tmp_path / "41.jpg").unlink()
    references = replace(draw(40, 40), sha256=tuple(digests), paths=tuple(paths))
    found = findings(references)
    assert found["content"].severity is Severity.SERIOUS
    assert numbers(found["content"])["looked_at"] == 78
    values = numbers(found["metadata"])
    assert (values["looked_at"], values["changed_since"], values["seen"]) == (78, 1, "headers")


def test_tones_leave_the_padding_out():
    path_free = np.zeros((224, 224, 3), dtype=np.uint8)
    path_free[62:162, 87:137] = (10, 20, 30)  # a picture of 50 x 100, padded as the decoder does
    tones = tones_of(path_free, 50, 100)
    np.testing.assert_allclose(tones[:12], [10, 20, 30] * 4)
    np.testing.assert_allclose(tones[12:], [0.299 * 10 + 0.587 * 20 + 0.114 * 30, 0, 20], atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (50, 100), (51, 99), (223, 225), (300, 1)])
def test_tones_agree_with_the_decoders_padding(tmp_path, size):
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "flat.png")
    decoded = decode((tmp_path / "flat.png").read_bytes())
    tones = tones_of(decoded.crop, decoded.width, decoded.height)
    np.testing.assert_allclose(tones[:12], [200, 100, 50] * 4)


def test_findings_come_most_serious_first_and_inert():
    references = draw(19, 60)
    hostile = replace(references, generators=put(references.generators, at20="\x1b[31mevil"))
    found = examine(hostile, nothing)
    order = [list(Severity).index(f.severity) for f in found]
    assert order == sorted(order, reverse=True)
    assert "\x1b" not in str([f.as_dict() for f in found])
    assert "evil" in str([f.as_dict() for f in found])


def separation(apart, n=60, seed=0):
    """The finding on a gallery whose classes lie so far apart."""
    references = draw(n, n, seed)
    vectors = references.vectors + apart * references.labels[:, None]
    assessment = assess(vectors, references.labels, references.sources, references.generators)
    return check_separation(assessment), assessment


def test_classes_that_are_told_apart_are_good():
    found, assessment = separation(3.0, n=120)
    assert found.severity is Severity.GOOD and not found.advice
    measures = numbers(found)
    thresholds = assessment.thresholds()
    assert (measures["fpr"], measures["fnr"]) == (thresholds.fpr, thresholds.fnr)
    assert max(thresholds.fpr, thresholds.fnr) <= 0.01


def test_rates_that_the_references_do_not_support_are_a_note():
    found, _ = separation(3.0, n=40)  # 1 of 41 is more than 1 %
    assert found.severity is Severity.NOTE
    assert numbers(found)["fpr"] == pytest.approx(1 / 41)
    assert "add references" in found.advice


def test_the_auc_is_scikit_learns():
    found, assessment = separation(0.15, n=150)
    scores = assessment.scores
    expected = roc_auc_score(scores.labels, scores.relative_margins(1))
    assert numbers(found)["auc"] == pytest.approx(expected)
    assert found.severity is Severity.NOTE and "inconclusive" in found.advice


def test_what_every_scan_would_leave_inconclusive_is_serious():
    found, assessment = separation(0.0, seed=1)
    assert assessment.calibration.status is CalibrationStatus.NO_SEPARATION
    assert found.severity is Severity.SERIOUS and "no_separation" in found.message
    found, _ = separation(3.0, n=19)
    assert found.severity is Severity.SERIOUS and "19 real and 19 fake" in found.message
