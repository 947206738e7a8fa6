from collections import Counter

import numpy as np
import pytest
from code_forensics.train.catalogue import RECONSTRUCTION, CatalogueBuilder, Label
from code_forensics.train.errors import DataError
from code_forensics.train.sampling import ByRecord, PairSampler
from code_forensics.train.split import split, spread


def build(*images):
    """Catalogue of (label, generator, source, record) rows."""
    builder = CatalogueBuilder()
    for number, (label, generator, source, record) in enumerate(images):
        builder.add(
            f"{number}.png", Label(label), generator=generator, source=source, record=record, size=1
        )
    return builder.build()


def unpaired():
    """Reals of 90 + 10; fakes of a 90 + 9, b 1, each image alone."""
    counts = [(0, "", "big", 90), (0, "", "little", 10), (1, "a", "a1", 90), (1, "a", "a2", 9),
              (1, "b", "b", 1)]  # fmt: skip
    rows = [(label, g, s) for label, g, s, count in counts for _ in range(count)]
    return build(*((*row, record) for record, row in enumerate(rows)))


def test_each_real_comes_once_per_pass_in_a_new_order():
    sampler = PairSampler(unpaired(), np.arange(200), seed=1)
    first, second = ([sampler.draw(n, 0)[0] for n in range(p, p + 100)] for p in (0, 100))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second


def test_unpaired_fakes_are_balanced_over_generators_then_sources():
    catalogue = unpaired()
    sampler = PairSampler(catalogue, np.arange(200), seed=1)
    sources = Counter(
        catalogue.sources[catalogue.source[sampler.draw(n, 0)[1]]] for n in range(3000)
    )
    assert sources["b"] / 3000 == pytest.approx(0.5, abs=0.04)
    assert sources["a1"] / 3000 == pytest.approx(0.25, abs=0.04)
    assert sources["a2"] / 3000 == pytest.approx(0.25, abs=0.04)


def test_balanced_sources_draw_both_real_sources_alike():
    catalogue = unpaired()
    sampler = PairSampler(catalogue, np.arange(200), seed=1, balance="sources")
    little = [catalogue.sources[catalogue.source[sampler.draw(n, 0)[0]]] == "little"
              for n in range(2000)]  # fmt: skip
    assert np.mean(little) == pytest.approx(0.5, abs=0.05)


def test_paired_fakes_come_from_the_reals_record():
    rows = [(int(g > 0), f"g{g}" if g else "", "s", r) for r in range(20) for g in range(5)]
    catalogue = build(*rows)
    sampler = PairSampler(catalogue, np.arange(100), seed=2)
    drawn = [sampler.draw(n, 0) for n in range(400)]
    assert all(catalogue.record[r] == catalogue.record[f] for r, f in drawn)
    generators = Counter(catalogue.generator[f] for _, f in drawn)
    assert len(generators) == 4
    assert min(generators.values()) > 60


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_reconstructions_come_in_their_share_and_of_the_same_real(share):
    rows = [(0, "", "s", r) for r in range(10)] + [(1, "a", "a", 10 + r) for r in range(10)]
    rows += [(1, f"{RECONSTRUCTION}{ae}", "s", r) for r in range(10) for ae in ("x", "y")]
    catalogue = build(*rows)
    sampler = PairSampler(catalogue, np.arange(40), seed=0, reconstructed_share=share)
    drawn = [sampler.draw(n, 0) for n in range(1500)]
    made = [(r, f) for r, f in drawn if catalogue.reconstructed()[f]]
    assert len(made) / 1500 == pytest.approx(share, abs=0.04)
    assert all(catalogue.record[r] == catalogue.record[f] for r, f in made)


def test_draws_depend_on_the_number_alone():
    catalogue = unpaired()
    one, two = (PairSampler(catalogue, np.arange(200), seed=4) for _ in range(2))
    assert [one.draw(n, 0) for n in range(50)] == [two.draw(n, 0) for n in reversed(range(50))][
        ::-1
    ]
    assert one.draw(3, 0) != one.draw(3, 1)
    other = PairSampler(catalogue, np.arange(200), seed=5)
    assert [one.draw(n, 0) for n in range(50)] != [other.draw(n, 0) for n in range(50)]


