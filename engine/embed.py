"""Embed crops: fixed-shape batches on one device, in one precision."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from .checkpoint import Checkpoint, build_encoder
from .encoder import CROP, PIXEL_CENTRE, fold_normalisation, normalise
from .errors import DeviceError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]

CPU_BATCH = 16  # the fastest per core when measured (tests/benchmarks), and a short last batch
CUDA_BATCH = 256


class Embedder:
    """An encoder that is ready to embed.

    Batches have one shape, the last one padded with black, so that an image's companions never
    change its vector. On the CPU a call uses the calling thread alone (see :meth:`single_thread`):
    parallelism comes from several threads that call at once, which is faster than splitting one
    batch and makes results independent of the number of cores. Calls are thread-safe.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        batch: Images per pass.
        device: Where it runs.
        precision: ``float32``, or ``bfloat16`` weights and activations.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: Device = "auto", precision: Precision = "float32"
    ) -> None:
        self.sha256 = checkpoint.sha256
        self.device = resolve_device(device)
        self.precision: Precision = precision
        self.batch = CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH
        encoder = build_encoder(checkpoint)
        self.dimension = encoder.config.hidden_size
        if precision == "bfloat16":
            encoder = fold_normalisation(encoder).to(torch.bfloat16)
        self._encoder = encoder.to(self.device)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops.

        Args:
            crops: Array of shape (n, 224, 224, 3), uint8 RGB; any n.

        Returns:
            Array of shape (n, D), float32, not unit length.
        """
        vectors = np.empty((len(crops), self.dimension), np.float32)
        for first in range(0, len(crops), self.batch):
            part = crops[first : first + self.batch]
            if len(part) < self.batch:
                padding = np.zeros((self.batch - len(part), CROP, CROP, 3), np.uint8)
                batch = np.concatenate((part, padding))
            else:
                batch = np.ascontiguousarray(part)
            vectors[first : first + len(part)] = self._forward(batch)[: len(part)]
        return vectors

    def _forward(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            pixels = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
            if self.precision == "bfloat16":
                images = (pixels.to(torch.bfloat16) - PIXEL_CENTRE).contiguous()
            else:
                images = normalise(pixels.contiguous())
            vectors: NDArray[np.float32] = self._encoder(images).float().cpu().numpy()
        return vectors


def resolve_device(device: Device) -> torch.device:
    """Choose the device.

    Raises:
        DeviceError: CUDA is asked for and not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "no CUDA device is available",
            "use --device cpu, or install a CUDA build of torch and its driver",
        )
    return torch.device(device)
