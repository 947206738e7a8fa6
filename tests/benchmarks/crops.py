"""What more crops bring on whole pictures: photographs against themselves, reconstructed.

    python tests/benchmarks/crops.py UNPACKED --reconstruct TAE/taesd,TAE/taef1 [--count 80]

UNPACKED holds the packages of ``train/recipes/pictures.csv`` (see
``code_forensics.train.starter.pictures``). Large photographs of three of its sources, cut to
768 x 768, are the reals; each passed through one of the autoencoders is a fake of the same content
and size; all are JPEG of quality 90. The starter judges them without the references of these
sources, by the middle, by five crops and by the grid. Intervals are a bootstrap over photographs.
Not a test: it prints.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from code_forensics.train.reconstruct import load_autoencoder
from code_forensics.train.starter.pictures import LIST, file_of
from PIL import Image

SIDE = 768
SOURCES = ("web-demos", "debian-photos", "debian-snapshots")


def photographs(unpacked: Path, count: int) -> Iterator[Image.Image]:
    """Middles of large photographs, each picture once, drawn evenly from the list."""
    with LIST.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].split("/")[1] in SOURCES]
    files = dict.fromkeys(file_of(row, unpacked) for row in rows)
    large = [file for file in files if min(Image.open(file).size) >= SIDE]
    for place in np.linspace(0, len(large) - 1, min(count, len(large))).astype(int):
        with Image.open(large[place]) as picture:
            left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
            yield picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE))


def make(unpacked: Path, autoencoders: list[str], count: int, folder: Path) -> int:
    """Write the pairs, but those that are there; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    if kept := len(list(folder.glob("fake-*.jpg"))):
        return kept
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [load_autoencoder(where, device) for where in autoencoders]
    number = -1
    for number, photograph in enumerate(photographs(unpacked, count)):
        photograph.save(folder / f"real-{number:03d}.jpg", quality=90)
        pixels = torch.from_numpy(np.array(photograph)).to(device).permute(2, 0, 1)[None]
        with torch.inference_mode():
            made = models[number % len(models)](pixels.float() / 255)[0]
        array = made.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(array).save(folder / f"fake-{number:03d}.jpg", quality=90)
    return number + 1


def run(program: str, *arguments: str) -> None:
    """Run a command of the package; an error stops all."""
    command = [str(Path(sys.executable).parent / program), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def scores(report: Path, count: int) -> np.ndarray:
    """Of the reals and of the fakes, (2, count)."""
    found = np.full((2, count), np.nan)
    with report.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            label, number = Path(row["path"]).stem.split("-")
            found[int(label == "fake"), int(number)] = float(row["score"])
    return found


def auc(of: np.ndarray) -> float:
    """Share of the pairs of a fake and a real in which the fake scores higher."""
    real, fake = of
    return float((fake[:, None] > real[None]).mean() + 0.5 * (fake[:, None] == real[None]).mean())


def main() -> None:
    """Make, scan three times, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("unpacked", type=Path)
    parser.add_argument("--reconstruct", required=True, help="as for code-train")
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--folder", type=Path, help="keep the pairs here, and take them from here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["CODE_WORKSPACE"] = str(folder / "workspace")
        pictures = options.folder or folder / "pictures"
        count = make(options.unpacked, options.reconstruct.split(","), options.count, pictures)
        run("code-scan", str(pictures / "real-000.jpg"), "-q")  # brings the starter
        for source in SOURCES:
            run("code-index", "remove", "starter", "--source", source)
        print(f"{count} photographs and their reconstructions, {SIDE} x {SIDE}\n")
        print("| crops | AUC [95 %] |\n| --- | --- |")
        for crops in ("center", "five", "grid"):
            report = folder / f"{crops}.csv"
            run("code-scan", str(pictures), "--crops", crops, "--csv", str(report), "-q")
            found = scores(report, count)
            rng = np.random.default_rng(0)
            drawn = [auc(found[:, rng.integers(0, count, count)]) for _ in range(1000)]
            low, high = np.quantile(drawn, (0.025, 0.975))
            print(f"| {crops} | {auc(found):.3f} [{low:.3f}, {high:.3f}] |", flush=True)


if __name__ == "__main__":
    main()
