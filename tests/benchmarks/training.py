"""A training step beside the published loop's, on the same shards: views a second, and where they go.

    pip install torch==2.14.1 torchvision==0.29.1 augly webdataset timm
    python -m tests.benchmarks.training [--batch 16] [--workers 2] [--steps 6] [--rounds 2]

The published loop cannot be run as released (it wants its cluster's paths and four GPUs), so it is
put together here from the libraries that it is made of, as its release describes it: WebDataset
shards decoded to Pillow images, AugLy's 19 transforms, torchvision's crops, timm's ViT-Tiny, two
passes of four views of each record, four InfoNCE losses and AdamW. Ours is ``code-train`` with its
defaults, from worker processes, without probes. Both make the same eight views of the same
records, in turns; a first step that wakes workers up does not count. Views alone are what
one core makes of them where nothing else runs.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from code_forensics.train.augment import AUGMENTATIONS, Draw

from .photos import jpegs

SIDE = 512
RECORDS = 64
GENERATORS = 4


def make_shards(folder: Path) -> Path:
    """Shards of records of one real and four generated images of D3's usual size."""
    tree = folder / "tree"
    for seed, name in enumerate(("real", *(f"fake/g{n}" for n in range(GENERATORS)))):
        jpegs(tree / name, (SIDE, SIDE), RECORDS, seed, 90)
        for number, file in enumerate(sorted((tree / name).iterdir())):
            file.rename(file.with_name(f"{number:04d}.jpg"))  # equal names make a record
    shards = folder / "shards"
    command = [sys.executable, "-m", "code_forensics.cli.train", "prepare", str(tree)]
    subprocess.run([*command, "--out", str(shards)], check=True, capture_output=True)
    return shards


def transforms() -> list[Callable[[Any], Any]]:
    """AugLy's, with the release's ranges; stepped ones as five objects to draw from."""
    import augly.image as imaugs
    from torchvision.transforms import RandomCrop

    def stepped(make: Callable[[float], Callable[[Any], Any]], low: float, high: float) -> Any:
        made = [make(low + (high - low) * step / 4) for step in range(5)]

        def draw(image: Any) -> Any:
            return random.choice(made)(image)

        return draw

    uniform: Mapping[str, Callable[[float, float], Any]] = {
        "blur": lambda a, b: imaugs.RandomBlur(min_radius=a, max_radius=b),
        "brightness": lambda a, b: imaugs.RandomBrightness(min_factor=a, max_factor=b),
        "aspect ratio": lambda a, b: imaugs.RandomAspectRatio(min_ratio=a, max_ratio=b),
        "pixelisation": lambda a, b: imaugs.RandomPixelization(min_ratio=a, max_ratio=b),
        "rotation": lambda a, b: imaugs.RandomRotation(min_degrees=a, max_degrees=b),
        "greyscale": lambda *_: imaugs.Grayscale(),
        "horizontal flip": lambda *_: imaugs.HFlip(),
    }
    steps: Mapping[str, Callable[[float], Any]] = {
        "contrast": lambda v: imaugs.Contrast(factor=v),
        "saturation": lambda v: imaugs.Saturation(factor=v),
        "jpeg": lambda v: imaugs.EncodingQuality(quality=int(v)),
        "opacity": lambda v: imaugs.Opacity(level=v),
        "overlay stripes": lambda v: imaugs.OverlayStripes(line_width=v),
        "pad": lambda v: imaugs.Pad(w_factor=v, h_factor=v),
        "resize": lambda v: imaugs.Resize(width=int(v), height=int(v)),
        "random crop": lambda v: RandomCrop(size=int(v), pad_if_needed=True),
        "scale": lambda v: imaugs.Scale(factor=v),
        "sharpen": lambda v: imaugs.Sharpen(factor=v),
        "shuffled pixels": lambda v: imaugs.ShufflePixels(factor=v, seed=42),
        "skew": lambda v: imaugs.Skew(skew_factor=v),
    }
    return [
        stepped(steps[one.name], one.low, one.high)
        if one.draw is Draw.STEPS
        else uniform[one.name](one.low, one.high)
        for one in AUGMENTATIONS
    ]


class Views:
    """The eight views of a record, one augmented chain each, as normalised tensors."""

    def __init__(self) -> None:
        from torchvision import transforms as tv

        self._augly = transforms()
        self._crops = {
            "": [],
            "global": [tv.RandomResizedCrop(224, scale=(0.4, 1.0), interpolation=3)],
            "local": [tv.RandomResizedCrop(224, scale=(0.05, 0.4), interpolation=3)],
        }
        self._last = [
            tv.RandomCrop(224, pad_if_needed=True, fill=255),
            tv.ToTensor(),
            tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]

    def _one(self, image: Any, augmented: bool, crop: str = "") -> Any:
        chain: list[Callable[[Any], Any]] = list(self._crops[crop])
        if augmented:
            chosen = sorted(random.sample(range(len(self._augly)), random.randint(0, 2)))
            chain += [self._augly[place] for place in chosen]
        for step in (lambda picture: picture.convert("RGB"), *chain):
            image = step(image)
        for step in (lambda picture: picture.convert("RGB"), *self._last):
            image = step(image)
        return image

    def __call__(self, sample: Mapping[str, Any]) -> list[Any]:
        """Views of the real, then of one of its fakes."""
        fakes = [name for name in sample if name.startswith("gen_")]
        pair = (
            next(sample[name] for name in sample if name.startswith("real.")),
            sample[random.choice(fakes)],
        )
        return [
            self._one(image, augmented, crop)
            for image in pair
            for augmented, crop in ((False, ""), (True, ""), (True, "global"), (True, "local"))
        ]


