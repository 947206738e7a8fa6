"""Which parts of a picture are embedded beside its middle: further crops, and harmless changes.

All are native pixels, as the published inference takes them; nothing is scaled but by the probe's
own change. The centre crop is always the first view, so that what several crops add can be seen.
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from .crop import CropBox, centre_crop
from .layout import Crops

SIZE = 224
"""Side of a view in pixels."""

MOST_A_SIDE = {Crops.FIVE: 2, Crops.SIXTEEN: 4, Crops.GRID: 6}
"""Crops along one side, at most; the middle comes on top."""

REACH = 304
"""Side of the middle that the changes are made from: 304 * 0.75 = 228, and room to shift."""

SHIFT = 8
"""Pixels to the right and down by which the probe moves the crop: a JPEG block."""

CHANGES = ("jpeg_75", "jpeg_90", "resize_075", "shift_8")
"""Names of the probe's changes, in their order."""

Pixels = NDArray[np.uint8]
Read = Callable[[CropBox], Pixels]
"""Gives the pixels of a part of the picture, shape (height, width, 3), RGB."""


@dataclass(frozen=True, slots=True)
class CropPlace:
    """Where a crop lies in the picture as stored: left and top in pixels, and its side."""

    left: int
    top: int
    size: int


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """Which views of a picture are embedded.

    Attributes:
        crops: Which crops.
        probe: Whether the middle is embedded under harmless changes too.
    """

    crops: Crops = Crops.CENTER
    probe: bool = False

    @property
    def id(self) -> str:
        """Identity of what is done, beside the centre crop; empty where that is nothing."""
        parts = [f"{self.crops}/1"] if self.crops is not Crops.CENTER else []
        return "+".join([*parts, "probe/1"] if self.probe else parts)

    def record(self) -> dict[str, Any]:
        """For the run record, JSON-able."""
        return {"crops": str(self.crops), "probe": self.probe, "id": self.id}

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "ViewPlan":
        """From a run record's ``views``; one without it took the centre crop alone.

        Raises:
            InputError: It names views of another version.
        """
        if record is None:
            return cls()
        plan = cls(Crops(record["crops"]), bool(record["probe"]))
        if plan.id != record["id"]:
            raise InputError(
                f"the scan took views ({record['id']}) that this version takes otherwise",
                "use the version of code-forensics that its run record names",
            )
        return plan

    @property
    def most(self) -> int:
        """Views of one picture, at most."""
        return 1 + MOST_A_SIDE.get(self.crops, 0) ** 2 + len(self.changes)

    @property
    def changes(self) -> tuple[str, ...]:
        """Names of the changes, in the order of their views, behind the crops."""
        return CHANGES if self.probe else ()

    @property
    def reach(self) -> int | None:
        """Side of the middle that holds all that is needed; None where that is everything."""
        if self.crops is not Crops.CENTER:
            return None
        return REACH if self.probe else SIZE

    def boxes(self, width: int, height: int) -> list[CropBox]:
        """The crops of a picture, the centre first, each place once.

        Args:
            width: Of the picture, at least 1 pixel.
            height: Likewise.
        """
        centre = centre_crop(width, height, SIZE)
        if self.crops is Crops.CENTER:
            return [centre]
        most = MOST_A_SIDE[self.crops]
        boxes = [
            CropBox(left, top, centre.width, centre.height, centre.x, centre.y, SIZE)
            for top in _along(height, most)
            for left in _along(width, most)
        ]
        return [centre, *(box for box in boxes if box != centre)]

    def reads(self, width: int, height: int) -> list[CropBox]:
        """All parts that :meth:`cut` reads."""
        boxes = self.boxes(width, height)
        return [*boxes, centre_crop(width, height, REACH)] if self.probe else boxes

    def places(self, width: int, height: int) -> tuple[CropPlace, ...]:
        """Where the crops lie, the centre first; negative where a small picture is padded."""
        return tuple(
            CropPlace(box.left - box.x, box.top - box.y, box.size)
            for box in self.boxes(width, height)
        )

    def count(self, width: int, height: int) -> int:
        """Number of views of a picture."""
        return len(self.boxes(width, height)) + len(self.changes)

    def complete(self, width: int | None, height: int | None, views: int) -> bool:
        """Whether so many views are all of a picture's; not where its size is unknown."""
        return bool(width and height) and views == self.count(width or 0, height or 0)

    def cut(self, width: int, height: int, read: Read) -> Pixels:
        """Cut all views out of a picture.

        Args:
            width: Of the picture, in pixels.
            height: Likewise.
            read: Gives the pixels of a part.

        Returns:
            Array of shape (V, 224, 224, 3), uint8: the crops, then the changes.
        """
        views = [_padded(read(box), box) for box in self.boxes(width, height)]
        if self.probe:
            views += _changed(read(centre_crop(width, height, REACH)))
        return np.stack(views)


def _along(side: int, most: int) -> list[int]:
    """First pixels of crops that spread evenly along a side, from one end to the other."""
    room = side - SIZE
    if room <= 0:
        return [0]
    count = min(most, max(2, math.ceil(side / SIZE)))
    return [round(room * step / (count - 1)) for step in range(count)]


def _padded(pixels: Pixels, box: CropBox) -> Pixels:
    if box.fills:
        return np.ascontiguousarray(pixels)
    square = np.zeros((box.size, box.size, 3), np.uint8)
    square[box.y : box.y + box.height, box.x : box.x + box.width] = pixels
    return square


def _middle(pixels: Pixels) -> Pixels:
    """The centre crop of some pixels."""
    box = centre_crop(pixels.shape[1], pixels.shape[0], SIZE)
    return _padded(pixels[box.top : box.bottom, box.left : box.right], box)


def _changed(pixels: Pixels) -> list[Pixels]:
    """The middle of a picture under each of `CHANGES`; what is there, (h, w, 3), h, w <= 304."""
    image = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    smaller = image.resize(
        (max(1, round(width * 0.75)), max(1, round(height * 0.75))), Image.Resampling.BICUBIC
    )
    box = centre_crop(width, height, SIZE)
    left, top = (
        min(first + SHIFT, side - length)
        for first, side, length in ((box.left, width, box.width), (box.top, height, box.height))
    )
    return [
        *(_middle(_through_jpeg(image, quality)) for quality in (75, 90)),
        _middle(np.asarray(smaller)),
        _padded(pixels[top : top + box.height, left : left + box.width], box),
    ]


def _through_jpeg(image: Image.Image, quality: int) -> Pixels:
    """Compress by libjpeg's tables, with its usual halved chroma."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as decoded:
        return np.asarray(decoded.convert("RGB"))
