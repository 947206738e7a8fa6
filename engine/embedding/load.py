"""Which code embeds, and loading it."""

from .checkpoint import Checkpoint
from .config import Device, Precision
from .contracts import KnownEncoder
from .devices import require_precision, resolve_device
from .embed_native import NativeEmbedder, should_embed

TORCH = "torch"
"""How run records call PyTorch as what embeds; its version stands among those of the packages."""


def backend_of(device: Device, precision: Precision) -> str:
    """Which code embeds on a device in a precision, as run records call it."""
    native = device == "cpu" and precision == "float32" and should_embed()
    return NativeEmbedder.backend if native else TORCH


def load_embedder(
    checkpoint: Checkpoint, device: Device = "auto", precision: Precision = "float32"
) -> KnownEncoder:
    """Load an encoder, with PyTorch only where that embeds.

    Raises:
        CheckpointError: The files are damaged or do not describe a CoDE encoder.
        DeviceError: The device is not there, or cannot compute in that precision.
    """
    place = resolve_device(device)
    require_precision(place, precision)
    if backend_of(place, precision) != TORCH:
        return NativeEmbedder(checkpoint)
    from .embed import Embedder

    return Embedder(checkpoint, place, precision)
