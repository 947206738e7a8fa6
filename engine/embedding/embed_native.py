"""Embed crops on the CPU in float32 without PyTorch, by a forward pass of our own in C.

It multiplies at nearly the rate of the processor's vector units, which PyTorch's libraries do not
for matrices of this size, and it spares importing PyTorch, which takes longer than a scan of a few
files (``python -m tests.benchmarks.forward``). Vectors are within 1e-5 of the published ones, as
PyTorch's are; in the last digits the two differ, so a run record says which code embedded.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checkpoint import Checkpoint, parse_config
from .config import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig, Place
from .tensors import PROJECTION, QKV, Tensors, read_tensors

if TYPE_CHECKING:
    from types import ModuleType

VERSION = "1"
"""Of the pass, for run records: another one may round otherwise."""

BATCH = 16
"""Crops that a call takes well: one search serves them all."""

_ALIGNMENT = 64
_LEVELS = 256
_FLOAT = 4

Array = NDArray[np.float32]


def _compiled() -> "ModuleType | None":
    try:
        from . import vit_pass
    except ImportError:  # installed where there was no compiler, or none that knows its vectors
        return None
    return vit_pass


_pass = _compiled()


def units() -> dict[str, int]:
    """Vector units of this processor that the pass is compiled for, with the columns of a panel.

    The fastest comes first; empty where only PyTorch can embed.
    """
    known: dict[str, int] = _pass.panels() if _pass is not None else {}
    return known


class NativeEmbedder:
    """An encoder that is ready to embed, in float32 on the CPU.

    A call embeds its crops one by one in the calling thread, without Python's lock; several threads
    that call at once share the cores. An image's vector is the same in any company, to the bit.
    Calls are thread-safe.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        batch: Crops that one call takes best.
        device: Where it runs.
        precision: ``float32``.
        backend: Which code embeds, for run records.
    """

    batch = BATCH
    device: Place = "cpu"
    precision = "float32"

    def __init__(self, checkpoint: Checkpoint, unit: str | None = None) -> None:
        """Read and arrange the weights.

        Args:
            checkpoint: The encoder's files.
            unit: One of :func:`units`; None for the fastest.

        Raises:
            CheckpointError: The files are damaged or do not describe a CoDE encoder.
        """
        panels = units()
        self._unit = unit or next(iter(panels))
        config = parse_config(checkpoint.config, checkpoint.origin)
        tensors = read_tensors(checkpoint, config)
        self._weights = pack(tensors, config, panels[self._unit])
        self._sizes = (
            config.hidden_size,
            config.intermediate_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.layer_norm_eps,
            PROJECTION in tensors,
        )
        self.sha256 = checkpoint.sha256
        self.dimension = config.hidden_size
        self.backend = native_backend(self._unit)

    @property
    def arithmetic(self) -> str:
        """What the vectors' rounding depends on beside the weights, in words."""
        return f"{self.precision}; {self.backend}"

    def load(self) -> None:
        """Nothing to do: it is loaded."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops.

        Args:
            crops: Array of shape (n, 224, 224, 3), uint8 RGB; any n.

        Returns:
            Array of shape (n, D), float32, not unit length.
        """
        assert _pass is not None  # else it had no unit
        vectors = np.empty((len(crops), self.dimension), np.float32)
        crops = np.ascontiguousarray(crops)
        _pass.embed(self._unit, *self._sizes, self._weights, crops, vectors)
        return vectors


def native_backend(unit: str) -> str:
    """How run records call the pass by a vector unit."""
    return f"vit_pass {VERSION}, {unit}"


def pack(tensors: Tensors, config: EncoderConfig, panel: int) -> Array:
    """Arrange an encoder's weights in the order in which the pass reads them.

    Every width is filled up with zeros to a multiple of a panel, that of each head by itself.

    Args:
        tensors: From :func:`~.tensors.read_tensors`.
        config: The sizes.
        panel: Columns of a panel.

    Returns:
        One array that begins at a multiple of 64 bytes.
    """
    parts = [part.ravel() for part in _ordered(tensors, config, panel)]
    size = sum(part.size for part in parts)
    room = np.empty(size + _ALIGNMENT // _FLOAT, np.float32)
    first = -room.ctypes.data % _ALIGNMENT // _FLOAT
    packed = room[first : first + size]
    np.concatenate(parts, out=packed)
    return packed


def _ordered(tensors: Tensors, config: EncoderConfig, panel: int) -> Iterator[Array]:
    """The weights, part by part."""

    def linear(weight: Array, bias: Array) -> Iterator[Array]:
        yield _panels(weight, panel)
        yield _filled(bias, panel)

    def named(name: str) -> Iterator[Array]:
        return linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str) -> Iterator[Array]:
        yield _filled(tensors[f"{name}.weight"], panel)
        yield _filled(tensors[f"{name}.bias"], panel)

    yield _normalised_levels()
    projection = "embeddings.patch_embeddings.projection"
    weight = tensors[f"{projection}.weight"].reshape(config.hidden_size, -1)
    yield from linear(weight, tensors[f"{projection}.bias"])
    positions = tensors["embeddings.position_embeddings"][0].copy()
    positions[0] += tensors["embeddings.cls_token"][0, 0]
    yield _filled(positions, panel)
    for layer in range(config.num_hidden_layers):
        base = f"encoder.layer.{layer}"
        heads = [
            [
                _by_head(tensors[f"{base}.attention.attention.{name}.{kind}"], config, panel)
                for name in QKV
            ]
            for kind in ("weight", "bias")
        ]
        yield from norm(f"{base}.layernorm_before")
        yield from linear(np.concatenate(heads[0]), np.concatenate(heads[1]))
        out = f"{base}.attention.output.dense"
        taken = _by_head(tensors[f"{out}.weight"].T, config, panel).T
        yield from linear(taken, tensors[f"{out}.bias"])
        yield from norm(f"{base}.layernorm_after")
        yield from named(f"{base}.intermediate.dense")
        yield from named(f"{base}.output.dense")
    yield from norm("layernorm")
    if PROJECTION in tensors:
        yield _panels(tensors[PROJECTION], panel)


def _normalised_levels() -> Array:
    """What the published pipeline makes of each level of each channel, to the bit, (3, 256)."""
    levels = np.arange(_LEVELS, dtype=np.float32) / np.float32(_LEVELS - 1)
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    return (levels - mean[:, None]) / std[:, None]


def _filled(values: Array, panel: int) -> Array:
    """Rows with zeros at their ends, up to a multiple of a panel."""
    missing = -values.shape[-1] % panel
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def _panels(weight: Array, panel: int) -> Array:
    """From (out, in) to (panels, in, panel)."""
    filled = _filled(weight.T, panel)  # (in, out)
    return filled.reshape(len(filled), -1, panel).transpose(1, 0, 2)


def _by_head(values: Array, config: EncoderConfig, panel: int) -> Array:
    """Fill up each head's share of the first axis, (D, ...) to (heads * filled, ...)."""
    heads = config.num_attention_heads
    own = values.reshape(heads, -1, *values.shape[1:])
    missing = -own.shape[1] % panel
    filled = np.pad(own, [(0, 0), (0, missing)] + [(0, 0)] * (own.ndim - 2))
    return filled.reshape(-1, *values.shape[1:])
