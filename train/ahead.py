"""Batches that are made on a GPU while it trains, by a thread and on a stream of their own.

Launching the many small kernels that make views takes a thread as long as launching those of a
step; two threads do both at once.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .loader import Batch

_DEPTH = 2
"""Batches that may be in the making, or ready."""


def made_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches in the same order; on a GPU, the next ones are made while one is used.

    Args:
        batches: Makes each on `device`, from what is there already.
        device: Any; elsewhere than on a GPU nothing changes.
    """
    if device.type != "cuda":
        return batches
    return _on_a_stream(batches, device)


def _on_a_stream(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # the images may still be on their way

    def make() -> tuple[Batch, torch.cuda.Event] | None:
        with torch.cuda.stream(stream):
            batch = next(batches, None)
            return None if batch is None else (batch, stream.record_event())

    for batch, ready in _in_a_thread(make):
        here = torch.cuda.current_stream(device)
        here.wait_event(ready)
        batch.views.record_stream(here)  # its memory is not reused before the step is done with it
        yield batch


def _in_a_thread(
    make: Callable[[], tuple[Batch, torch.cuda.Event] | None],
) -> Iterator[tuple[Batch, torch.cuda.Event]]:
    """What is made, until that is None; an exception is raised where its batch would come."""
    with ThreadPoolExecutor(1, thread_name_prefix="views") as pool:
        coming: deque[Future[tuple[Batch, torch.cuda.Event] | None]] = deque()
        try:
            while True:
                while len(coming) < _DEPTH:
                    coming.append(pool.submit(make))
                made = coming.popleft().result()
                if made is None:
                    return
                yield made
        finally:
            for future in coming:
                future.cancel()
