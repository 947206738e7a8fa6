"""All images in the device's memory, and views made of them there.

For small sets: a run is then limited by the encoder, and not by decoding and augmenting, and
where a device is slow (a CPU), small views and whole-batch arithmetic buy the most steps.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from numpy.typing import NDArray
from torch import Tensor

from ..engine.embedding.config import CROP
from .catalogue import Catalogue, Label, decode
from .config import TrainConfig
from .degrade import degrade, put, resize
from .distributed import Processes
from .draws import Fresh, GroupSampler, PairGroup
from .errors import DataError
from .loader import BadImage, Batch
from .reconstruct import Remake

_LOG = logging.getLogger(__name__)
_MARGIN = 16
"""Pixels around a view that are compressed with it, so that it starts anywhere in the grid."""

_BLOCK = 8  # of JPEG, and of what an autoencoder makes of one latent value
PATCH = 16  # of ViT-Tiny/16


@dataclass(frozen=True, slots=True)
class ResidentImages:
    """N images of at most S x S pixels.

    Attributes:
        numbers: Their numbers in the catalogue, ascending, (N,).
        pixels: (N, 3, S, S) uint8 on the device, interleaved; beyond an image's sides, zeros.
        sides: Height and width of each, (N, 2) int64.
        origins: Where each begins, in the coordinates of its scene: a real picture as it was
            decoded, which its reconstructions share; (N, 2) int64, row and column.
        bad: Images that could not be read.
    """

    numbers: NDArray[np.int64]
    pixels: Tensor
    sides: NDArray[np.int64]
    origins: NDArray[np.int64]
    bad: tuple[BadImage, ...]

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where images of the catalogue stand here."""
        return np.searchsorted(self.numbers, numbers)


def load_resident(
    catalogue: Catalogue,
    numbers: NDArray[np.int64],
    side: int,
    device: torch.device,
    say: Callable[[str], None],
) -> ResidentImages:
    """Decode images into the device's memory; larger ones are cut to their middle.

    Args:
        catalogue: All images.
        numbers: Which of them, ascending.
        side: S.
        device: Where they are kept.
        say: Takes a line of progress.

    Raises:
        DataError: None can be read.
    """
    pixels = np.zeros((len(numbers), side, side, 3), dtype=np.uint8)  # fast to fill
    sides = np.zeros((len(numbers), 2), dtype=np.int64)
    decoded = np.zeros((len(numbers), 2), dtype=np.int64)

    def load(place: int) -> str:
        try:
            image = decode(catalogue.read(int(numbers[place])))
        except OSError as error:
            return str(error) or type(error).__name__
        decoded[place] = image.height, image.width
        height, width = sides[place] = np.minimum(decoded[place], side)
        top, left = (decoded[place] - sides[place]) // 2
        cut = np.asarray(image.crop((left, top, left + width, top + height)))
        pixels[place, :height, :width] = cut
        return ""

    with ThreadPoolExecutor() as pool:
        reasons = list(pool.map(load, range(len(numbers))))
    kept = np.array([not reason for reason in reasons], dtype=bool)
    bad = tuple(
        BadImage(catalogue.describe(int(numbers[i])), reasons[i]) for i in np.flatnonzero(~kept)
    )
    if not kept.any():
        raise DataError("no image can be read", bad[0].reason if bad else "")
    numbers, sides, decoded = numbers[kept], sides[kept], decoded[kept]
    held = torch.from_numpy(pixels if kept.all() else pixels[kept]).to(device).movedim(3, 1)
    say(f"{len(numbers)} images, {held.numel() >> 20} MiB, on {device}")
    origins = (_scenes(catalogue, numbers, decoded) - sides) // 2
    return ResidentImages(numbers, held, sides, origins, bad)


