"""The data of a run: images found, sources held out, reconstructions made, pairs to draw."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .ahead import made_ahead
from .catalogue import Label
from .config import TrainConfig
from .dataset import open_catalogue
from .distributed import Processes
from .draws import GroupSampler
from .errors import DataError
from .loader import Batch, PairViews, batches
from .probe import ProbeImages, load_probe_images
from .reconstruct import Remake, load_autoencoder
from .reconstructions import add_reconstructions
from .record import DataFacts
from .resident import ResidentImages, load_resident, resident_batches
from .sampling import PairSampler
from .split import split


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run learns from and is judged by.

    Attributes:
        pairs: The views of a draw, by the draw's number; None where the images are resident.
        resident: Images in the device's memory, their draws, and what makes fakes of them as they
            train; None where they are not.
        probes: Crops for the probes; None where there are none, and in all but one process.
        facts: What is recorded about the data.
    """

    pairs: PairViews | None
    resident: tuple[ResidentImages, GroupSampler, Remake] | None
    probes: ProbeImages | None
    facts: DataFacts


def prepare_data(
    data: str, out: Path, config: TrainConfig, group: Processes, say: Callable[[str], None]
) -> TrainingData:
    """Find the images, hold sources out, make reconstructions, crop the probes' images.

    Args:
        data: Shards, a folder tree or a CSV.
        out: The run folder; reconstructions go there.
        config: All options.
        group: The run's processes, which share the work.
        say: Takes lines of progress.

    Raises:
        DataError: The data cannot be used.
    """
    if not group.first:
        group.wait()  # remote shards are fetched by the first process
    catalogue = open_catalogue(data, config.data.cache)
    other = config.data.validation
    validation = open_catalogue(other, config.data.cache) if other else None
    if group.first:
        group.wait()
    if not config.reconstruct.autoencoders and not len(catalogue.where(Label.FAKE)):
        raise DataError(
            f"{data} holds no fakes at all",
            "put them under fake/GENERATOR/, or make them with --reconstruct",
        )
    digest = catalogue.digest
    share = 0.0 if other or config.probe.images == 0 else config.data.holdout_share
    parts = split(catalogue, config.data.holdout, share, config.data.exclude)
    if config.reconstruct.autoencoders and not config.reconstruct.fresh:
        count = len(catalogue)
        where = config.reconstruct.folder
        catalogue = add_reconstructions(
            catalogue, config.reconstruct, Path(where) if where else out / "reconstructions",
            group, say, parts.training,
        )  # fmt: skip
        made = np.arange(count, len(catalogue))  # of reals that train: held-out ones stay unseen
        parts = replace(parts, training=np.concatenate((parts.training, made)))
    held_out = parts.held_out
    judged_on = catalogue
    if validation is not None:
        judged_on, held_out = validation, np.arange(len(validation))
    where = f" of the sources {', '.join(parts.sources)}" if parts.sources else ""
    say(f"{len(parts.training)} images to train on, {len(held_out)} held out{where}")
    probes = None
    if group.first:
        probes = load_probe_images(catalogue, parts.training, judged_on, held_out, config)
        if config.probe.images and probes is None:
            say("no probes: nothing of both classes is held out")
    pairs, resident = None, None
    if config.data.resident:
        names = config.reconstruct.autoencoders if config.reconstruct.fresh else ()
        reduced = config.reconstruct.precision == "bfloat16"
        remake = Remake(tuple(load_autoencoder(name, group.device) for name in names), reduced)
        images = load_resident(
            catalogue, np.sort(parts.training), config.data.resident, group.device, say
        )
        resident = images, GroupSampler(catalogue, images.numbers, config), remake
    else:
        sampler = PairSampler(
            catalogue, parts.training, config.seed, config.data.balance, config.reconstruct.share
        )
        pairs = PairViews(catalogue, sampler, config)
    facts = DataFacts(data, digest, len(parts.training), len(held_out), parts.sources)
    return TrainingData(pairs, resident, probes, facts)


def batches_of(
    data: TrainingData, config: TrainConfig, first: int, last: int, group: Processes
) -> Iterator[Batch]:
    """This process's batches from micro-batch ``first`` up to, not including, ``last``."""
    if data.resident is not None:
        batches_here = resident_batches(*data.resident, config, first, last, group)
        return made_ahead(batches_here, group.device)
    assert data.pairs is not None
    return batches(data.pairs, config, first, last, group)
