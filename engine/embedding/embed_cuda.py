"""Run an encoder on CUDA: pinned staging, a stream for each of two slots, one graph each.

While one slot computes, the other copies, whichever threads call. Every pass has the full static
shape, so that a CUDA graph can replay it and companions never change a vector.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .config import CROP

_LOG = logging.getLogger(__name__)
_SLOTS = 2
_WARM_UP = 3  # passes before a capture, as PyTorch's notes on CUDA graphs ask for


class Slot(Protocol):
    """A place for one pass in flight."""

    def start(self, crops: NDArray[np.uint8]) -> None:
        """Begin to embed crops, (n, 224, 224, 3) uint8, n at most the static size."""

    def finish(self, vectors: NDArray[np.float32]) -> None:
        """Wait for it, and write the n vectors, (n, D) float32."""


class SlottedRunner:
    """Spreads passes over slots; thread-safe.

    A thread that holds a slot never waits for another one: it finishes its own oldest pass and
    takes that slot again. So threads cannot wait for each other in a circle.
    """

    def __init__(self, slots: Sequence[Slot], size: int) -> None:
        self._free: SimpleQueue[Slot] = SimpleQueue()
        self._size = size
        for slot in slots:
            self._free.put(slot)

    def __call__(self, crops: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        """See :class:`code_forensics.engine.embedding.embed.Runner`."""
        held: deque[tuple[Slot, int]] = deque()
        try:
            for first in range(0, len(crops), self._size):
                slot = self._take(held, vectors)
                held.append((slot, first))
                slot.start(crops[first : first + self._size])
            while held:
                self._free.put(self._finish(held, vectors))
        finally:
            for slot, _ in held:  # after an error: what they compute is dropped
                self._free.put(slot)

    def _take(self, held: deque[tuple[Slot, int]], vectors: NDArray[np.float32]) -> Slot:
        try:
            return self._free.get(block=not held)
        except Empty:
            return self._finish(held, vectors)

    def _finish(self, held: deque[tuple[Slot, int]], vectors: NDArray[np.float32]) -> Slot:
        slot, first = held[0]
        slot.finish(vectors[first : first + self._size])
        held.popleft()
        return slot


class CudaSlot:
    """Buffers, a stream and a graph for one pass at a time."""

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        device: torch.device,
        size: int,
        dimension: int,
        launching: threading.Lock,
    ) -> None:
        shape = (size, CROP, CROP, 3)
        self._forward = forward
        self._launching = launching
        self._staged = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._fetched = torch.zeros((size, dimension), dtype=torch.float32, pin_memory=True)
        self._crops = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Blocking: a thread that waits leaves its core to the decoders.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))  # for the zeros and the weights
        self._replay = self._capture()

    def start(self, crops: NDArray[np.uint8]) -> None:
        """See :class:`Slot`."""
        self._stream.synchronize()  # a pass dropped after an error may still read the buffer
        staged = self._staged.numpy()
        staged[: len(crops)] = crops
        staged[len(crops) :] = 0
        with self._launching, torch.inference_mode(), torch.cuda.stream(self._stream):
            self._crops.copy_(self._staged, non_blocking=True)
            self._fetched.copy_(self._replay(), non_blocking=True)
            self._done.record(self._stream)

    def finish(self, vectors: NDArray[np.float32]) -> None:
        """See :class:`Slot`."""
        self._done.synchronize()
        vectors[:] = self._fetched.numpy()[: len(vectors)]

    def _capture(self) -> Callable[[], Tensor]:
        """Record the pass as a graph; where that fails, launch its kernels one by one."""
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                _exactly(self._forward, self._crops)
            self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self._stream):
                    vectors = _exactly(self._forward, self._crops)
            except RuntimeError as error:
                _LOG.info("no CUDA graph (%s): kernels are launched one by one", error)
                return lambda: _exactly(self._forward, self._crops)

        def replay() -> Tensor:
            graph.replay()
            return vectors

        return replay


def _exactly(forward: Callable[[Tensor], Tensor], crops: Tensor) -> Tensor:
    """Run a pass with deterministic kernels and, in float32, without TF32.

    The switches are global and hold while kernels are chosen; callers hold the launching lock or
    are alone.
    """
    with (
        torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False),
        sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]),  # flash takes no float32
    ):
        return forward(crops)


def cuda_runner(
    forward: Callable[[Tensor], Tensor], device: torch.device, size: int, dimension: int
) -> SlottedRunner:
    """Make the runner of a CUDA device.

    Args:
        forward: From crops, (size, 224, 224, 3) uint8, to vectors, (size, D) float32, on `device`.
        device: The CUDA device.
        size: Images per pass.
        dimension: Length D of a vector.
    """
    launching = threading.Lock()
    slots = [CudaSlot(forward, device, size, dimension, launching) for _ in range(_SLOTS)]
    return SlottedRunner(slots, size)
