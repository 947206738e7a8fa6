"""Makes the photo sets of the benchmarks: drawn scenes whose JPEGs weigh what phones' do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGE = (4000, 3000)
SMALL = (512, 512)
MIDDLE = (1024, 1024)
GRAIN = 10
"""Levels that a sensor's noise moves a pixel by at most; weighs most in a JPEG of quality 92."""

SCENES = 3
"""Large scenes that photos are parts of: drawing one takes longer than encoding ten photos."""


def scene(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Draw a scene: noise of every scale, falling as in photographs, shapes, light, and grain.

    Args:
        size: Width and height in pixels.
        seed: Of numpy's default generator.

    Returns:
        Array of shape (height, width, 3), uint8.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    # Amplitude falls with the scale, as in the 1/f spectrum of natural images; what is coarse is
    # drawn at an eighth of the size and enlarged once.
    eighth = (width // 8 + 1, height // 8 + 1)
    coarse = sum(_noise(rng, eighth, cell) * (cell / 128) ** 0.5 for cell in (128, 64, 32, 16, 8))
    levels = np.clip(coarse * 0.8 + 128.0, 0, 255).astype(np.uint8)
    enlarged = Image.fromarray(levels).resize((eighth[0] * 8, eighth[1] * 8))
    total = np.asarray(enlarged, np.float32)[:height, :width] - 8.0
    for cell in (16, 8, 4, 2):
        total += _noise(rng, size, cell) * (0.6 * (cell / 1024) ** 0.5)
    for _ in range(24):  # objects: discs with an edge and a colour of their own
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        radius = int(rng.uniform(0.03, 0.15) * width)
        box = total[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius]
        rows, columns = np.ogrid[: box.shape[0], : box.shape[1]]
        rows, columns = rows + max(y - radius, 0) - y, columns + max(x - radius, 0) - x
        box += (rows**2 + columns**2 < radius**2)[..., None] * rng.uniform(-70, 70, 3)
    total += rng.integers(-GRAIN, GRAIN + 1, (height, width, 1), dtype=np.int8)
    drawn: NDArray[np.uint8] = np.clip(total, 0, 255).astype(np.uint8)
    return drawn


def _noise(rng: np.random.Generator, size: tuple[int, int], cell: int) -> NDArray[np.float32]:
    """Smooth noise, (height, width, 3) in [-128, 127], of one scale in pixels."""
    grid = (size[1] // cell + 2, size[0] // cell + 2, 3)
    points = Image.fromarray(rng.integers(0, 256, grid, dtype=np.uint8))
    return np.asarray(points.resize(size, Image.Resampling.BICUBIC), np.float32) - 128.0


@dataclass(frozen=True, slots=True)
class Photo:
    """A part of a scene under its own light, drawn when it is called.

    Attributes:
        part: Of the scene, (height, width, 3), uint8.
        light: New level for each old one, shape (256,), uint8.
    """

    part: NDArray[np.uint8]
    light: NDArray[np.uint8]

    def __call__(self) -> Image.Image:
        """Draw it."""
        return Image.fromarray(self.light[self.part])


def draw(size: tuple[int, int], count: int, seed: int) -> Iterator[Photo]:
    """Photos, each another part of a few scenes, mirrored or not, darker or brighter."""
    width, height = size
    room = max(width // 8, 128)
    scenes = [scene((width + room, height + room), seed + n) for n in range(min(SCENES, count))]
    rng = np.random.default_rng(seed)
    for number in range(count):
        x, y = (int(v) for v in rng.integers(0, room, 2))
        part = scenes[number % len(scenes)][y : y + height, x : x + width]
        gain, lift = rng.uniform(0.5, 1.2), rng.uniform(-30, 30)
        light = np.clip(np.arange(256) * gain + lift, 0, 255).astype(np.uint8)
        yield Photo(part[:, ::-1] if rng.random() < 0.5 else part, light)


def jpegs(folder: Path, size: tuple[int, int], count: int, seed: int, quality: int) -> Path:
    """A folder of JPEGs, 4:2:0 as phones write them; what is there already is kept."""
    return _save(folder, draw(size, count, seed), ".jpg", {"quality": quality, "subsampling": 2})


def pngs(folder: Path, size: tuple[int, int], count: int, seed: int) -> Path:
    """A folder of PNGs."""
    return _save(folder, draw(size, count, seed), ".png", {"compress_level": 6})


def mixed(folder: Path, count: int, seed: int) -> Path:
    """A folder of what a disk holds: large and small JPEG, PNG, WebP."""
    share = max(count // 4, 1)
    jpegs(folder / "phone", LARGE, share, seed, 92)
    jpegs(folder / "web", SMALL, share, seed + 10, 85)
    pngs(folder / "png", MIDDLE, share, seed + 20)
    _save(folder / "webp", draw(MIDDLE, share, seed + 30), ".webp", {"quality": 80, "method": 1})
    return folder


def _save(
    folder: Path,
    photos: Iterator[Photo],
    suffix: str,
    options: dict[str, int],
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)

    def write(numbered: tuple[int, Photo]) -> None:
        number, photo = numbered
        file = folder / f"{number:05d}{suffix}"
        if not file.exists():
            photo().save(file, **options)

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(write, enumerate(photos)):
            pass
    return folder
