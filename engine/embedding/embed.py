"""Embed crops with PyTorch: fixed-shape batches on one device, in one precision."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .checkpoint import Checkpoint
from .config import CROP, CUDA_BATCH, Device, Place, Precision
from .devices import require_precision, resolve_device
from .encoder import PIXEL_CENTRE, Encoder, fold_normalisation, normalise
from .load import TORCH
from .passes import pass_size
from .weights import build_encoder

CPU_BATCH = 16
"""Crops that a call takes well on the CPU: several passes, so that one search serves them all."""

_FASTER = 0.8
"""Share of float32's time that a product in bfloat16 may take to count as faster."""


class Runner(Protocol):
    """Runs an encoder over crops; thread-safe."""

    def __call__(self, crops: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        """Embed crops, (n, 224, 224, 3) uint8, any n, into vectors, (n, D) float32."""


class Embedder:
    """An encoder that is ready to embed.

    Passes have one shape, the last one padded with black, so that an image's companions never
    change its vector. On the CPU parallelism comes from several threads that call at once, each
    with ``torch.set_num_threads(1)``: faster than splitting one batch. On CUDA calls from several
    threads share two staging buffers. Calls are thread-safe.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        batch: Crops that one call takes best.
        fewest: Crops below which a call takes as long: those of a pass.
        device: Where it runs.
        precision: ``float32``, or weights and activations in ``bfloat16`` or ``float16``.
        backend: Which code embeds, for run records.
    """

    backend = TORCH

    def __init__(
        self, checkpoint: Checkpoint, device: Device = "auto", precision: Precision = "float32"
    ) -> None:
        """Build the encoder.

        Raises:
            CheckpointError: The files are damaged or do not describe a CoDE encoder.
            DeviceError: The device is not there, or cannot compute in that precision.
        """
        self.sha256 = checkpoint.sha256
        self.device = resolve_device(device)
        self.precision: Precision = precision
        require_precision(self.device, precision)
        with _one_thread():
            encoder = build_encoder(checkpoint)
            self.dimension = encoder.config.hidden_size
            if precision != "float32":
                encoder = fold_normalisation(encoder).to(_DTYPES[precision])
            encoder = encoder.to(self.device)
            self._run: Runner
            if self.device == "cuda":
                from .embed_cuda import cuda_runner

                self.batch = self.fewest = CUDA_BATCH
                self._run = cuda_runner(
                    Forward(encoder), torch.device(self.device), CUDA_BATCH, self.dimension
                )
            else:
                assert precision != "float16"  # refused above
                self.batch, self.fewest = CPU_BATCH, pass_size(encoder.config, precision)
                self._run = CpuRunner(Forward(encoder), self.fewest)

    @property
    def arithmetic(self) -> str:
        """What the vectors' rounding depends on beside the weights, in words."""
        if self.device == "cuda":
            unit = torch.cuda.get_device_name(self.device)
        else:
            unit = f"{torch.backends.cpu.get_cpu_capability()}"
            unit += f", {bfloat16_unit(self.device) or 'emulated'}"
        return f"{self.precision}; torch {torch.__version__}; {self.device}: {unit}"

    def load(self) -> None:
        """Nothing to do: it is loaded."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops.

        Args:
            crops: Array of shape (n, 224, 224, 3), uint8 RGB; any n.

        Returns:
            Array of shape (n, D), float32, not unit length.
        """
        vectors = np.empty((len(crops), self.dimension), np.float32)
        self._run(crops, vectors)
        return vectors


class Forward:
    """From pixels to vectors on the device of the encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.dtype = encoder.patch.weight.dtype
        self._encoder: nn.Module = encoder
        if encoder.patch.weight.device.type == "cpu" and self.dtype is torch.bfloat16:
            from .fused import FusedEncoder, fusible

            self._encoder = FusedEncoder(encoder) if fusible(encoder) else encoder

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        """Embed crops, (B, 224, 224, 3) uint8, to (B, D) float32."""
        pixels = crops.permute(0, 3, 1, 2)
        if self.dtype is torch.float32:
            images = normalise(pixels.contiguous())
        else:
            images = (pixels.to(self.dtype) - PIXEL_CENTRE).contiguous()
        vectors: torch.Tensor = self._encoder(images)
        return vectors.float()


class CpuRunner:
    """Runs passes of one shape in the calling thread."""

    def __init__(self, forward: Forward, size: int) -> None:
        self._forward = forward
        self._size = size

    def __call__(self, crops: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        """See :class:`Runner`."""
        with _one_thread(), torch.inference_mode():  # two may round a sum otherwise than one
            for first in range(0, len(crops), self._size):
                part = crops[first : first + self._size].copy()
                count = len(part)
                if count < self._size:
                    black = np.zeros((self._size - count, CROP, CROP, 3), np.uint8)
                    part = np.concatenate((part, black))
                done = self._forward(torch.from_numpy(part))
                vectors[first : first + count] = done[:count].numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Spare several hundred small tensors the waking of a thread for each core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def bfloat16_unit(device: Place) -> str:
    """What multiplies bfloat16 there: ``cuda``, ``amx``, ``avx512_bf16``, or nothing: empty."""
    if device == "cuda":
        return "cuda" if torch.cuda.is_bf16_supported(including_emulation=False) else ""
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # not before torch 2.10
    if capabilities is not None:
        known = capabilities()
        if known.get("amx_bf16"):
            return "amx"
        return "avx512_bf16" if known.get("avx512_bf16") else ""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return "amx" if probe is not None and probe() else ""


def bfloat16_pays(device: Place) -> bool:
    """Whether the device computes in bfloat16 faster than in float32.

    With AVX512_BF16 alone that is so on some processors (AMD's multiply twice as fast) and not on
    others, so a product of the encoder's is tried.
    """
    unit = bfloat16_unit(device)
    return _product_is_faster() if unit == "avx512_bf16" else bool(unit)


def _product_is_faster() -> bool:
    """Time a product of a block in both types."""
    seconds = []
    with _one_thread(), torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float32):
            rows, weights = torch.ones((394, 192), dtype=dtype), torch.ones((768, 192), dtype=dtype)
            tries = []
            for _ in range(6):  # the first wakes it up
                started = time.perf_counter()
                torch.nn.functional.linear(rows, weights)
                tries.append(time.perf_counter() - started)
            seconds.append(min(tries))
    return seconds[0] < _FASTER * seconds[1]
