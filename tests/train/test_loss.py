import numpy as np
import pytest
import torch
from code_forensics.train.loss import code_loss, derangement, info_nce, supervised_contrast


def nce(query, positive, negatives, temperature):
    """InfoNCE from its definition, in float64, one query at a time."""
    losses = []
    for q, p in zip(query, positive, strict=True):
        right = np.exp(q @ p / temperature)
        wrong = sum(np.exp(q @ n / temperature) for n in negatives)
        losses.append(-np.log(right / (right + wrong)))
    return np.mean(losses)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_info_nce_equals_its_definition(temperature):
    rng = np.random.default_rng(1)
    q, p = unit(rng.normal(size=(2, 7, 16)))
    n = unit(rng.normal(size=(11, 16)))
    ours = info_nce(*(torch.from_numpy(x) for x in (q, p, n)), temperature)
    assert float(ours) == pytest.approx(nce(q, p, n, temperature), rel=1e-12)


@pytest.mark.parametrize("deranged", [True, False])
def test_code_loss_equals_the_papers_symmetric_sum(deranged):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(6, 2, 4, 24)) * 3
    orders = [derangement(6, rng) for _ in range(2)] if deranged else [np.arange(6)] * 2
    plain, augmented, wide, narrow = np.moveaxis(unit(features), 2, 0)
    expected = 0.0
    for c, o in ((0, 1), (1, 0)):
        expected += (
            nce(plain[:, c], augmented[orders[c], c], augmented[:, o], 0.1)
            + nce(narrow[:, c], wide[:, c], wide[:, o], 0.1)
        ) / 2
    partners = tuple(map(torch.from_numpy, orders)) if deranged else None
    double = code_loss(torch.from_numpy(features), partners, 0.1)
    assert float(double) == pytest.approx(expected, rel=1e-12)
    single = code_loss(torch.from_numpy(features).float(), partners, 0.1)
    assert float(single) == pytest.approx(expected, rel=1e-5)
    half = code_loss(torch.from_numpy(features).bfloat16(), partners, 0.1)
    assert half.dtype == torch.float32


def test_code_loss_has_the_right_gradient():
    features = torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    partners = (torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1]))
    assert torch.autograd.gradcheck(lambda x: code_loss(x, partners, 0.5), (features,))


def test_fakes_matter_as_much_as_reals():
    """The released loop lost the fake term; here exchanging the classes changes nothing."""
    features = torch.randn(5, 2, 4, 8, dtype=torch.float64)
    a, b = torch.tensor([1, 2, 3, 4, 0]), torch.tensor([4, 0, 1, 2, 3])
    assert float(code_loss(features, (a, b), 0.1)) == pytest.approx(
        float(code_loss(features.flip(1), (b, a), 0.1)), rel=1e-12
    )


def test_supervised_contrast_equals_its_definition():
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(7, 12)) * 2, np.array([0, 1, 1, 0, 1, 0, 1])
    z, losses = unit(features), []
    for i in range(7):
        others = [a for a in range(7) if a != i]
        below = sum(np.exp(z[i] @ z[a] / 0.2) for a in others)
        own = [p for p in others if labels[p] == labels[i]]
        losses.append(-np.mean([np.log(np.exp(z[i] @ z[p] / 0.2) / below) for p in own]))
    ours = supervised_contrast(torch.from_numpy(features), torch.from_numpy(labels), 0.2)
    assert float(ours) == pytest.approx(np.mean(losses), rel=1e-12)
    inputs = torch.from_numpy(features).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: supervised_contrast(x, torch.from_numpy(labels), 0.5), (inputs,)
    )


@pytest.mark.parametrize("size", [2, 3, 8, 257])
def test_derangement_leaves_nothing_in_place(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        order = derangement(size, rng)
        assert sorted(order) == list(range(size))
        assert not np.any(order == np.arange(size))


def test_derangement_is_uniform():
    rng = np.random.default_rng(0)
    seen = [tuple(derangement(4, rng)) for _ in range(3600)]
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    assert len(counts) == 9  # subfactorial of 4
    assert counts.min() > 300


def test_one_image_cannot_be_deranged():
    with pytest.raises(ValueError, match="at least two"):
        derangement(1, np.random.default_rng(0))
