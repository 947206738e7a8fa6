"""Leave-one-out scores against a plain loop, one reference at a time."""

import numpy as np
import pytest
from code_forensics.engine.judging import held_out_search
from code_forensics.engine.judging.leave_one_out import leave_one_out_scores
from code_forensics.engine.judging.scores import (
    nearest_similarities,
    relative_margins,
    score_bands,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def by_hand(vectors, labels, sources, k, near):
    """Similarities to each class and flags, from the definition, in float64."""
    units = vectors.astype(np.float64)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    found, kept = np.full((2, len(units), k), -np.inf), np.zeros(len(units), dtype=bool)
    of = [{s for s, at in zip(sources, labels, strict=True) if at == label} for label in (0, 1)]
    for i, unit in enumerate(units):
        cosine = units @ unit
        stays = sources[i] == "" or sources[i] in of[0] & of[1]
        kept[i] = stays
        for label in (0, 1):
            left = [j for j in range(len(units)) if labels[j] == label and j != i]
            other = [j for j in left if stays or sources[j] != sources[i]]
            members = [j for j in range(len(units)) if labels[j] == label]
            if all(sources[j] == sources[i] != "" for j in members):
                kept[i] = True
                other = left
            if labels[i] == label:
                other = [j for j in other if cosine[j] < near] or other
            best = sorted((cosine[j] for j in other), reverse=True)[:k]
            found[label, i, : len(best)] = best
    return found, kept


def misleading(similarities, labels, k):
    return np.where(labels == 0, 1, -1) * relative_margins(*similarities, k)


def alike(vectors, labels, i, j):
    u, v = (vectors[n].astype(np.float64) for n in (i, j))
    return labels[i] == labels[j] and u @ v >= 0.9999 * np.linalg.norm(u) * np.linalg.norm(v)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(4, 40),
    k=st.integers(1, 5),
    n_sources=st.integers(1, 5),
    block=st.sampled_from([1, 400, 10**6]),
)
def test_equals_the_definition(seed, n, k, n_sources, block):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 6)).astype(np.float32) * random.uniform(0.1, 9, (n, 1))
    vectors = vectors.astype(np.float32)
    copies = random.integers(n, size=(n // 3, 2))
    vectors[copies[:, 0]] = vectors[copies[:, 1]]
    labels = random.integers(2, size=n)
    labels[:4] = 0, 0, 1, 1
    sources = np.array(["", *"abcd"])[random.integers(n_sources, size=n)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out_search, "_BLOCK_BYTES", block)
        got = leave_one_out_scores(vectors, labels, sources, k, near_duplicate_similarity=0.9999)
    want, kept = by_hand(vectors, labels, sources, k, 0.9999)
    score = misleading(want, labels, k)
    first = [min(j for j in range(n) if alike(vectors, labels, i, j)) for i in range(n)]
    groups = [[i for i in range(n) if first[i] == f] for f in sorted(set(first))]
    for held_out in got.held_out:
        (group,) = (group for group in groups if held_out in group)
        assert score[held_out] > max(score[i] for i in group) - 1e-6
    assert len(got.held_out) == len(groups) and got.near_duplicates == n - len(groups)
    want = want[:, got.held_out]
    np.testing.assert_allclose(got.real_similarities, want[0], atol=2e-6)
    np.testing.assert_allclose(got.fake_similarities, want[1], atol=2e-6)
    assert got.source_kept.tolist() == kept[got.held_out].tolist()
    assert not got.subsampled


def test_without_known_sources_it_is_optimistic_and_with_them_it_is_not():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 4)).astype(np.float32)
    labels = np.arange(40) % 2
    assert leave_one_out_scores(vectors, labels, [""] * 40).optimistic
    single = [f"{label}" for label in labels]
    assert leave_one_out_scores(vectors, labels, single).optimistic
    several = [f"{label}{i % 3}" for i, label in enumerate(labels)]
    assert not leave_one_out_scores(vectors, labels, several).optimistic
    both = [f"{i % 3}" for i in range(40)]  # in both classes: new images of it meet it in both
    assert leave_one_out_scores(vectors, labels, both).source_kept.all()


def test_a_copy_in_the_other_class_is_not_hidden():
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    vectors[11] = vectors[10]
    vectors[12] = vectors[10]
    scores = leave_one_out_scores(vectors, np.arange(20) % 2, [""] * 20)
    assert scores.near_duplicates == 1  # rows 10 and 12, of the same class
    assert scores.held_out.tolist() == [n for n in range(20) if n != 12]
    assert scores.fake_similarities[10, 0] == pytest.approx(1, abs=1e-6)
    assert scores.real_similarities[10, 0] < 0.999


def test_many_copies_of_a_picture_say_no_more_than_one():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(60, 8)).astype(np.float32)
    copies = np.repeat(vectors, 20, axis=0) + random.normal(size=(1200, 8)) * 1e-4
    order = random.permutation(1200)
    scores = leave_one_out_scores(
        copies[order].astype(np.float32), (np.arange(1200) // 20 % 2)[order], [""] * 1200
    )
    assert len(scores.held_out) == 60 and scores.near_duplicates == 1140
    assert sorted(order[scores.held_out] // 20) == list(range(60))


def test_a_large_gallery_is_represented_by_a_balanced_seeded_sample():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 16)).astype(np.float32)
    labels = (np.arange(500) % 5 > 0).astype(int)
    whole = leave_one_out_scores(vectors, labels, [""] * 500)
    part = leave_one_out_scores(vectors, labels, [""] * 500, subsample=150, seed=3)
    again = leave_one_out_scores(vectors, labels, [""] * 500, subsample=150, seed=3)
    other = leave_one_out_scores(vectors, labels, [""] * 500, subsample=150, seed=4)
    assert part.subsampled
    assert np.bincount(part.labels).tolist() == [75, 75]
    assert part.held_out.tolist() == again.held_out.tolist() != other.held_out.tolist()
    # Held out from, not searched in, a sample: each score is the one that all of it gives.
    np.testing.assert_allclose(
        part.relative_margins(), whole.relative_margins()[part.held_out], atol=1e-6
    )
    few_reals = leave_one_out_scores(vectors, labels, [""] * 500, subsample=300)
    assert np.bincount(few_reals.labels).tolist() == [100, 200]


