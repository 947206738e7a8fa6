"""What the embedded starter makes of pictures that were collected after it had been chosen.

    python -m tests.benchmarks.later UNPACKED

UNPACKED holds the packages of ``train/recipes/later_pictures.csv`` (see
``code_forensics.train.starter.pictures``): photographs, and images whose package says what generated
them, none of which trained the encoder or is a reference; what of a picture is looked at, and what it
is compared with, was chosen with a look at them (``train/TRAINING.md``). Whole pictures, each once,
as their files are, and the photographs made small as web sites show them, too. Some generated ones are covers of the same family as the starter's references of ``comfyui-templates``,
which are taken out. Intervals are a bootstrap over sources. Not a test: it prints.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from code_forensics.train.starter.pictures import LATER, as_web_site, file_of, read_list
from PIL import Image

from .crops import CROPS, auc, run, starter_without, with_interval

SMALL = 400
"""The shorter side of a photograph made small: the covers' own."""

KIN = "comfyui-templates"


@dataclass(frozen=True, slots=True)
class Score:
    """What the starter said of a picture."""

    source: str
    score: float
    verdict: str


def write_pictures(unpacked: Path, folder: Path) -> None:
    """Write each picture once, ``KIND/SOURCE/NUMBER``."""
    rows = {row["sha256"]: row for row in read_list(LATER)}
    for number, row in enumerate(rows.values()):
        label, source, _ = row["file"].split("/")
        picture = file_of(row, unpacked)
        target = folder / label / source / f"{number:04d}{picture.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture.read_bytes())
        if label == "real":
            with Image.open(picture) as opened:
                small = as_web_site(opened.convert("RGB"), SMALL)
            target = folder / "small" / source / f"{number:04d}.webp"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(small)


def scanned(pictures: Path, crops: str, report: Path) -> Iterator[Score]:
    """Scores and verdicts of all pictures that are large enough to be decided."""
    run("code-scan", str(pictures), "--crops", crops, "--csv", str(report), "-q")
    with report.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["score"] and row["reason"] != "too_small":
                yield Score(Path(row["path"]).parent.name, float(row["score"]), row["verdict"])


def by_source(scores: list[Score]) -> dict[str, np.ndarray]:
    """Scores of each source."""
    names = dict.fromkeys(one.source for one in scores)
    return {name: np.array([one.score for one in scores if one.source == name]) for name in names}


def drawn(sources: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Scores of as many sources, drawn with replacement."""
    values = list(sources.values())
    return np.concatenate([values[n] for n in rng.integers(0, len(values), len(values))])


def compare(real: list[Score], fake: list[Score]) -> str:
    """AUC with its interval, and what is called fake, as cells of a table."""
    rng = np.random.default_rng(0)
    r, f = by_source(real), by_source(fake)
    value = auc(np.concatenate(list(r.values())), np.concatenate(list(f.values())))
    interval = with_interval(value, [auc(drawn(r, rng), drawn(f, rng)) for _ in range(1000)])
    called = (
        f"{sum(one.verdict == 'fake' for one in scores)} of {len(scores)}"
        for scores in (real, fake)
    )
    return f"{interval} | {' | '.join(called)}"


def main() -> None:
    """Write, scan, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("unpacked", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures, report = folder / "pictures", folder / "rows.csv"
        write_pictures(options.unpacked, pictures)
        starter_without([KIN], folder / "workspace", next((pictures / "small").rglob("*.webp")))
        print("| photographs | crops | AUC [95 %] | photographs called fake | fakes called fake |")
        print("| --- | --- | --- | --- | --- |")
        every: dict[tuple[str, str], list[Score]] = {}
        for crops in CROPS:
            for kind in ("real", "small", "fake"):
                every[kind, crops] = list(scanned(pictures / kind, crops, report))
            for kind, name in (("real", "as they are"), ("small", f"{SMALL} px, WebP")):
                told = compare(every[kind, crops], every["fake", crops])
                print(f"| {name} | {crops} | {told} |")
        print("\n| generated, by sixteen crops | images | AUC, photographs as they are | small |")
        print("| --- | ---: | --- | --- |")
        reals = [
            np.array([one.score for one in every[kind, "sixteen"]]) for kind in ("real", "small")
        ]
        for source, scores in by_source(every["fake", "sixteen"]).items():
            cells = " | ".join(f"{auc(real, scores):.3f}" for real in reals)
            print(f"| {source} | {len(scores)} | {cells} |")


if __name__ == "__main__":
    main()
