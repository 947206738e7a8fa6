"""Embed crops on the CPU in float32 without PyTorch, by a forward pass of our own in C.

It computes each number as PyTorch does on a processor with AVX2, so that published vectors are met
to the bit there, multiplies faster than the libraries behind PyTorch do with matrices of this size,
and spares importing PyTorch, which takes longer than a scan of a few files
(``python -m tests.benchmarks.runtimes``).
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

_PANEL = 16
"""Columns of the weights that are multiplied together, as in ``vit_pass.c``."""

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


def can_embed() -> bool:
    """Whether the pass was compiled, and this processor can run it."""
    return _pass is not None and _pass.unit() != ""


def should_embed() -> bool:
    """Whether it is what scans embed by here.

    With AVX-512 PyTorch sums in another order, and multiplies twice as many numbers at once.
    """
    return _pass is not None and _pass.unit() == "avx2"


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
    backend = f"vit_pass {VERSION}"

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read and arrange the weights.

        Raises:
            CheckpointError: The files are damaged or do not describe a CoDE encoder.
        """
        config = parse_config(checkpoint.config, checkpoint.origin)
        tensors = read_tensors(checkpoint, config)
        self._weights = pack(tensors, config)
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

    @property
    def arithmetic(self) -> str:
        """What the vectors' rounding depends on beside the weights, in words."""
        return f"{self.precision}; {self.backend}"

    def load(self) -> None:
        """Nothing to do: it is loaded."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed crops, (n, 224, 224, 3) uint8, to (n, D) float32; thread-safe."""
        assert _pass is not None, "there is no compiled pass: ask can_embed() first"
        vectors = np.empty((len(crops), self.dimension), np.float32)
        crops = np.ascontiguousarray(crops)
        _pass.embed(*self._sizes, self._weights, crops, vectors)
        return vectors


def pack(tensors: Tensors, config: EncoderConfig) -> Array:
    """Arrange an encoder's weights in the order in which the pass reads them.

    Every width is filled up with zeros to a multiple of a panel, that of each head by itself.

    Args:
        tensors: From :func:`~.tensors.read_tensors`.
        config: The sizes.

    Returns:
        One array that begins at a multiple of 64 bytes.
    """
    parts = [part.ravel() for part in _ordered(tensors, config)]
    size = sum(part.size for part in parts)
    room = np.empty(size + _ALIGNMENT // _FLOAT, np.float32)
    first = -room.ctypes.data % _ALIGNMENT // _FLOAT
    packed = room[first : first + size]
    np.concatenate(parts, out=packed)
    return packed


def _ordered(tensors: Tensors, config: EncoderConfig) -> Iterator[Array]:
    """The weights, part by part."""

    def linear(weight: Array, bias: Array) -> Iterator[Array]:
        yield _panels(weight)
        yield _filled(bias)

    def named(name: str) -> Iterator[Array]:
        return linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str) -> Iterator[Array]:
        yield _filled(tensors[f"{name}.weight"])
        yield _filled(tensors[f"{name}.bias"])

    yield _normalised_levels()
    projection = "embeddings.patch_embeddings.projection"
    weight = tensors[f"{projection}.weight"]  # (D, 3, 16, 16), multiplied channels last
    weight = weight.transpose(0, 2, 3, 1).reshape(config.hidden_size, -1)
    yield from linear(weight, tensors[f"{projection}.bias"])
    positions = tensors["embeddings.position_embeddings"][0].copy()
    positions[0] += tensors["embeddings.cls_token"][0, 0]
    yield _filled(positions)
    for layer in range(config.num_hidden_layers):
        base = f"encoder.layer.{layer}"
        heads = [
            [_by_head(tensors[f"{base}.attention.attention.{name}.{kind}"], config) for name in QKV]
            for kind in ("weight", "bias")
        ]
        yield from norm(f"{base}.layernorm_before")
        yield from linear(np.concatenate(heads[0]), np.concatenate(heads[1]))
        out = f"{base}.attention.output.dense"
        taken = _by_head(tensors[f"{out}.weight"].T, config).T
        yield from linear(taken, tensors[f"{out}.bias"])
        yield from norm(f"{base}.layernorm_after")
        yield from named(f"{base}.intermediate.dense")
        yield from named(f"{base}.output.dense")
    yield from norm("layernorm")
    if PROJECTION in tensors:
        yield _panels(tensors[PROJECTION])


def _normalised_levels() -> Array:
    """What the published pipeline makes of each level of each channel, to the bit, (3, 256)."""
    levels = np.arange(_LEVELS, dtype=np.float32) / np.float32(_LEVELS - 1)
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    return (levels - mean[:, None]) / std[:, None]


def _filled(values: Array) -> Array:
    """Rows with zeros at their ends, up to a multiple of a panel."""
    missing = -values.shape[-1] % _PANEL
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])


def _panels(weight: Array) -> Array:
    """From (out, in) to (panels, in, panel)."""
    filled = _filled(weight.T)  # (in, out)
    return filled.reshape(len(filled), -1, _PANEL).transpose(1, 0, 2)


def _by_head(values: Array, config: EncoderConfig) -> Array:
    """Fill up each head's share of the first axis, (D, ...) to (heads * filled, ...)."""
    heads = config.num_attention_heads
    own = values.reshape(heads, -1, *values.shape[1:])
    missing = -own.shape[1] % _PANEL
    filled = np.pad(own, [(0, 0), (0, missing)] + [(0, 0)] * (own.ndim - 2))
    return filled.reshape(-1, *values.shape[1:])
