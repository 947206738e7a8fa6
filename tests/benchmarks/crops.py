"""What more crops bring the starter on whole pictures: by the middle, by five, sixteen and the grid.

    python tests/benchmarks/crops.py UNPACKED [--reconstruct TAE/taesd,TAE/taef1] [--count 80]

UNPACKED holds the packages of ``train/recipes/pictures.csv`` (see
``code_forensics.train.starter.pictures``). First the whole pictures of sources that did not train
the starter, each once: the photographs as their files are, those of the list made small as web
sites show them, all of them brought to the size, the shape and the compression of a cover drawn for
each (so that these tell nothing), and the generated covers. Each source is judged by the starter
without its references, so thresholds are fitted again without them; the last column is what
thresholds fitted on the photographs themselves would find. Then, with ``--reconstruct``, photographs
against themselves: large ones of such sources, cut to 768 x 768, and each passed through one of the
autoencoders; all JPEG of quality 90. Intervals are a bootstrap over pictures. Not a test: it prints.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.starter.read import SOURCES_NAME
from code_forensics.train.reconstruct import load_autoencoder
from code_forensics.train.starter.pictures import LIST, as_web_site, file_of, read_list
from PIL import Image, ImageOps

SIDE = 768
CROPS = ("center", "five", "sixteen", "grid")
KINDS = {"real": "photographs as they are", "small": "made small", "alike": "made like the covers"}


def unseen() -> list[dict[str, str]]:
    """Rows of the list whose sources did not train the starter."""
    told = json.loads(
        (files("code_forensics.engine.starter") / "assets" / SOURCES_NAME).read_text()
    )
    held_out = {source["source"] for source in told if source["role"] == "held out"}
    return [row for row in read_list(LIST) if row["file"].split("/")[1] in held_out]


def photographs(unpacked: Path, count: int) -> Iterator[Image.Image]:
    """Middles of large photographs, each picture once, drawn evenly from the list."""
    real = [row for row in unseen() if not row["generator"]]
    pictures = dict.fromkeys(file_of(row, unpacked) for row in real)
    large = [file for file in pictures if min(Image.open(file).size) >= SIDE]
    for place in np.linspace(0, len(large) - 1, min(count, len(large))).astype(int):
        with Image.open(large[place]) as picture:
            left, top = (picture.width - SIDE) // 2, (picture.height - SIDE) // 2
            yield picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE))


def make(unpacked: Path, autoencoders: list[str], count: int, folder: Path) -> int:
    """Write the pairs; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
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


def like_a_cover(picture: Image.Image, covers: np.ndarray, rng: np.random.Generator) -> bytes:
    """A photograph as a WebP file of a cover's width and height; nothing where none is smaller."""
    smaller = covers[(covers <= picture.size).all(axis=1)]
    if not len(smaller):
        return b""
    width, height = rng.choice(smaller).tolist()
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return as_web_site(fitted, min(width, height))


def write_whole(unpacked: Path, folder: Path) -> list[str]:
    """Write every such picture once, ``SOURCE/KIND-NUMBER``; returns the sources."""
    rows = {(row["sha256"], row["shorter"]): row for row in unseen()}
    covers = np.array(
        [Image.open(file_of(row, unpacked)).size for row in rows.values() if row["generator"]]
    )
    rng = np.random.default_rng(0)
    for number, row in enumerate(rows.values()):
        label, source, _ = row["file"].split("/")
        picture, shorter = file_of(row, unpacked), int(row["shorter"])
        target = folder / source / f"{label if not shorter else 'small'}-{number:04d}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if shorter:
            with Image.open(picture) as opened:
                data = as_web_site(opened.convert("RGB"), shorter)
            target.with_suffix(".webp").write_bytes(data)
        else:
            shutil.copy(picture, target.with_suffix(picture.suffix))
            with Image.open(picture) as opened:
                alike = (
                    b"" if row["generator"] else like_a_cover(opened.convert("RGB"), covers, rng)
                )
            if alike:
                target.with_name(f"alike-{number:04d}.webp").write_bytes(alike)
    return sorted(child.name for child in folder.iterdir())


