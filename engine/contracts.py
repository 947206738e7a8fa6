"""What the engine needs of a gallery and of a recorder; the index room fulfils both."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .files.found import FoundFile
from .results import FileResult


class Reference(Protocol):
    """One labelled embedding of a gallery."""

    @property
    def id(self) -> str:
        """``GALLERY:ORDINAL``."""

    @property
    def label(self) -> str:
        """``real`` or ``fake``."""

    @property
    def generator(self) -> str:
        """What made a fake; empty where unknown."""

    @property
    def source(self) -> str:
        """The collection that it comes from; empty where unknown."""

    @property
    def trained(self) -> bool:
        """Whether the encoder was trained on images of the source."""

    @property
    def compared(self) -> bool:
        """Whether queries are compared with it; others calibrate alone."""


class Gallery(Protocol):
    """Labelled embeddings that can be searched, each class on its own."""

    @property
    def encoder_sha256(self) -> str:
        """Identity of the encoder that made the embeddings."""

    @property
    def preprocessing(self) -> str:
        """Identity of the steps before the encoder."""

    def search(
        self, label: str, vectors: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest references of one class. Thread-safe.

        Args:
            label: ``real`` or ``fake``.
            vectors: Array of shape (Q, D), float32, any length but zero.
            k: Neighbours wanted.

        Returns:
            Keys, shape (Q, k), -1 where the class has fewer references; and cosines, shape (Q, k),
            in falling order, ties by key, -inf where there is none. A row depends on its own
            query alone, not on the others in the call.
        """

    def describe(self, keys: Sequence[int]) -> Mapping[int, Reference]:
        """Look up references by their keys."""


class Content(Protocol):
    """What is known of some bytes: facts, and an embedding or why there is none."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest."""

    @property
    def bytes(self) -> int:
        """Size."""

    @property
    def format(self) -> str | None:
        """Pillow's name of the format."""

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
        """The decoder's own words behind the reason."""

    @property
    def vector(self) -> NDArray[np.float32] | None:
        """The embedding of the centre crop, shape (D,)."""

    @property
    def views(self) -> NDArray[np.float32] | None:
        """Embeddings of what the plan of views adds, shape (V - 1, D); None where nothing."""

    @property
    def precision(self) -> str | None:
        """Arithmetic that gave the embedding."""

    @property
    def frame(self) -> int:
        """Which picture of the bytes, from 1."""

    @property
    def frames(self) -> int | None:
        """How many pictures they hold; None where that is not known."""


class Store(Protocol):
    """Memory of files and contents, so that nothing is read or embedded twice."""

    def known_file(self, file: FoundFile) -> Content | None:
        """What is known of a file that has not changed (path, size, mtime, inode), if anything.

        Content without an embedding by the current encoder, and without a reason, is not known.
        """

    def known_content(self, sha256: str, frame: int = 1) -> Content | None:
        """What is known of some bytes, or of a further frame, under the same condition."""


class Recorder(Store, Protocol):
    """A store that takes the results of one scan."""

    def first_path(self, sha256: str, frame: int = 1) -> str | None:
        """The first recorded path of this scan with these bytes, or with this frame of them."""

    def record(self, rows: Sequence[tuple[FoundFile | None, Content | None, FileResult]]) -> None:
        """Store results and what was learnt of their contents, in one durable transaction.

        Rows without a file were made from stored vectors: nothing is learnt from them.
        """
