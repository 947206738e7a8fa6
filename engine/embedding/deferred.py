"""An encoder that is loaded once there is something to embed, and with it what it runs on.

PyTorch's own import takes a second or two. A scan whose files are all known spares loading, and any
other reads and decodes meanwhile.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, parse_config
from .config import Device, Precision
from .contracts import KnownEncoder
from .devices import require_precision, resolve_device
from .load import backend_of, load_embedder


class DeferredEmbedder:
    """Stands in for an encoder, which it loads when it is needed.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        device: Where it will run.
        precision: Of the vectors.
        backend: Which code will embed, for run records.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: Device = "auto", precision: Precision = "float32"
    ) -> None:
        """Take the files; their tensors are looked at later.

        Raises:
            CheckpointError: The configuration does not describe a CoDE encoder.
            DeviceError: The device is not there, or cannot compute in that precision.
        """
        self.sha256 = checkpoint.sha256
        self.dimension = parse_config(checkpoint.config, checkpoint.origin).hidden_size
        self.device = resolve_device(device)
        self.precision: Precision = precision
        require_precision(self.device, precision)
        self.backend = backend_of(self.device, precision)
        self._checkpoint = checkpoint
        self._embedder: KnownEncoder | None = None
        self._loading = threading.Lock()

    @property
    def batch(self) -> int:
        """Crops that one call takes best."""
        return self._loaded().batch

    @property
    def fewest(self) -> int:
        """Crops below which a call takes as long."""
        return self._loaded().fewest

    @property
    def arithmetic(self) -> str:
        """What the vectors' rounding depends on beside the weights; empty before there is one."""
        return self._embedder.arithmetic if self._embedder else ""

    def load(self) -> None:
        """Load it now.

        Raises:
            CheckpointError: The tensors are damaged.
        """
        self._loaded()

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops, (n, 224, 224, 3) uint8, to (n, D) float32; thread-safe."""
        return self._loaded().embed(crops)

    def _loaded(self) -> KnownEncoder:
        with self._loading:
            if self._embedder is None:
                self._embedder = load_embedder(self._checkpoint, self.device, self.precision)
            return self._embedder
