"""The optimiser and its learning rate: AdamW, cosine with linear warm-up, stepped per epoch."""

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from .config import ScheduleOptions


def learning_rate(epoch: int, schedule: ScheduleOptions) -> float:
    """The learning rate of an epoch.

    Linear from ``warmup_lr`` during the warm-up epochs, then the cosine
    ``min_lr + (lr - min_lr) (1 + cos(pi epoch / epochs)) / 2`` (Loshchilov and Hutter, 2017);
    as in the release, the warm-up replaces the cosine's first epochs and does not shift it.

    Args:
        epoch: From 0.
        schedule: Peak, ends and lengths.
    """
    if epoch < schedule.warmup_epochs:
        risen = (schedule.lr - schedule.warmup_lr) * epoch / schedule.warmup_epochs
        return schedule.warmup_lr + risen
    falling = (1 + math.cos(math.pi * min(epoch / schedule.epochs, 1))) / 2
    return schedule.min_lr + (schedule.lr - schedule.min_lr) * falling


def make_optimiser(model: nn.Module, schedule: ScheduleOptions) -> AdamW:
    """AdamW; biases, norms, positions and the class token are not decayed, as usual for ViTs."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or name.endswith(("cls_token", "positions"))
        (free if plain else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=schedule.lr)


def set_learning_rate(optimiser: Optimizer, lr: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = lr
