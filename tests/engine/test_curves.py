"""Curves against scikit-learn and their definitions; plots are read back."""

import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.evaluation.curves import reliability_curve, roc_curve, tippett_curve
from code_forensics.engine.evaluation.evaluate import Outcomes, measure
from code_forensics.engine.evaluation.plots import write_plots
from code_forensics.engine.results import Verdict
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve as sklearn_roc


@pytest.fixture
def drawn():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [150, 150])
    return labels, np.round(labels * 0.8 + random.normal(0, 1, 300), 1)


def outcomes_of(labels, scores, log10_lr):
    return Outcomes(
        labels,
        scores,
        log10_lr,
        (scores > 0).astype(int),
        np.full(len(labels), Verdict.INCONCLUSIVE, dtype=object),
    )


def test_roc_equals_scikit_learn(drawn):
    fpr, tpr, thresholds = sklearn_roc(*drawn, drop_intermediate=False)
    got = roc_curve(*drawn)
    np.testing.assert_allclose(got.fpr, fpr)
    np.testing.assert_allclose(got.tpr, tpr)
    np.testing.assert_allclose(got.thresholds, thresholds)


def test_tippett_counts_who_reaches_a_value(drawn):
    labels, evidence = drawn
    got = tippett_curve(labels, evidence)
    for value, real, fake in zip(got.log10_lr, got.real, got.fake, strict=True):
        assert real == pytest.approx(np.mean(evidence[labels == 0] >= value))
        assert fake == pytest.approx(np.mean(evidence[labels == 1] >= value))


def test_reliability_equals_scikit_learn_for_equal_classes(drawn):
    labels, evidence = drawn
    evidence = evidence + 0.013  # off the bins' edges, whose sides scikit-learn swaps
    share, mean = calibration_curve(labels, 1 / (1 + 10**-evidence), n_bins=15)
    got = reliability_curve(labels, evidence)
    np.testing.assert_allclose(got.share_fake, share)
    np.testing.assert_allclose(got.p_fake, mean)
    error = np.sum(got.weight * np.abs(got.p_fake - got.share_fake))
    ece = measure(outcomes_of(labels, evidence, evidence), resamples=0).ece
    assert error == pytest.approx(ece, abs=1e-12)


def test_plots_are_readable_and_reproducible(drawn, tmp_path):
    pytest.importorskip("matplotlib")
    outcomes = outcomes_of(*drawn, drawn[1])
    first = write_plots(outcomes, tmp_path / "a")
    second = write_plots(outcomes, tmp_path / "b")
    stems = ("roc", "det", "tippett", "reliability")
    wanted = {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")}
    assert {path.name for path in first} == wanted
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        if one.suffix == ".png":
            with Image.open(one) as image:
                assert np.asarray(image.convert("L")).std() > 5
        else:
            text = " ".join(ET.parse(one).getroot().itertext())
            assert "150 real, 150 fake" in text
            assert "margin" not in text  # another column of the report
            assert ("of the score" in text) == (one.stem in ("roc", "det"))
            assert "nan" not in one.read_text()


def test_uncalibrated_outcomes_have_no_likelihood_plots(drawn, tmp_path):
    pytest.importorskip("matplotlib")
    paths = write_plots(outcomes_of(*drawn, np.full(300, np.nan)), tmp_path, ["svg"])
    assert {path.name for path in paths} == {"roc.svg", "det.svg"}


def test_what_cannot_be_plotted_says_what_to_do(drawn, tmp_path, monkeypatch):
    labels, scores = drawn
    outcomes = outcomes_of(labels, scores, scores)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(InputError, match="matplotlib") as caught:
            write_plots(outcomes, tmp_path)
        assert "evaluate" in caught.value.hint
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="bmp"):
        write_plots(outcomes, tmp_path, ["bmp"])
    with pytest.raises(InputError, match="both classes"):
        write_plots(outcomes.select(labels == 1), tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot write plots") as caught:
            write_plots(outcomes, folder)
        assert caught.value.hint
    (tmp_path / "taken" / "roc.svg").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot write plots to .*roc\.svg"):
        write_plots(outcomes, tmp_path / "taken")
