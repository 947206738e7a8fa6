"""What images there are: each one's place, class, generator, source and record, as columns.

Columns rather than objects: the published set has 11.5 million images, and every worker process
holds the catalogue.
"""

import hashlib
import io
import json
import os
from array import array
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..engine.quiet import quiet_warnings

WHOLE_FILE = -1
"""Offset of an image that is a file of its own rather than a member of a shard."""

RECONSTRUCTION = "reconstruction:"
"""Prefix of the generator's name of fakes that an autoencoder made from a real."""

MAX_BYTES = 256 << 20
MAX_PIXELS = 120_000_000


class Label(IntEnum):
    """Class of an image, numbered as in the published gallery."""

    REAL = 0
    FAKE = 1


@dataclass(frozen=True, slots=True)
class Catalogue:
    """N images. Images of the same record show the same scene: a real one and its fakes.

    Attributes:
        containers: Image files or tar shards.
        container: Index into ``containers``, (N,) int32.
        offset: Byte offset inside the shard, (N,) int64; -1 where the container is the image.
        size: Length in bytes, (N,) int64.
        label: :class:`Label`, (N,) int8.
        generators: Names of generators; reals have the name ''.
        generator: Index into ``generators``, (N,) int32.
        sources: Names of sources: where images were collected.
        source: Index into ``sources``, (N,) int32.
        record: Number of the record, (N,) int32.
        digest: SHA-256 over every image's name, size, class, generator, source and record; not
            over pixels.
    """

    containers: tuple[str, ...]
    container: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    label: NDArray[np.int8]
    generators: tuple[str, ...]
    generator: NDArray[np.int32]
    sources: tuple[str, ...]
    source: NDArray[np.int32]
    record: NDArray[np.int32]
    digest: str

    def __len__(self) -> int:
        return len(self.label)

    def where(self, label: Label) -> NDArray[np.int64]:
        """Numbers of the images of a class."""
        return np.flatnonzero(self.label == label)

    def reconstructed(self) -> NDArray[np.bool_]:
        """Which images an autoencoder made from a real, (N,) bool."""
        flags = np.array([g.startswith(RECONSTRUCTION) for g in self.generators], dtype=bool)
        return flags[self.generator] if len(self) else np.zeros(0, dtype=bool)

    def describe(self, number: int) -> str:
        """Where an image lies, for people."""
        place = self.containers[self.container[number]]
        offset = int(self.offset[number])
        return place if offset == WHOLE_FILE else f"{place} at byte {offset}"

    def read(self, number: int) -> bytes:
        """Read an image's bytes.

        Raises:
            OSError: The file cannot be read, is cut off, or is too large.
        """
        path = Path(self.containers[self.container[number]])
        offset, size = int(self.offset[number]), int(self.size[number])
        if size > MAX_BYTES:
            raise OSError(f"{size} bytes, more than {MAX_BYTES}")
        with path.open("rb") as file:
            if offset == WHOLE_FILE:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_BYTES:
                    raise OSError(f"{size} bytes, more than {MAX_BYTES}")
                return file.read(size)
            file.seek(offset)
            data = file.read(size)
        if len(data) != size:
            raise OSError("the shard is cut off")
        return data

    def extended(self, other: "Catalogue", records: NDArray[np.int32]) -> "Catalogue":
        """Append the images of another catalogue, under the given record numbers of this one."""
        containers, container = _joined(self.containers, other.containers)
        generators, generator = _joined(self.generators, other.generators)
        sources, source = _joined(self.sources, other.sources)
        return Catalogue(
            containers, np.concatenate((self.container, container[other.container])),
            np.concatenate((self.offset, other.offset)), np.concatenate((self.size, other.size)),
            np.concatenate((self.label, other.label)),
            generators, np.concatenate((self.generator, generator[other.generator])),
            sources, np.concatenate((self.source, source[other.source])),
            np.concatenate((self.record, records)),
            hashlib.sha256((self.digest + other.digest).encode()).hexdigest(),
        )  # fmt: skip


def _joined(
    names: tuple[str, ...], more: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Names and more of them, each once; and which number each of the latter has then."""
    numbers = {name: number for number, name in enumerate(names)}
    moved = [numbers.setdefault(name, len(numbers)) for name in more]
    return tuple(numbers), np.array(moved, dtype=np.int32)


@dataclass(slots=True)
class CatalogueBuilder:
    """Collects images into a :class:`Catalogue`."""

    _names: tuple[dict[str, int], dict[str, int], dict[str, int]] = field(
        default_factory=lambda: ({}, {}, {})
    )
    _columns: tuple["array[int]", ...] = field(
        default_factory=lambda: tuple(array("q") for _ in range(7))
    )
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(
        self,
        container: str,
        label: Label,
        *,
        generator: str,
        source: str,
        record: int,
        size: int,
        offset: int = WHOLE_FILE,
        name: str = "",
    ) -> None:
        """Add an image; ``name`` is what the digest knows it by (default: the file's name)."""
        known = (name or Path(container).name, size, int(label), generator, source, record)
        self._digest.update(json.dumps(known).encode())
        numbers = [
            names.setdefault(text, len(names))
            for names, text in zip(self._names, (container, generator, source), strict=True)
        ]
        row = (numbers[0], offset, size, int(label), numbers[1], numbers[2], record)
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def build(self) -> Catalogue:
        """Freeze what was added."""
        container, offset, size, label, generator, source, record = (
            np.frombuffer(column, dtype=np.int64) if column else np.zeros(0, np.int64)
            for column in self._columns
        )
        containers, generators, sources = (tuple(names) for names in self._names)
        return Catalogue(
            containers, container.astype(np.int32), offset.copy(), size.copy(),
            label.astype(np.int8), generators, generator.astype(np.int32),
            sources, source.astype(np.int32), record.astype(np.int32), self._digest.hexdigest(),
        )  # fmt: skip


def decode(data: bytes) -> Image.Image:
    """Decode an image to RGB as the published pipeline does: no EXIF rotation, alpha dropped.

    Raises:
        OSError: It is no image, is damaged, or is too large.
    """
    try:
        with quiet_warnings():  # Pillow's remarks on odd but readable metadata
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise OSError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
            return image.convert("RGB")
    except OSError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged files
        raise OSError(f"{type(error).__name__}: {error}") from error
