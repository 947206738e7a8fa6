"""One encoder for several processes: they send crops, and who started them embeds.

A GPU gives processes turns, each with memory and a start of its own; threads of one process share
it as they come. So with a GPU the processes of a run read and decode alone, and never load PyTorch.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..embedding.checkpoint import Checkpoint
from ..embedding.config import CROP, CUDA_BATCH, Device
from ..embedding.load import load_embedder
from ..isolation.framing import BrokenMessageError, receive

_CROP_BYTES = CROP * CROP * 3
_MOST = 1 << 30  # bytes of an answer


class Lender:
    """The encoder of this process, for all that it starts; thread-safe."""

    def __init__(self, checkpoint: Checkpoint, device: Device) -> None:
        """Load the encoder in a thread of its own, while the processes start."""
        loading = ThreadPoolExecutor(1, "lender")
        self._embedder = loading.submit(load_embedder, checkpoint, device)
        loading.shutdown(wait=False)

    def answer(self, asked: dict[str, Any], crops: bytes) -> tuple[dict[str, Any], memoryview]:
        """Embed what a process has sent.

        Args:
            asked: Its words: ``crops``, how many.
            crops: So many of (224, 224, 3) uint8, one after the other.

        Returns:
            The words of the answer, and the vectors, (n, D) float32.

        Raises:
            BrokenMessageError: It is not as stated.
            DeviceError: The device is not there.
        """
        count = asked["crops"]
        if not isinstance(count, int) or len(crops) != count * _CROP_BYTES:
            raise BrokenMessageError("not so many crops")
        embedder = self._embedder.result()
        vectors = embedder.embed(np.frombuffer(crops, np.uint8).reshape(count, CROP, CROP, 3))
        said = {"vectors": list(vectors.shape), "arithmetic": embedder.arithmetic}
        return said, vectors.data.cast("B")


class Borrowed:
    """The encoder of the process that started this one; stands in for an encoder of its own.

    Attributes:
        batch: Crops that one call takes best.
        fewest: Crops below which a call takes as long.
        precision: Of the vectors.
        arithmetic: What their rounding depends on; empty before the first.
    """

    batch = fewest = CUDA_BATCH
    precision = "float32"

    def __init__(self, source: IO[bytes], say: Callable[..., None]) -> None:
        """Borrow it.

        Args:
            source: Where answers come from; nothing else comes while files are worked on.
            say: Sends a message; threads may call at once.
        """
        self.arithmetic = ""
        self._source = source
        self._say = say
        self._turn = threading.Lock()

    def load(self) -> None:
        """Nothing to do: the process that lends it loads it."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops, (n, 224, 224, 3) uint8, to (n, D) float32; thread-safe.

        Raises:
            BrokenMessageError: The other process is gone.
        """
        raw = np.ascontiguousarray(crops).data.cast("B")
        with self._turn:
            self._say({"crops": len(crops)}, raw)
            said, vectors = receive(self._source, _MOST)
        self.arithmetic = str(said["arithmetic"])
        return np.frombuffer(vectors, np.float32).reshape(said["vectors"])
