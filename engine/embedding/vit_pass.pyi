"""An encoder's forward pass in float32, in C; missing where it could not be compiled."""

from typing import Protocol

class _Numbers(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...

def panels() -> dict[str, int]:
    """The vector units that this processor has and the pass is written for, the fastest first.

    Returns:
        Name of each, ``avx512`` or ``avx2``, and how many columns a panel of weights has for it;
        empty where there is none.
    """

def embed(
    unit: str,
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
        unit: One of :func:`panels`.
        width: Of the tokens, D.
        hidden: Of the perceptrons.
        layers: How many blocks.
        heads: Of the attention; D is a multiple of it.
        eps: Of the normalisations.
        projected: Whether a projection follows the last one.
        weights: float32, beginning at a multiple of 64 bytes, as
            :func:`~code_forensics.engine.embedding.embed_native.pack` orders them for the unit.
        crops: (n, 224, 224, 3), uint8, contiguous.
        vectors: (n, D), float32, contiguous: filled.

    Raises:
        TypeError: An argument is of another type, or cannot be written where it is filled.
        ValueError: An argument is out of range, or not contiguous, or not of the size or alignment
            that it has to have.
        MemoryError: There is no room to compute in.
    """
