"""The optimiser and its learning rate: AdamW, cosine with linear warm-up, stepped per epoch."""

import math
import re

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
    """AdamW; biases, norms, positions and the class token are not decayed, as usual for ViTs.

    With ``layer_decay`` below 1, each block learns more slowly than the next one, and the patch
    projection slowest (Clark et al., 2020). A new head may learn faster than what it stands on.
    """
    levels = {name: _level(name) for name, _ in model.named_parameters()}
    top = max(level for level in levels.values() if level is not None) + 1
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or name.endswith(("cls_token", "positions"))
        level = levels[name]
        share = schedule.layer_decay ** (top - (top if level is None else level))
        if name.startswith("head."):
            share = schedule.head_lr
        groups.setdefault((share, plain), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "weight_decay": 0.0 if plain else schedule.weight_decay,
                "share": share,
            }
            for (share, plain), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=schedule.lr,
        fused=next(model.parameters()).is_cuda or None,  # one kernel instead of hundreds
    )


def _level(name: str) -> int | None:
    """0 for what embeds patches, then the blocks; None for what follows them."""
    block = re.search(r"blocks\.(\d+)\.", name)
    if block:
        return int(block[1]) + 1
    return 0 if re.search(r"patch\.|cls_token|positions", name) else None


def set_learning_rate(optimiser: Optimizer, lr: float) -> None:
    """Set the learning rate; of each group of parameters its share."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["share"]