def test_references_that_nothing_is_left_for_are_not_scored():
    vectors = np.eye(4, dtype=np.float32)
    lone_real = leave_one_out_scores(vectors, [0, 1, 1, 1], [""] * 4)
    assert lone_real.held_out.tolist() == [1, 2, 3]
    assert len(leave_one_out_scores(vectors, [1, 1, 1, 1], [""] * 4).held_out) == 0
    assert len(leave_one_out_scores(vectors[:0], [], []).held_out) == 0


@pytest.mark.parametrize(
    ("vectors", "labels", "sources"),
    [
        (np.eye(3, dtype=np.float32), [0, 1], ["", ""]),
        (np.eye(2, dtype=np.float32), [0, 2], ["", ""]),
        (np.full((2, 2), np.nan, dtype=np.float32), [0, 1], ["", ""]),
    ],
)
def test_refuses_what_is_no_gallery(vectors, labels, sources):
    with pytest.raises(ValueError):
        leave_one_out_scores(vectors, labels, sources)


def test_a_score_is_the_difference_of_mean_distances_relative_to_both():
    real = [[0.5, 0.1, -np.inf], [0.2, 0.1, 0.0], [-np.inf] * 3]
    fake = [[0.4, 0.3, 0.2], [0.9, 0.6, 0.3], [0.9, 0.6, 0.3]]
    np.testing.assert_allclose(relative_margins(real, fake), [-0.1 / 1.11, 0.7 / 0.91, np.nan])
    np.testing.assert_allclose(relative_margins(real, fake, 3), [0.0, 0.5 / 1.31, np.nan])
    np.testing.assert_allclose(nearest_similarities(real, fake), [0.5, 0.9, 0.9])
    with pytest.raises(ValueError):
        relative_margins(real, fake, 4)


def test_a_score_stays_within_one_also_where_a_cosine_is_rounded_above_one():
    copy = 1.0000002
    assert relative_margins([[0.5]], [[copy]])[0] == pytest.approx(0.5 / 0.51)
    assert relative_margins([[copy]], [[copy]])[0] == 0.0
    assert relative_margins([[-1.0]], [[1.0]])[0] < 1


@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans(), st.floats(0, 0.5))
def test_a_nearer_reference_never_moves_a_score_away_from_its_class(seed, k, fake, step):
    cosines = np.sort(np.random.default_rng(seed).uniform(-1, 1, (2, 1, 6)))[:, :, ::-1]
    nearer = cosines.copy()
    place = seed % 6
    nearer[int(fake), 0, place] = min(nearer[int(fake), 0, place] + step, 1.0)
    nearer[int(fake)] = np.sort(nearer[int(fake)])[:, ::-1]
    before, after = relative_margins(*cosines, k)[0], relative_margins(*nearer, k)[0]
    assert (after >= before - 1e-12) if fake else (after <= before + 1e-12)


def test_a_band_of_cosines_is_wider_where_both_classes_are_near():
    far, near = score_bands([[0.5], [0.97]], [[0.4], [0.98]], 1, [0.01, 0.01])
    assert (far, near) == (pytest.approx(0.01 / 1.11), pytest.approx(0.01 / 0.06))


def test_what_the_encoder_was_trained_on_is_compared_with_but_not_held_out() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    labels = np.arange(60) % 2
    sources = [f"s{number % 6}" for number in range(60)]
    trained = np.array([source in ("s0", "s1") for source in sources])
    scores = leave_one_out_scores(vectors, labels, sources, trained=trained)
    assert scores.held_out.tolist() == np.flatnonzero(~trained).tolist()
    assert not scores.optimistic and not scores.subsampled
    # they are still what others are compared with: the same scores as when all are held out
    every = leave_one_out_scores(vectors, labels, sources)
    rows = np.flatnonzero(~trained)
    assert scores.relative_margins() == pytest.approx(every.relative_margins()[rows], abs=1e-6)
    # where a class has nothing else, it is held out all the same, and said to be optimistic
    only = leave_one_out_scores(vectors, labels, sources, trained=labels == 1)
    assert len(only.held_out) == 60 and only.optimistic
    assert only.source_kept.tolist() == (labels == 1).tolist()
    # what calibrates alone is held out, and nothing is compared with it
    alone = leave_one_out_scores(vectors, labels, sources, trained=trained, compared=trained)
    assert alone.held_out.tolist() == rows.tolist() and alone.n_references == trained.sum()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units[rows] @ units.T
    for label, found in ((0, alone.real_similarities), (1, alone.fake_similarities)):
        expected = cosines[:, trained & (labels == label)].max(axis=1)
        assert found[:, 0] == pytest.approx(expected, abs=1e-6)
    part = leave_one_out_scores(vectors, labels, sources, trained=trained, subsample=10)
    assert part.subsampled and len(part.held_out) == 10 and not trained[part.held_out].any()