def _scenes(
    catalogue: Catalogue, numbers: NDArray[np.int64], decoded: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Sides of each image's scene: of the real that it is a reconstruction of, or its own."""
    scenes = decoded.copy()
    records, made = catalogue.record[numbers], catalogue.reconstructed()[numbers]
    reals = np.flatnonzero(catalogue.label[numbers] == Label.REAL)
    order = reals[np.argsort(records[reals], kind="stable")]
    if len(order):
        found = order[np.searchsorted(records[order], records[made]).clip(max=len(order) - 1)]
        scenes[made] = decoded[found]
    return scenes


def resident_batches(
    images: ResidentImages,
    sampler: GroupSampler,
    remake: Remake,
    config: TrainConfig,
    first: int,
    last: int,
    group: Processes,
) -> Iterator[Batch]:
    """This process's batches from micro-batch ``first`` up to, not including, ``last``.

    The groups of a joint micro-batch go to the processes in turn, so that together they see what
    one process with their joint batch would see.
    """
    bad = images.bad
    own = config.schedule.batch // config.data.group
    for number in range(first, last):
        groups = sampler.draw(number, config.schedule.batch * group.world)
        mine = groups[group.rank * own : (group.rank + 1) * own]
        side = sampler.side(number)
        views = torch.cat([make_resident_views(images, pairs, side, remake) for pairs in mine])
        corner = sampler.corner(number, (CROP - side) // PATCH)
        yield Batch(views[:, :, None], bad, corner)
        bad = ()


def make_resident_views(
    images: ResidentImages,
    group: PairGroup,
    side: int,
    remake: Remake | None = None,
) -> Tensor:
    """Make one view of each member of a group of pairs, both members of a pair alike.

    Cut, resize with anti-aliasing, blur, compress, cut to the view: what a picture meets on its
    way, drawn once for a pair. Fakes may have been compressed once before, as photographs have.
    Where an autoencoder makes the fakes, it is given what was cut of the reals and made smaller.
    A picture that is smaller than the view after resizing is zero-padded around, as at inference.

    Args:
        images: All images.
        group: Pairs and draws.
        side: Of a view.
        remake: Makes fakes; needed where a group wants it.

    Returns:
        (G, 2 classes, 3, side, side) uint8, on the images' device.
    """
    members = np.stack((images.places(group.real), images.places(group.fake)), axis=1)  # (G, 2)
    common = int(images.sides[members].min())
    reach = min(round((side + _MARGIN) / group.scale), common)  # of the cut, before resizing
    if group.fresh is None:
        pair = _cut(images, members, group, reach)  # (G, 2, 3, reach, reach)
        reals, fakes = pair[:, Label.REAL], pair[:, Label.FAKE]
    else:
        assert remake is not None
        reals, fakes = _remade(images, members[:, :1], group, group.fresh, remake, reach)
    target = min(max(round(reals.shape[-1] * group.scale), 1), side + _MARGIN)
    pictures = degrade(reals, fakes, group, target)
    return _fit(pictures, group, side).view(*members.shape, 3, side, side)


def _remade(
    images: ResidentImages,
    reals: NDArray[np.int64],
    group: PairGroup,
    fresh: Fresh,
    remake: Remake,
    reach: int,
) -> tuple[Tensor, Tensor]:
    """What is cut from reals, (G, 1), and made smaller, and fakes of it; (G, 3, H, H) both.

    H is ``reach``, or less where the reals are small. The autoencoder gets up to a block more, so
    that what is compressed afterwards starts anywhere in its blocks.
    """
    multiple = remake.autoencoders[fresh.autoencoder].multiple
    common = int(images.sides[reals].min())
    side = max(min(-(-(reach + _BLOCK) // multiple), common // multiple), 1) * multiple
    pictures = _cut(images, reals, group, min(round(side / fresh.before), common))[:, 0].float()
    pictures = resize(pictures, side, "bicubic").round_().clamp_(0, 255)
    reach = min(reach, side)
    top, left = (int(at * (side - reach + 1)) for at in fresh.inset)
    inside = np.s_[..., top : top + reach, left : left + reach]
    return pictures[inside], remake(pictures, fresh.autoencoder)[inside]


def _cut(
    images: ResidentImages, members: NDArray[np.int64], group: PairGroup, reach: int
) -> Tensor:
    """Squares of a side: the same place of the scene where the fake is made from the real."""
    room = images.sides[members] - reach  # (G, 2, 2)
    corner = (group.place[:, None] * (room + 1)).astype(np.int64)
    if group.reconstructed and group.fresh is None:
        shift = images.origins[members[:, 1]] - images.origins[members[:, 0]]
        corner[:, 0] = corner[:, 1] + shift
    steps = np.arange(reach)
    rows, columns = (
        put(corner[..., axis, None] + steps, images.pixels.device) for axis in range(2)
    )  # (G, 2, reach)
    which = put(members, images.pixels.device)
    planes = torch.arange(3, device=images.pixels.device)
    return images.pixels[
        which[..., None, None, None], planes[:, None, None],
        rows[..., None, :, None], columns[..., None, None, :],
    ]  # fmt: skip


def _fit(pictures: Tensor, group: PairGroup, side: int) -> Tensor:
    """Cut to the view at one offset for the group, or zero-pad; then mirror what is to be."""
    spare = pictures.shape[-1] - side
    if spare >= 0:
        top, left = (int(at * (spare + 1)) for at in group.offset)
        pictures = pictures[..., top : top + side, left : left + side]
    else:
        before = -spare // 2
        after = -spare - before
        pictures = F.pad(pictures, (before, after, before, after))
    mirrored = put(np.repeat(group.mirrored, 2), pictures.device)
    return torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
