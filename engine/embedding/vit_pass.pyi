"""An encoder's forward pass in float32, in C, for AVX2; missing where it could not be compiled.

``vit_pass_avx512`` is the same for AVX-512.
"""

from typing import Final, Protocol

class _Numbers(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...

PANEL: Final[int]
"""Columns of the weights that are multiplied together."""

KIND: Final[str]
"""As which processors it rounds: ``amd-avx2``, ``amd-avx512``, ``intel-avx2``, ``intel-avx512``."""

RUNS: Final[bool]
"""Whether this processor can run the pass."""

AGREES: Final[bool]
"""Whether PyTorch computes with such vectors here, too, and is known to round as the pass does."""

def embed(
    width: int,
    hidden: int,
    layers: int,
    heads: int,
    eps: float,
    projected: bool,
    weights: _Numbers,
    crops: _Numbers,
    vectors: _Numbers,
    /,
) -> None:
    """Embed crops, one after the other, in the calling thread; others run meanwhile.

    Args:
        width: Of the tokens, D.
        hidden: Of the perceptrons.
        layers: How many blocks.
        heads: Of the attention; D is a multiple of it.
        eps: Of the normalisations.
        projected: Whether a projection follows the last one.
        weights: float32, beginning at a multiple of 64 bytes, as
            :func:`~code_forensics.engine.embedding.embed_native.pack` orders them.
        crops: (n, 224, 224, 3), uint8, contiguous.
        vectors: (n, D), float32, contiguous: filled.

    Raises:
        TypeError: An argument is of another type, or cannot be written where it is filled.
        ValueError: An argument is out of range, or not contiguous, or not of the size or alignment
            that it has to have, or the processor cannot run the pass.
        MemoryError: There is no room to compute in.
    """
