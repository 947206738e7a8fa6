"""The classifier on metadata alone, against scikit-learn and against sets whose answer is known."""

import numpy as np
import pytest
from code_forensics.engine.evaluation.file_facts import FileFacts
from code_forensics.engine.evaluation.metadata_classifier import (
    Features,
    features_of,
    fit_ridge_logistic,
    grouped_folds,
    separability,
    strongest,
)


def numbers(*columns):
    table = np.stack(columns, axis=1).astype(float)
    names = tuple(f"n{i}" for i in range(table.shape[1]))
    return Features(names, table, (), np.empty((len(table), 0), dtype=str))


def test_the_fit_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4))
    labels = (x[:, 0] - x[:, 1] + random.normal(size=300) > 0.7).astype(np.int64)
    ours = fit_ridge_logistic(np.column_stack((x, np.ones(300))), labels)
    theirs = linear_model.LogisticRegression(
        class_weight="balanced", C=1.0, tol=1e-10, max_iter=1000
    ).fit(x, labels)
    np.testing.assert_allclose(ours, [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-4)


def test_chance_is_chance_and_a_giveaway_is_found():
    random = np.random.default_rng(1)
    labels = np.repeat([0, 1], 300)
    sources = np.repeat(np.arange(20), 30)
    noise = random.normal(size=600)
    chance = separability(numbers(noise), labels, sources)
    assert chance.ci95[0] < 0.5 < chance.ci95[1]
    found = separability(numbers(noise, labels + random.normal(0, 0.3, 600)), labels, sources)
    assert found.auc > 0.95
    assert found.ci95[0] <= found.auc <= found.ci95[1]
    assert (found.n_real, found.n_fake, found.by_source) == (300, 300, True)


def test_a_band_in_the_middle_is_found_by_the_bins():
    random = np.random.default_rng(2)
    x = random.uniform(-1, 1, 800)
    labels = (np.abs(x) < 0.5).astype(np.int64)
    assert separability(numbers(x), labels, None).auc > 0.95  # a straight line would find 0.5


def test_what_marks_sources_only_does_not_carry_to_other_sources():
    random = np.random.default_rng(3)
    sources = np.repeat(np.arange(40), 20)
    labels = (sources % 2).astype(np.int64)
    sizes = random.permutation(40)[sources]
    features = Features(
        (), np.empty((800, 0)), ("size",), np.array([f"{s}x{s}" for s in sizes], dtype=str)[:, None]
    )
    assert separability(features, labels, None).auc > 0.95
    held_out = separability(features, labels, sources)
    assert abs(held_out.auc - 0.5) < 0.1


def test_folds_keep_sources_together_and_classes_spread():
    random = np.random.default_rng(4)
    groups = random.integers(0, 30, 900)
    labels = (groups % 3 == 0).astype(np.int64)
    fold = grouped_folds(labels, groups, 5, seed=0)
    assert all(len(set(fold[groups == g])) == 1 for g in range(30))
    for label in (0, 1):
        share = np.bincount(fold[labels == label], minlength=5) / (labels == label).sum()
        assert share.min() > 0.1
        assert share.max() < 0.3


def test_too_few_sources_give_no_answer():
    labels = np.array([0, 0, 1, 1])
    assert separability(numbers(np.arange(4)), labels, np.array([0, 0, 1, 2])) is None
    assert separability(numbers(np.arange(4)), labels, None) is not None


def test_features_of_files_name_what_tells_them_apart():
    random = np.random.default_rng(5)
    facts = [
        FileFacts("JPEG", int(random.integers(9000, 20000)), 224, 224, "RGB", quality=q, exif=e)
        for q, e in [(95, True)] * 60 + [(75, True)] * 60
    ]
    labels = np.repeat([0, 1], 60)
    features = features_of(facts)
    best = dict(strongest(features, labels, None, count=2))
    assert best["JPEG quality"] == 1.0
    assert separability(features.only("EXIF present"), labels, None).auc == 0.5
    assert np.isnan(features_of([FileFacts("PNG", 1, 1, 1)]).numeric[0, -1])
