"""Batches of views, decoded and augmented by worker processes."""

import atexit
import multiprocessing.util
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..engine.interrupt import SIGNALS
from .catalogue import Catalogue, decode
from .config import TrainConfig
from .distributed import Processes
from .equalise import centre, equalise, random_square
from .errors import DataError
from .sampling import PairSampler
from .views import make_views

_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image that was passed over."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Views of B pairs.

    Attributes:
        views: (B, 2 classes, 4 views, 3, 224, 224), uint8; of images in the device's memory
            one view, perhaps a smaller one.
        bad: Images that could not be read and were replaced by other draws.
        corner: Row and column, in patches, of smaller views in the full crop.
    """

    views: Tensor
    bad: tuple[BadImage, ...]
    corner: tuple[int, int] = (0, 0)

    def pin_memory(self) -> "Batch":
        """Called by the data loader where batches go to a GPU."""
        return Batch(self.views.pin_memory(), self.bad, self.corner)


class PairViews(Dataset[Batch]):
    """The views of a draw, by the draw's number."""

    def __init__(self, catalogue: Catalogue, sampler: PairSampler, config: TrainConfig) -> None:
        self._catalogue, self._sampler, self._config = catalogue, sampler, config
        self._reconstructed = catalogue.reconstructed()

    def __getitem__(self, number: int) -> Batch:
        """Make the pair of a draw; images that cannot be read are replaced by another draw."""
        bad: list[BadImage] = []
        for attempt in range(_ATTEMPTS):
            images = []
            pair = self._sampler.draw(number, attempt)
            for image in pair:
                try:
                    images.append(decode(self._catalogue.read(image)))
                except OSError as error:
                    bad.append(BadImage(self._catalogue.describe(image), str(error)))
                    break
            if len(images) == 2:
                break
        else:
            raise DataError(
                f"{_ATTEMPTS} draws in a row met images that cannot be read, the last:"
                f" {bad[-1].place}: {bad[-1].reason}"
            )
        real, fake = images
        config = self._config
        rng = np.random.default_rng((config.seed, 2, number))
        made = bool(self._reconstructed[pair[1]])
        if made:  # of the middle of the real, see reconstruct.py
            real = centre(real, min(fake.width, real.width), min(fake.height, real.height))
        if made or config.equalise.enabled:
            real, fake = equalise((real, fake), config.equalise, rng)
        views = [
            make_views(random_square(image, config.data.max_side, rng), config.views, rng)
            for image in (real, fake)
        ]
        return Batch(torch.from_numpy(np.stack(views)), tuple(bad))


def join(items: list[Batch]) -> Batch:
    """Collate draws into a batch."""
    bad = tuple(image for item in items for image in item.bad)
    return Batch(torch.stack([item.views for item in items]), bad)


def batches(
    dataset: PairViews, config: TrainConfig, first: int, last: int, group: Processes
) -> Iterator[Batch]:
    """This process's batches from micro-batch ``first`` up to, not including, ``last``.

    Micro-batch m of process r holds the draws from ``(m * world + r) * batch`` on, so that the
    processes together see what one process with their joint batch would see.
    """
    size = config.schedule.batch
    numbers = [
        list(
            range((m * group.world + group.rank) * size, (m * group.world + group.rank + 1) * size)
        )
        for m in range(first, last)
    ]
    workers = min(config.runtime.workers, _cores())
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=join,
        pin_memory=group.device.type == "cuda",
        worker_init_fn=_quiet_worker if workers else None,
        prefetch_factor=4 if workers else None,
    )
    others = set(multiprocessing.active_children())
    coming = iter(loader)
    _started.update(set(multiprocessing.active_children()) - others)
    return coming


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quiet_worker(_worker: int) -> None:
    """Leave Ctrl-C and SIGTERM to the main process, and the cores to the other workers.

    Both often reach every process of the run; the step in flight still needs its batches.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)


_started: WeakSet[BaseProcess] = WeakSet()  # workers of all epochs that are not forgotten yet


def _kill() -> None:
    """End workers that the loader has not ended, as where an error still refers to it."""
    left = [worker for worker in _started if worker.is_alive()]
    if left and hasattr(signal, "SIGCHLD"):  # at which the loader would complain of each
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in left:
        worker.kill()


# What leaves SIGTERM to the main process cannot be ended by it, as multiprocessing does at exit
# before it waits. What was registered last comes first, and that was with the import.
atexit.register(_kill)
