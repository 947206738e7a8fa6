"""Geometry of the centre crop: which part of an image is read, and where it lies in the square."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CropBox:
    """The part of an image that the crop reads, and its place in the square, in pixels.

    Attributes:
        left: First column that is read.
        top: First row that is read.
        width: Columns that are read, 1 to ``size``.
        height: Rows that are read, 1 to ``size``.
        x: Column of the square where ``left`` comes to lie; above 0 only for a narrower image.
        y: Row of the square where ``top`` comes to lie; above 0 only for a lower image.
        size: Side of the square.
    """

    left: int
    top: int
    width: int
    height: int
    x: int
    y: int
    size: int

    @property
    def right(self) -> int:
        """First column behind the part that is read."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below the part that is read."""
        return self.top + self.height

    @property
    def fills(self) -> bool:
        """Whether the part covers the whole square, so that nothing is padded."""
        return self.width == self.size and self.height == self.size


def centre_crop(width: int, height: int, size: int = 224) -> CropBox:
    """Place the centre crop of CoDE's published inference, torchvision's ``CenterCrop``.

    A longer side is cut at ``int(round((side - size) / 2.0))``, with Python's rounding of halves to
    even; a shorter side is padded, the floor of half the lack at its left or top.

    Args:
        width: Width of the image, at least 1 pixel.
        height: Height of the image, at least 1 pixel.
        size: Side of the square, at least 1 pixel.

    Raises:
        ValueError: A length is below 1.
    """
    if min(width, height, size) < 1:
        raise ValueError(f"no centre crop of {size} from {width} x {height} pixels")
    left, across, x = _along(width, size)
    top, down, y = _along(height, size)
    return CropBox(left, top, across, down, x, y, size)


def _along(side: int, size: int) -> tuple[int, int, int]:
    """First pixel, count and place along one side."""
    if side < size:
        return 0, side, (size - side) // 2
    return round((side - size) / 2), size, 0
