"""Embed crops on the CPU in float32 without PyTorch, by a forward pass of our own in C.

It computes each number as PyTorch does on the same processor, with AVX2 or with AVX-512, so that
published vectors are met to the bit, multiplies faster than the libraries behind PyTorch do with
matrices of this size, and spares importing PyTorch, which takes longer than a scan of a few files
(``python -m tests.benchmarks.runtimes``).
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
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
    """The pass for the widest vectors that this processor computes with; None where there is none.

    What rounds as PyTorch does here comes first, so that nothing else embeds where one does.
    """
    found = []
    for name in ("vit_pass_avx512", "vit_pass"):
        try:
            compiled = importlib.import_module(f"{__package__}.{name}")
        except ImportError:  # installed where there was no compiler, or none that knows its vectors
            continue
        if compiled.RUNS:
            found.append(compiled)
    return next((compiled for compiled in found if compiled.AGREES), found[0] if found else None)


_pass = _compiled()


def can_embed() -> bool:
    """Whether a pass was compiled that this processor can run."""
    return _pass is not None


def should_embed() -> bool:
    """Whether it is what scans embed by here: where it is known to round as PyTorch does."""
    return _pass is not None and bool(_pass.AGREES)


class NativeEmbedder:
    """An encoder that is ready to embed, in float32 on the CPU.

    A call embeds its crops one by one in the calling thread, without Python's lock; several threads
    that call at once share the cores. An image's vector is the same in any company, to the bit.
    Calls are thread-safe.

    Attributes:
        sha256: Identity of the encoder.
        dimension: Length D of an embedding.
        batch: Crops that one call takes best.
        fewest: Crops below which a call takes as long.
        device: Where it runs.
        precision: ``float32``.
        backend: Which code embeds, for run records.
    """

    batch = BATCH
    fewest = 1
    device: Place = "cpu"
    precision = "float32"
    backend = f"vit_pass {VERSION} {_pass.KIND if _pass else ''}"

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read and arrange the weights.

        Raises:
            CheckpointError: The files are damaged or do not describe a CoDE encoder.
        """
        config = parse_config(checkpoint.config, checkpoint.origin)
        tensors = read_tensors(checkpoint, config)
        assert _pass is not None, "there is no compiled pass: ask can_embed() first"
        self._pass = _pass
        self._weights = pack(tensors, config, _pass.PANEL)
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
        vectors = np.empty((len(crops), self.dimension), np.float32)
        crops = np.ascontiguousarray(crops)
        self._pass.embed(*self._sizes, self._weights, crops, vectors)
        return vectors


def pack(tensors: Tensors, config: EncoderConfig, panel: int) -> Array:
    """Arrange an encoder's weights in the order in which the pass reads them.

    Every width is filled up with zeros to a multiple of a panel, that of each head by itself.

    Args:
        tensors: From :func:`~.tensors.read_tensors`.
        config: The sizes.
        panel: Columns of the weights that are multiplied together, the pass's ``PANEL``.

    Returns:
        One array that begins at a multiple of 64 bytes.
    """
    parts = [part.ravel() for part in _Packing(tensors, config, panel).parts()]
    size = sum(part.size for part in parts)
    room = np.empty(size + _ALIGNMENT // _FLOAT, np.float32)
    first = -room.ctypes.data % _ALIGNMENT // _FLOAT
    packed = room[first : first + size]
    np.concatenate(parts, out=packed)
    return packed


@dataclass(frozen=True, slots=True)
class _Packing:
    """What :func:`pack` is told."""

    tensors: Tensors
    config: EncoderConfig
    panel: int

    def parts(self) -> Iterator[Array]:
        """The weights, part by part."""
        tensors, width = self.tensors, self.config.hidden_size
        yield _normalised_levels()
        projection = "embeddings.patch_embeddings.projection"
        weight = tensors[f"{projection}.weight"]  # (D, 3, 16, 16), multiplied channels last
        weight = weight.transpose(0, 2, 3, 1).reshape(width, -1)
        yield from self._linear(weight, tensors[f"{projection}.bias"])
        positions = tensors["embeddings.position_embeddings"][0].copy()
        positions[0] += tensors["embeddings.cls_token"][0, 0]
        yield self._filled(positions)
        for layer in range(self.config.num_hidden_layers):
            yield from self._layer(f"encoder.layer.{layer}")
        yield from self._norm("layernorm")
        if PROJECTION in tensors:
            yield self._panels(tensors[PROJECTION])

    def _layer(self, base: str) -> Iterator[Array]:
        weights, biases = (
            [
                self._by_head(self.tensors[f"{base}.attention.attention.{name}.{kind}"])
                for name in QKV
            ]
            for kind in ("weight", "bias")
        )
        yield from self._norm(f"{base}.layernorm_before")
        yield from self._linear(np.concatenate(weights), np.concatenate(biases))
        out = f"{base}.attention.output.dense"
        taken = self._by_head(self.tensors[f"{out}.weight"].T).T
        yield from self._linear(taken, self.tensors[f"{out}.bias"])
        yield from self._norm(f"{base}.layernorm_after")
        for name in ("intermediate", "output"):
            weight, bias = (self.tensors[f"{base}.{name}.dense.{k}"] for k in ("weight", "bias"))
            yield from self._linear(weight, bias)

    def _linear(self, weight: Array, bias: Array) -> Iterator[Array]:
        yield self._panels(weight)
        yield self._filled(bias)

    def _norm(self, name: str) -> Iterator[Array]:
        yield self._filled(self.tensors[f"{name}.weight"])
        yield self._filled(self.tensors[f"{name}.bias"])

    def _filled(self, values: Array) -> Array:
        """Rows with zeros at their ends, up to a multiple of a panel."""
        missing = -values.shape[-1] % self.panel
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])

    def _panels(self, weight: Array) -> Array:
        """From (out, in) to (panels, in, panel)."""
        filled = self._filled(weight.T)  # (in, out)
        return filled.reshape(len(filled), -1, self.panel).transpose(1, 0, 2)

    def _by_head(self, values: Array) -> Array:
        """Fill up each head's share of the first axis, (D, ...) to (heads * filled, ...)."""
        own = values.reshape(self.config.num_attention_heads, -1, *values.shape[1:])
        missing = -own.shape[1] % self.panel
        filled = np.pad(own, [(0, 0), (0, missing)] + [(0, 0)] * (own.ndim - 2))
        return filled.reshape(-1, *values.shape[1:])


def _normalised_levels() -> Array:
    """What the published pipeline makes of each level of each channel, to the bit, (3, 256)."""
    levels = np.arange(_LEVELS, dtype=np.float32) / np.float32(_LEVELS - 1)
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    return (levels - mean[:, None]) / std[:, None]
