"""An encoder's forward pass in float32, in C; missing where it could not be compiled."""

from typing import Protocol

class _Numbers(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...

def unit() -> str:
    """The widest vector unit of this processor that matters here.

    Returns:
        ``avx2``; ``avx512``, which runs what is for ``avx2``, too; or the empty string.
    """

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
            that it has to have, or the processor has no AVX2.
        MemoryError: There is no room to compute in.
    """
