"""What is known of files and of contents, and how much of it a run may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class FileIdentity(Protocol):
    """A file as discovered, as far as it tells whether it has changed."""

    @property
    def path(self) -> str:
        """As found."""

    @property
    def bytes(self) -> int | None:
        """Size."""

    @property
    def mtime_ns(self) -> int:
        """Modification time."""

    @property
    def inode(self) -> int:
        """Inode number."""

    @property
    def device(self) -> int:
        """Device number."""

    @property
    def container(self) -> str | None:
        """The file on disk that it lies in, where it is not one itself."""


@dataclass(frozen=True, slots=True)
class KnownContent:
    """What the workspace knows of some bytes."""

    sha256: str
    bytes: int
    format: str | None
    width: int | None
    height: int | None
    decoder: str | None
    provenance: Mapping[str, Any]
    reason: str | None
    detail: str | None
    vector: NDArray[np.float32] | None
    precision: str | None
    views: NDArray[np.float32] | None
    frame: int
    frames: int | None


class ContentLike(Protocol):
    """What a scan learnt of some bytes."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""

    @property
    def bytes(self) -> int:
        """Size."""

    @property
    def format(self) -> str | None:
        """Name of the format."""

    @property
    def width(self) -> int | None:
        """In pixels."""

    @property
    def height(self) -> int | None:
        """In pixels."""

    @property
    def decoder(self) -> str | None:
        """What decoded it."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the bytes say of their origin."""

    @property
    def reason(self) -> str | None:
        """Why there is no embedding."""

    @property
    def detail(self) -> str | None:
        """The words behind the reason."""

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """Embedding, shape (D,)."""

    @property
    def precision(self) -> str | None:
        """Arithmetic that gave it."""

    @property
    def views(self) -> NDArray[np.float32] | None:
        """Embeddings of further views, shape (V - 1, D)."""

    @property
    def frame(self) -> int:
        """Which picture of the bytes, from 1."""

    @property
    def frames(self) -> int | None:
        """How many pictures they hold."""


ANY_PRECISION = ("float32", "bfloat16", "float16")
"""For whom a stored vector will do however it was computed."""


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of what is known a run wants to use.

    Attributes:
        rehash: Read files again even if they look unchanged.
        retry_failed: Try contents again that could not be decoded.
        reembed: Embed contents again that are embedded.
        precisions: Of the stored vectors that will do; others are embedded again.
    """

    rehash: bool = False
    retry_failed: bool = False
    reembed: bool = False
    precisions: tuple[str, ...] = ("float32",)

    def accepts(self, precision: str) -> bool:
        """Whether a stored vector of this precision will do."""
        return not self.reembed and precision in self.precisions