def run(program: str, *arguments: str) -> None:
    """Run a command of the package; an error stops all."""
    command = [str(Path(sys.executable).parent / program), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def starter_without(sources: Sequence[str], workspace: Path, picture: Path) -> None:
    """A workspace, from now on in use, with the starter but its references of some sources."""
    os.environ["CODE_WORKSPACE"] = str(workspace)
    run("code-scan", str(picture), "-q")  # brings the starter
    for source in sources:
        run("code-index", "remove", "starter", "--source", source)


def scanned(pictures: Path, crops: str, report: Path) -> list[tuple[str, int, float, str]]:
    """Kind, number, score and verdict of all pictures that are large enough to be decided."""
    run("code-scan", str(pictures), "--crops", crops, "--csv", str(report), "-q")
    found = []
    with report.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["score"] and row["reason"] != "too_small":
                kind, number = Path(row["path"]).stem.split("-")
                found.append((kind, int(number), float(row["score"]), row["verdict"]))
    return found


def auc(real: np.ndarray, fake: np.ndarray) -> float:
    """Share of the pairs of a fake and a real in which the fake scores higher."""
    above = fake[:, None] > real[None]
    return float((above + 0.5 * (fake[:, None] == real[None])).mean())


def with_interval(value: float, drawn: Sequence[float]) -> str:
    """A figure and its bootstrap."""
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def print_whole(unpacked: Path, folder: Path) -> None:
    """Whole pictures, each source judged without itself."""
    pictures, rng = folder / "whole", np.random.default_rng(0)
    sources = write_whole(unpacked, pictures)
    found: dict[str, list[tuple[str, int, float, str]]] = {crops: [] for crops in CROPS}
    for source in sources:
        starter_without([source], folder / f"for-{source}", next((pictures / source).iterdir()))
        for crops in CROPS:
            found[crops] += scanned(pictures / source, crops, folder / "whole.csv")
    print(
        "| whole pictures | crops | AUC [95 %] | photographs called fake | fakes called fake"
        " | above 99 % of the photographs |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, name in KINDS.items():
        for crops in CROPS:
            real, fake = (
                [(score, verdict) for k, _, score, verdict in found[crops] if k == wanted]
                for wanted in (kind, "fake")
            )
            r, f = (np.array([score for score, _ in rows]) for rows in (real, fake))
            drawn = [auc(rng.choice(r, len(r)), rng.choice(f, len(f))) for _ in range(1000)]
            called = (
                f"{sum(verdict == 'fake' for _, verdict in rows)} of {len(rows)}"
                for rows in (real, fake)
            )
            above = float((f > np.quantile(r, 0.99)).mean())
            print(
                f"| {name} | {crops} | {with_interval(auc(r, f), drawn)} | {' | '.join(called)}"
                f" | {above:.0%} |"
            )


def print_pairs(unpacked: Path, autoencoders: list[str], count: int, folder: Path) -> None:
    """Photographs against themselves, reconstructed."""
    pictures, rng = folder / "pictures", np.random.default_rng(0)
    count = make(unpacked, autoencoders, count, pictures)
    sources = sorted({row["file"].split("/")[1] for row in unseen() if not row["generator"]})
    starter_without(sources, folder / "for-pairs", pictures / "real-000.jpg")
    print(f"\n{count} photographs and their reconstructions, {SIDE} x {SIDE}\n")
    print("| crops | AUC [95 %] |\n| --- | --- |")
    for crops in CROPS:
        scores = np.full((2, count), np.nan)
        for kind, number, score, _ in scanned(pictures, crops, folder / "pairs.csv"):
            scores[int(kind == "fake"), number] = score
        draws = (scores[:, rng.integers(0, count, count)] for _ in range(1000))
        print(f"| {crops} | {with_interval(auc(*scores), [auc(*drawn) for drawn in draws])} |")


def main() -> None:
    """Make, scan, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("unpacked", type=Path)
    parser.add_argument("--reconstruct", help="as for code-train")
    parser.add_argument("--count", type=int, default=80)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print_whole(options.unpacked, folder)
        if options.reconstruct:
            print_pairs(options.unpacked, options.reconstruct.split(","), options.count, folder)


if __name__ == "__main__":
    main()
