from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from code_forensics.train.catalogue import RECONSTRUCTION, Label
from code_forensics.train.config import TrainConfig
from code_forensics.train.draws import GroupSampler
from code_forensics.train.errors import DataError

from tests.train.test_sampling import build

COUNTS = {"big": 81, "little": 9}


def catalogue(made=True):
    """Reals of 81 + 9, as many fakes, and a reconstruction of each real of 'big'."""
    rows = [(0, "", s, i) for s, n in COUNTS.items() for i in range(n)]
    rows = [(label, g, s, record) for record, (label, g, s, _) in enumerate(rows)]
    rows += [(1, s, f"f-{s}", 100 + i) for s, n in COUNTS.items() for i in range(n)]
    if made:
        rows += [(1, f"{RECONSTRUCTION}x", "big", record) for record in range(81)]
    return build(*rows)


def config(balance="root", share=0.5):
    base = TrainConfig(seed=3)
    return replace(base, data=replace(base.data, balance=balance, group=4),
                   reconstruct=replace(base.reconstruct, share=share))  # fmt: skip


def sampler_of(data, options):
    return GroupSampler(data, np.arange(len(data)), options)


def sampler(data, *arguments):
    return sampler_of(data, config(*arguments))


@pytest.mark.parametrize(("balance", "expected"), [("records", 0.9), ("root", 0.75),
                                                   ("sources", 0.5)])  # fmt: skip
def test_sources_come_as_their_balance_says(balance, expected):
    data = catalogue()
    groups = [g for n in range(150) for g in sampler(data, balance, 0.0).draw(n, 8)]
    for label, name in ((Label.REAL, "big"), (Label.FAKE, "f-big")):
        drawn = np.concatenate([g.real if label is Label.REAL else g.fake for g in groups])
        assert set(data.label[drawn]) == {label}
        names = Counter(data.sources[s] for s in data.source[drawn])
        assert names[name] / len(drawn) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_whole_groups_are_reconstructions_of_their_own_reals(share):
    data = catalogue()
    groups = [g for n in range(200) for g in sampler(data, "root", share).draw(n, 8)]
    for group in groups:
        assert set(data.reconstructed()[group.fake]) == {group.reconstructed}
        if group.reconstructed:
            assert np.array_equal(data.record[group.real], data.record[group.fake])
    assert np.mean([g.reconstructed for g in groups]) == pytest.approx(share, abs=0.08)


def test_draws_keep_their_ranges():
    options = TrainConfig().equalise
    groups = [g for n in range(100) for g in sampler(catalogue()).draw(n, 8)]
    scales = [g.scale for g in groups]
    assert options.scale[0] <= min(scales) < 0.8
    assert 1.2 < max(scales) <= options.scale[1]
    blurs = np.array([g.blur for g in groups])
    assert np.mean(blurs > 0) == pytest.approx(options.blurred, abs=0.1)
    assert set(np.concatenate([g.quality for g in groups])) == set(range(50, 101))
    earlier = np.concatenate([g.earlier for g in groups])
    assert np.mean(earlier > 0) == pytest.approx(options.earlier, abs=0.05)
    assert earlier[earlier > 0].min() >= 50
    corners = {sampler(catalogue()).corner(n, 2) for n in range(100)}
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_what_pictures_meet_grows_over_the_run():
    base = config()
    long = replace(base, equalise=replace(base.equalise, ramp=0.5, scale=(0.25, 4.0)),
                   schedule=replace(base.schedule, epochs=2, steps=100))  # fmt: skip
    data = catalogue()
    growing = GroupSampler(data, np.arange(len(data)), long)
    for number, scales, quality in ((0, (1, 1), 100), (50, (0.5, 2), 75), (150, (0.25, 4), 50)):
        groups = [g for _ in range(1) for g in growing.draw(number, 400)]
        found = [g.scale for g in groups]
        assert scales[0] <= min(found) <= scales[0] * 1.1
        assert scales[1] / 1.1 <= max(found) <= scales[1]
        assert np.concatenate([g.quality for g in groups]).min() == quality
    assert not any(g.blur for g in growing.draw(0, 400))


def test_draws_depend_on_the_number_alone():
    one, two = sampler(catalogue()), sampler(catalogue())
    later = [one.draw(n, 8) for n in range(5)][4]
    for a, b in zip(later, two.draw(4, 8), strict=True):
        assert np.array_equal(a.real, b.real)
        assert np.array_equal(a.fake, b.fake)
        assert (a.scale, a.blur, a.filter) == (b.scale, b.blur, b.filter)
    assert not np.array_equal(later[0].real, one.draw(5, 8)[0].real)
    # of a larger joint batch, the first process draws what it would draw alone
    assert np.array_equal(one.draw(4, 16)[0].real, later[0].real)


def test_only_reconstructions_are_enough_and_no_fakes_are_not():
    data = catalogue()
    reals_and_made = np.flatnonzero((data.label == Label.REAL) | data.reconstructed())
    assert GroupSampler(data, reals_and_made, config(share=0.0)).draw(0, 4)[0].reconstructed
    with pytest.raises(DataError, match="no fakes"):
        GroupSampler(data, data.where(Label.REAL), config())
    with pytest.raises(DataError, match="no real"):
        GroupSampler(data, data.where(Label.FAKE), config())


def test_fresh_reconstructions_need_no_images_and_change_no_other_draw():
    data, options = catalogue(made=False), config().reconstruct
    base = config()
    fresh = replace(
        base, reconstruct=replace(options, fresh=True, autoencoders=("a", "b"), before=(0.5, 0.8))
    )
    drawn = [sampler_of(data, fresh).draw(n, 8) for n in range(100)]
    groups = [group for several in drawn for group in several]
    made = [group for group in groups if group.reconstructed]
    assert len(made) / len(groups) == pytest.approx(0.5, abs=0.08)
    assert {group.fresh.autoencoder for group in made} == {0, 1}
    assert all(group.fresh is None for group in groups if not group.reconstructed)
    for group in made:
        assert np.array_equal(group.real, group.fake)
        assert 0.5 <= group.fresh.before <= 0.8
        assert all(0 <= at < 1 for at in group.fresh.inset)
    collected = replace(base, reconstruct=replace(options, share=0.0))
    for number, several in enumerate(drawn):
        others = sampler_of(data, collected).draw(number, 8)
        for one, other in zip(several, others, strict=True):
            if not one.reconstructed:
                assert np.array_equal(one.fake, other.fake)
                assert np.array_equal(one.mirrored, other.mirrored)
