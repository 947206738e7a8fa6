"""The reconstructions of all reals on disk, made once before training."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .catalogue import RECONSTRUCTION, Catalogue, CatalogueBuilder, Label, decode
from .config import ReconstructOptions
from .distributed import Processes
from .equalise import centre
from .errors import DataError
from .files import write_atomically
from .reconstruct import Autoencoder, load_autoencoder

_LOG = logging.getLogger(__name__)


def add_reconstructions(
    catalogue: Catalogue,
    options: ReconstructOptions,
    folder: Path,
    group: Processes,
    say: Callable[[str], None],
    numbers: NDArray[np.int64] | None = None,
) -> Catalogue:
    """Pass reals through autoencoders, and add the results as fakes of their records.

    A real is centre-cropped to at most ``options.side`` and to sides that the autoencoder takes;
    the loader crops the real alike. Results are PNG, so that no compression is added. Those that
    are there already are kept, so an interrupted run goes on.

    Args:
        catalogue: All images.
        options: Autoencoders and sizes.
        folder: Where ``NAME/NUMBER.png`` goes.
        group: The run's processes; each makes its share.
        say: Takes a line of progress.
        numbers: Images whose reals are reconstructed, ascending; None for all.

    Returns:
        The catalogue with the reconstructions; the generator is named ``reconstruction:NAME``.
    """
    every = catalogue.where(Label.REAL)
    reals = every if numbers is None else np.intersect1d(every, numbers)
    turns = np.searchsorted(every, reals)  # the same whichever of them train
    _claim(folder, catalogue.digest, options)
    autoencoders = [load_autoencoder(where, group.device) for where in options.autoencoders]
    count = len(autoencoders)
    shares = [reals[(place - turns) % count < (options.each or count)] for place in range(count)]
    for autoencoder, share in zip(autoencoders, shares, strict=True):
        target = folder / autoencoder.name
        missing = [
            int(n) for n in share[group.rank :: group.world] if not _is_there(target / f"{n}.png")
        ]
        if missing:
            say(f"reconstructing {len(missing)} images with {autoencoder.name}")
            _reconstruct(catalogue, missing, autoencoder, options, target)
    group.wait()
    builder, records = CatalogueBuilder(), []
    for autoencoder, share in zip(autoencoders, shares, strict=True):
        for number in share:
            file = folder / autoencoder.name / f"{number}.png"
            if _is_there(file):
                source = catalogue.sources[catalogue.source[number]]
                record = int(catalogue.record[number])
                builder.add(
                    str(file), Label.FAKE, generator=RECONSTRUCTION + autoencoder.name,
                    source=source, record=record, size=file.stat().st_size,
                )  # fmt: skip
                records.append(record)
    return catalogue.extended(builder.build(), np.array(records, dtype=np.int32))


def _is_there(file: Path) -> bool:
    """Whether a reconstruction was made; an empty one was lost with the power."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _claim(folder: Path, digest: str, options: ReconstructOptions) -> None:
    """Mark a folder as that of a data set, whose numbers its files are named by.

    Raises:
        DataError: It holds reconstructions of other data, or of another size.
    """
    mark = folder / "made_from.json"
    made = {"data": digest, "side": options.side}
    if options.precision != "float32":
        made["precision"] = options.precision
    claim = json.dumps(made)
    if not mark.is_file():
        write_atomically(mark, lambda file: file.write(claim.encode()))
    elif mark.read_text(encoding="utf-8") != claim:
        raise DataError(
            f"{folder} holds reconstructions of other data, or of another size or precision",
            "choose another reconstruct.folder",
        )


def _reconstruct(
    catalogue: Catalogue,
    numbers: list[int],
    autoencoder: Autoencoder,
    options: ReconstructOptions,
    target: Path,
) -> None:
    device, reduced = autoencoder.device.type, options.precision == "bfloat16"
    waiting: dict[tuple[int, int], list[tuple[int, Image.Image]]] = {}  # by size

    def save(number: int, pixels: NDArray[np.uint8]) -> None:
        write = partial(Image.fromarray(pixels).save, format="PNG", compress_level=1)
        write_atomically(target / f"{number}.png", write, durable=False)

    def flush(group: list[tuple[int, Image.Image]]) -> None:
        pixels = torch.from_numpy(np.stack([np.asarray(image) for _, image in group]))
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=reduced):
            # a view of interleaved pixels stays channels last, which convolutions like best
            images = pixels.to(autoencoder.device).permute(0, 3, 1, 2).float() / 255
            made = autoencoder(images).float().mul(255).round().byte()
            interleaved = made.permute(0, 2, 3, 1).cpu().numpy()
        list(pool.map(save, [number for number, _ in group], interleaved))
        group.clear()

    def load(number: int) -> Image.Image | None:
        try:
            image = decode(catalogue.read(number))
        except OSError as error:
            _LOG.warning("passed over %s: %s", catalogue.describe(number), error)
            return None
        width, height = (
            min(side, options.side) // autoencoder.multiple * autoencoder.multiple
            for side in image.size
        )
        return centre(image, width, height) if min(width, height) >= 1 else None

    with ThreadPoolExecutor() as pool:
        for first in range(0, len(numbers), options.batch):
            part = numbers[first : first + options.batch]
            for number, image in zip(part, pool.map(load, part), strict=True):
                if image is None:
                    continue
                group = waiting.setdefault(image.size, [])
                group.append((number, image))
                if len(group) >= options.batch:
                    flush(group)
        for group in waiting.values():
            if group:
                flush(group)
