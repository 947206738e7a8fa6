"""Attribution against scikit-learn's distance-weighted vote, and its certainty."""

import numpy as np
import pytest
from code_forensics.engine.judging.attribution import (
    UNKNOWN,
    AttributionRule,
    attribute,
    fit_attribution,
    vote,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 8))
def test_vote_equals_scikit_learns_distance_weights(seed, k):
    random = np.random.default_rng(seed)
    vectors, queries = random.normal(size=(40, 5)), random.normal(size=(20, 5))
    names = np.array(["a", "b", "c"])[random.integers(3, size=40)]
    model = KNeighborsClassifier(k, weights="distance", metric="cosine", algorithm="brute")
    shares = model.fit(vectors, names).predict_proba(queries)
    distances, rows = model.kneighbors(queries)
    got = vote(1 - distances, names[rows])
    np.testing.assert_allclose(got.certainties, shares.max(axis=1), atol=1e-6)
    clear = np.sort(shares, axis=1)[:, -1] - np.sort(shares, axis=1)[:, -2] > 1e-6
    assert (got.generators == model.classes_[shares.argmax(axis=1)])[clear].all()


def test_neighbours_without_a_name_lower_the_certainty():
    got = vote(
        [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, -np.inf, -np.inf]],
        [["x", "", "x", "y"], ["", ""] + ["x"] * 2],
    )
    assert got.generators.tolist() == ["x", UNKNOWN]
    assert got.certainties.tolist() == pytest.approx([0.5, 0.0])
    assert len(vote(np.zeros((0, 3)), np.zeros((0, 3), dtype=str)).generators) == 0


def test_below_the_least_certainty_the_generator_is_unknown():
    similarities, names = [[0.5, 0.5, 0.5]] * 2, [["x", "x", "y"], ["x", "x", "x"]]
    rule = AttributionRule(3, 0.9, 0.95, 0.5, 100, False)
    assert attribute(similarities, names, rule).generators.tolist() == [UNKNOWN, "x"]
    never = AttributionRule(3, None, None, 0.0, 100, False)
    assert attribute(similarities, names, never).generators.tolist() == [UNKNOWN] * 2


def clouds(random, n, spread):
    """Fakes of four generators in two sources each, and some reals."""
    generator = random.integers(4, size=n)
    vectors = np.eye(8)[generator] * 3 + random.normal(0, spread, (n, 8))
    labels = np.append(np.ones(n, dtype=int), np.zeros(10, dtype=int))
    vectors = np.concatenate((vectors, random.normal(size=(10, 8)))).astype(np.float32)
    names = np.append(np.array(list("abcd"))[generator], [""] * 10)
    sources = np.array([f"{name}{i % 2}" for i, name in enumerate(names)])
    return vectors, labels, sources, names


def test_named_generators_are_right_as_often_as_asked_on_fresh_fakes():
    random = np.random.default_rng(0)
    vectors, labels, sources, names = clouds(random, 600, 1.3)
    rule = fit_attribution(vectors, labels, sources, names, target_precision=0.9)
    assert not rule.optimistic
    assert rule.precision >= 0.9
    assert 0.3 < rule.named < 1
    fresh, fresh_labels, _, truth = clouds(random, 1000, 1.3)
    fake = fresh_labels == 1
    gallery = vectors[labels == 1]
    model = KNeighborsClassifier(10, metric="cosine", algorithm="brute")
    distances, rows = model.fit(gallery, np.zeros(len(gallery))).kneighbors(fresh[fake])
    got = attribute(1 - distances, names[labels == 1][rows], rule)
    named = got.generators != UNKNOWN
    assert named.mean() > rule.named - 0.05  # with all sources in the gallery it names more
    assert (got.generators[named] == truth[fake][named]).mean() > 0.86
    everything = vote(1 - distances, names[labels == 1][rows]).generators
    assert (everything == truth[fake]).mean() < 0.86  # certainty is what makes the difference


def test_labels_without_meaning_name_nobody():
    random = np.random.default_rng(1)
    vectors, labels, sources, names = clouds(random, 400, 1.0)
    shuffled = np.append(random.permutation(names[:400]), names[400:])
    rule = fit_attribution(vectors, labels, [""] * 410, shuffled)
    assert rule.least_certainty is None
    assert rule.optimistic
    few = fit_attribution(vectors[:15], labels[:15], sources[:15], names[:15])
    assert (few.least_certainty, few.n_held_out) == (None, 15)


def test_a_source_is_left_out_only_where_its_generator_has_another():
    random = np.random.default_rng(2)
    n = 120
    vectors = random.normal(0, 0.01, (n, 4)).astype(np.float32)
    vectors[:, 0] += 1
    vectors[60:, 1] += 5
    # Both sources of a lie apart: without its source, the nearest fakes are those of b.
    names = np.array(["a"] * 30 + ["b"] * 30 + ["a"] * 60)
    sources = np.array(["a1"] * 30 + ["b1"] * 30 + ["a2"] * 60)
    rule = fit_attribution(vectors, np.ones(n), sources, names, near_duplicate_similarity=2.0)
    assert rule.optimistic  # b has one source
    without = fit_attribution(vectors, np.ones(n), [""] * n, names, near_duplicate_similarity=2.0)
    assert without.named > rule.named