def test_a_class_without_images_is_named():
    with pytest.raises(DataError, match="no fakes"):
        PairSampler(build((0, "", "s", 0)), np.arange(1), seed=0)


def many_sources():
    rows = [(0, "", f"r{i % 8}", i) for i in range(160)]
    return build(*rows, *((1, f"g{i % 6}", f"g{i % 6}", 160 + i) for i in range(120)))


def test_no_source_is_on_both_sides():
    catalogue = many_sources()
    parts = split(catalogue, (), 0.2)
    train, held = (set(catalogue.source[part]) for part in (parts.training, parts.held_out))
    assert not train & held
    assert {catalogue.sources[s] for s in held} == set(parts.sources)
    for label, total in ((Label.REAL, 160), (Label.FAKE, 120)):
        share = np.sum(catalogue.label[parts.held_out] == label) / total
        assert 0.2 <= share < 0.4
    assert sorted([*parts.training, *parts.held_out]) == list(range(280))


def test_a_held_out_scene_takes_its_fakes_along():
    rows = [(0, "", f"s{i % 4}", i) for i in range(40)]
    catalogue = build(*rows, *((1, "g", "made", i) for i in range(40)))
    parts = split(catalogue, ("s1",), 0.1)
    held = catalogue.record[parts.held_out]
    assert set(held) == {i for i in range(40) if i % 4 == 1}
    assert not set(held) & set(catalogue.record[parts.training])


def test_excluded_sources_are_on_neither_side_unless_held_out_by_name():
    catalogue = many_sources()
    names = {catalogue.sources[s] for s in catalogue.source}
    parts = split(catalogue, (), 0.2, ("r1", "g2"))
    sides = [{catalogue.sources[s] for s in catalogue.source[part]}
             for part in (parts.training, parts.held_out)]  # fmt: skip
    assert sides[0] | sides[1] == names - {"r1", "g2"}
    nothing = split(catalogue, (), 0.0, ("r1",))
    assert len(nothing.training) == 260
    assert not len(nothing.held_out)
    named = split(catalogue, ("r1", "r2"), 0.0, ("r1",))
    assert {catalogue.sources[s] for s in catalogue.source[named.held_out]} == {"r1", "r2"}
    with pytest.raises(DataError, match="no source matches"):
        split(catalogue, (), 0.2, ("nowhere",))


def test_one_source_only_holds_out_whole_records():
    rows = [(label, "g" * label, "web" if label == 0 else "g", r)
            for r in range(500) for label in (0, 1)]  # fmt: skip
    parts = split(build(*rows), (), 0.1)
    assert parts.sources == ()
    assert len(parts.held_out) == pytest.approx(100, abs=30)


def test_unknown_patterns_and_empty_training_are_named():
    catalogue = many_sources()
    with pytest.raises(DataError, match="no source matches"):
        split(catalogue, ("x*",), 0.1)
    with pytest.raises(DataError, match="no real image is left"):
        split(catalogue, ("r*",), 0.1)


def test_spread_takes_evenly_from_each_source():
    groups = np.array([0] * 90 + [1] * 8 + [2] * 2, dtype=np.int32)
    picked = spread(np.arange(100), groups, 22, seed=0)
    assert np.bincount(groups[picked]).tolist() == [12, 8, 2]
    assert np.array_equal(picked, spread(np.arange(100), groups, 22, seed=0))


def test_each_image_of_a_record_is_drawn_as_often():
    images = ByRecord(np.array([10, 11, 12, 20]), np.array([3, 3, 3, 7], dtype=np.int32))
    rng = np.random.default_rng(0)
    drawn = images.draw(np.array([3] * 3000 + [7] * 5, dtype=np.int32), rng)
    assert set(drawn[3000:]) == {20}
    counts = Counter(drawn[:3000].tolist())
    assert sorted(counts) == [10, 11, 12]
    assert min(counts.values()) > 900
