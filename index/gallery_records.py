"""What galleries are made of: identities, references, and groups of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LABELS = ("real", "fake")


@dataclass(frozen=True, slots=True)
class NewReference:
    """A reference to be added.

    Attributes:
        label: ``real`` or ``fake``.
        generator: What made a fake; empty where unknown.
        source: The collection that it comes from; empty where unknown.
        vector: Embedding, shape (D,), float32, finite and not zero.
        path: The file, where there is one.
        sha256: Of the file.
        trained: Whether the encoder was trained on images of the source.
        compared: Whether queries are compared with it; others calibrate alone.
    """

    label: str
    generator: str
    source: str
    vector: NDArray[np.float32]
    path: str | None = None
    sha256: str | None = None
    trained: bool = False
    compared: bool = True


@dataclass(frozen=True, slots=True)
class StoredReference:
    """A reference as it stands in a gallery; see :class:`NewReference`."""

    id: str
    label: str
    generator: str
    source: str
    path: str | None
    sha256: str | None
    trained: bool
    compared: bool


@dataclass(frozen=True, slots=True)
class GalleryInfo:
    """A gallery's identity and contents.

    Attributes:
        key: The database's key.
        name: As the user calls it.
        generation: Number of changes so far.
        sha256: Over encoder, preprocessing and every reference in force.
        encoder_sha256: Identity of the encoder.
        encoder_origin: Where the encoder came from.
        dimension: Length of a vector.
        preprocessing: Identity of the steps before the encoder.
        reals: References labelled real that queries are compared with.
        fakes: The same of those labelled fake.
        created: ISO 8601, UTC.
    """

    key: int
    name: str
    generation: int
    sha256: str
    encoder_sha256: str
    encoder_origin: str
    dimension: int
    preprocessing: str
    reals: int
    fakes: int
    created: str


@dataclass(frozen=True, slots=True)
class ScannedReference:
    """A file of a scan on record that the gallery holds.

    Attributes:
        path: As it was scanned.
        sha256: Of its content.
        similarity: Largest cosine to a reference of this gallery; None where only other
            galleries met it.
    """

    path: str
    sha256: str
    similarity: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """References that share label, generator and source, and how many they are."""

    label: str
    generator: str
    source: str
    count: int


def reference_id(gallery: str, ordinal: int) -> str:
    """The id that people see."""
    return f"{gallery}:{ordinal}"
