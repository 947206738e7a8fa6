import pytest
import torch
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.train.config import ScheduleOptions
from code_forensics.train.model import Trainee
from code_forensics.train.schedule import learning_rate, make_optimiser, set_learning_rate
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR


def lrs(scheduler, optimiser, count):
    values = []
    for _ in range(count):
        values.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return values


def test_cosine_is_pytorchs():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    expected = lrs(CosineAnnealingLR(optimiser, 150, eta_min=1e-5), optimiser, 151)
    schedule = ScheduleOptions(warmup_epochs=0, min_lr=1e-5)
    assert [learning_rate(e, schedule) for e in range(151)] == pytest.approx(expected)


def test_warm_up_is_pytorchs_and_starts_at_a_millionth():
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    expected = lrs(LinearLR(optimiser, 1e-6 / 2e-3, total_iters=5), optimiser, 5)
    assert [learning_rate(e, ScheduleOptions()) for e in range(5)] == pytest.approx(expected)


def test_published_defaults():
    assert learning_rate(0, ScheduleOptions()) == 1e-6
    assert learning_rate(75, ScheduleOptions()) == pytest.approx(1e-3)
    assert learning_rate(150, ScheduleOptions()) == pytest.approx(0, abs=1e-12)


def test_only_matrices_decay():
    encoder = Encoder()
    decayed, free = make_optimiser(encoder, ScheduleOptions()).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (2e-5, 0.0)
    assert len(decayed["params"]) == 1 + 12 * 4
    assert {id(encoder.positions), id(encoder.cls_token)} <= {id(p) for p in free["params"]}
    assert len(decayed["params"]) + len(free["params"]) == len(list(encoder.parameters()))


def test_lower_blocks_learn_more_slowly():
    model = Trainee(Encoder(), with_head=True)
    optimiser = make_optimiser(model, ScheduleOptions(layer_decay=0.5))
    set_learning_rate(optimiser, 1.0)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert rates[id(model.head.weight)] == rates[id(model.encoder.norm.bias)] == 1.0
    assert rates[id(model.encoder.blocks[11].fc1.weight)] == 0.5
    assert rates[id(model.encoder.blocks[0].qkv.bias)] == 0.5**12
    for parameter in (model.encoder.patch.weight, model.encoder.positions):
        assert rates[id(parameter)] == 0.5**13