def info_nce(query: Any, positive: Any, negatives: Any) -> Any:
    """One positive against all of the negatives, at temperature 0.1."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - the field's own name for it

    query, positive, negatives = (
        F.normalize(part, dim=-1) for part in (query, positive, negatives)
    )
    logits = torch.cat([(query * positive).sum(1, keepdim=True), query @ negatives.T], 1) / 0.1
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def published(shards: Path, batch: int, workers: int, steps: int) -> tuple[float, float]:
    """Views a second of the published loop, and the share of the time that it waits for views."""
    import timm
    import torch
    import webdataset as wds

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = wds.DataPipeline(
        wds.ResampledShards(sorted(str(path) for path in shards.glob("*.tar"))),
        wds.tarfile_to_samples(), wds.shuffle(RECORDS), wds.decode("pil"), wds.map(Views()),
        wds.batched(batch),
    )  # fmt: skip
    loader = wds.WebLoader(data, batch_size=None, num_workers=workers)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=2e-5)
    waited = 0.0
    batches: Iterator[Any] = iter(loader)
    started = time.perf_counter()
    for step in range(steps + 1):
        if step == 1:  # the first one wakes workers and kernels
            waited, started = 0.0, time.perf_counter()
        since = time.perf_counter()
        views = [part.to(device) for part in next(batches)]
        waited += time.perf_counter() - since
        real, real2, real_global, real_local, fake, fake2, fake_global, fake_local = views
        real2, fake2 = real2.roll(1, 0), fake2.roll(1, 0)
        first = model(torch.cat([real, fake, real2, fake2])).split(batch)
        second = model(torch.cat([real_global, real_local, fake_global, fake_local])).split(batch)
        loss = (
            info_nce(first[0], first[2], first[3]) + info_nce(second[1], second[0], second[2])
            + info_nce(first[1], first[3], first[2]) + info_nce(second[3], second[2], second[0])
        ) / 2  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
    elapsed = time.perf_counter() - started
    return steps * batch * 8 / elapsed, waited / elapsed


def views_alone(shards: Path, records: int) -> tuple[float, float]:
    """Views a second of one core that does nothing else: the published chain's, and ours."""
    import torch
    import webdataset as wds
    from code_forensics.train.config import TrainConfig
    from code_forensics.train.dataset import open_catalogue
    from code_forensics.train.loader import PairViews
    from code_forensics.train.sampling import PairSampler

    torch.set_num_threads(1)
    data = wds.DataPipeline(
        wds.ResampledShards(sorted(str(path) for path in shards.glob("*.tar"))),
        wds.tarfile_to_samples(), wds.decode("pil"), wds.map(Views()),
    )  # fmt: skip
    catalogue = open_catalogue(str(shards))
    pairs = PairViews(
        catalogue, PairSampler(catalogue, np.arange(len(catalogue)), 0), TrainConfig()
    )
    speeds = []
    for items in (iter(data), (pairs[number] for number in count())):
        next(items)
        started = time.perf_counter()
        for _ in range(records):
            next(items)
        speeds.append(records * 8 / (time.perf_counter() - started))
    return speeds[0], speeds[1]


def ours(shards: Path, out: Path, batch: int, workers: int, steps: int) -> tuple[float, float]:
    """The same of ``code-train``, from the lines of its record after the first."""
    settings = {
        "schedule.epochs": 1, "schedule.steps": steps + 1, "schedule.batch": batch,
        "schedule.warmup_epochs": 0, "runtime.workers": workers, "runtime.log_every": 1,
        "probe.images": 0, "data.holdout_share": 0.0,
    }  # fmt: skip
    command = [sys.executable, "-m", "code_forensics.cli.train", str(shards), "--out", str(out)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    subprocess.run(command, check=True, capture_output=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = [line for line in lines if "views_per_second" in line][1:]
    seconds = [batch * 8 / line["views_per_second"] for line in kept]
    waited = sum(a * line["loader_share"] for a, line in zip(seconds, kept, strict=True))
    return len(kept) * batch * 8 / sum(seconds), waited / sum(seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run in turns, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16, help="records, of eight views each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    size = options.batch, options.workers, options.steps
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shards = make_shards(folder)
        theirs, own = [], []
        for number in range(options.rounds):
            theirs.append(published(shards, *size))
            own.append(ours(shards, folder / f"run{number}", *size))
        alone = views_alone(shards, RECORDS)
    print("views alone, of one core: published {:.0f}/s, code-train {:.0f}/s".format(*alone))
    print(f"batches of {options.batch} records, {options.workers} workers")
    for name, runs in (("published loop", theirs), ("code-train", own)):
        speed, waiting = (median([run[place] for run in runs]) for place in (0, 1))
        print(f"{name}: {speed:.1f} views/s, {waiting:.0%} of it waiting for views")
    ratio = math.exp(
        sum(math.log(b[0] / a[0]) for a, b in zip(theirs, own, strict=True)) / len(own)
    )
    print(f"ratio {ratio:.2f} x")


if __name__ == "__main__":
    main()
