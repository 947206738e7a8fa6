"""The processes of a run: started by torchrun, or one alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import TrainingError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place among those of the run.

    Attributes:
        rank: Number of this process.
        world: How many there are.
        device: Where this process computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and judges."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def total(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Sum numbers over the processes."""
        if self.world == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tuple(float(value) for value in tensor)

    def gather(self, features: Tensor) -> Tensor:
        """Concatenate the processes' features, (B, ...) -> (world * B, ...), with gradient."""
        if self.world == 1:
            return features
        gathered: Tensor = _Gather.apply(features, self.rank, self.world)  # type: ignore[no-untyped-call]
        return gathered


class _Gather(torch.autograd.Function):
    """All-gather whose gradient is right where every process computes the same loss from it.

    DDP averages the processes' gradients; each holds only what flows through its own features,
    so that part is multiplied by the number of processes, and the average is the full gradient.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, rank: int, world: int) -> Tensor:
        ctx.rank, ctx.world, ctx.size = rank, world, len(features)
        parts = [torch.empty_like(features) for _ in range(world)]
        dist.all_gather(parts, features.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        first = ctx.rank * ctx.size
        return gradients[0][first : first + ctx.size] * ctx.world, None, None


def is_first_process() -> bool:
    """Whether torchrun started this process as the first, or it stands alone."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the run that torchrun started, or stand alone.

    Args:
        device: auto, cpu, cuda or cuda:N; under torchrun ``cuda`` is one device per process.

    Raises:
        TrainingError: The device is not there.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and world > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        place = torch.device(device)
        if place.type == "cuda" and place.index is None:
            place = torch.device("cuda", torch.cuda.current_device())
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"cannot use the device {device!r}: {reason}", "try cpu") from error
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(0, 1, place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()
