"""An encoder that is loaded once there is something to embed, and PyTorch with it.

Loading takes a second or two, most of it PyTorch's own import. A scan whose files are all known
spares it, and any other reads and decodes meanwhile.
"""

import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, parse_config
from .config import Device, Precision
from .devices import require_precision, resolve_device

if TYPE_CHECKING:
    from .embed import Embedder


class DeferredEmbedder:
    """Stands in for an :class:`~.embed.Embedder`, which it makes when it is needed.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        device: Where it will run.
        precision: Of the vectors.
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
        self._checkpoint = checkpoint
        self._embedder: Embedder | None = None
        self._loading = threading.Lock()

    @property
    def batch(self) -> int:
        """Crops that one call takes best."""
        return self._loaded().batch

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

    def _loaded(self) -> "Embedder":
        with self._loading:
            if self._embedder is None:
                from .embed import Embedder  # and with it PyTorch

                self._embedder = Embedder(self._checkpoint, self.device, self.precision)
            return self._embedder
