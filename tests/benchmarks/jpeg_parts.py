"""What reading parts of JPEGs saves, and that it gives the pixels of the whole.

    python -m tests.benchmarks.jpeg_parts [FOLDER ...] [--large 12 --small 100]

Makes photos of 12 megapixels and of 512 pixels, and decodes each by tiles, by nvImageCodec where
that is what would read it, and by Pillow as a whole, in turns, in one thread; or takes every JPEG
below some folders instead. Prints the fastest of three rounds a photo. Exits with 1 if a single
pixel of a crop differs; times are printed, not judged.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from code_forensics.engine.decoding import tiles
from code_forensics.engine.decoding.decode import (
    Decoded,
    DecodeOptions,
    Undecodable,
    decode,
    load_decoders,
)
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan

from tests.benchmarks.photos import LARGE, SMALL, jpegs

PLANS = {
    "center": ViewPlan(),
    "center, probe": ViewPlan(probe=True),
    "five": ViewPlan(Crops.FIVE),
    "sixteen": ViewPlan(Crops.SIXTEEN),
}
WAYS = ("tiles", "without tiles", "whole")
ROUNDS = 3


@contextmanager
def without_tiles() -> Iterator[None]:
    """As where there was no compiler."""
    cut, tiles._cut = tiles._cut, None
    try:
        yield
    finally:
        tiles._cut = cut


def decoded(data: bytes, options: DecodeOptions, way: str) -> Decoded | Undecodable:
    """Decode one file by one way."""
    if way == "tiles":
        return decode(data, options)
    with without_tiles():
        return decode(data, replace(options, region=way == "without tiles"))


def same(one: Decoded | Undecodable, other: Decoded | Undecodable) -> bool:
    """Whether two answers are the same, but for the decoder's name."""
    if isinstance(one, Decoded) and isinstance(other, Decoded):
        return np.array_equal(one.views, other.views)
    return one == other


def compare(name: str, files: list[Path]) -> int:
    """Print a line for each plan; returns how many files differ."""
    wrong = 0
    for plan_name, plan in PLANS.items():
        options, ways = DecodeOptions(views=plan), dict.fromkeys(WAYS, 0.0)
        partly = 0
        for file in files:
            data = file.read_bytes()
            best = dict.fromkeys(WAYS, float("inf"))
            answers = {}
            for _ in range(ROUNDS):
                for way in WAYS:
                    started = time.perf_counter()
                    answers[way] = decoded(data, options, way)
                    best[way] = min(best[way], time.perf_counter() - started)
            first = answers["tiles"]
            partly += isinstance(first, Decoded) and first.decoder == "tiles"
            if not all(same(first, answer) for answer in answers.values()):
                wrong += 1
                print(f"DIFFERENT: {file}", file=sys.stderr)
            for way in WAYS:
                ways[way] += best[way] / len(files)
        cells = " | ".join(f"{1e3 * seconds:.1f}" for seconds in ways.values())
        ratio = ways["whole"] / ways["tiles"]
        print(f"| {name} | {plan_name} | {len(files)} | {partly} | {cells} | {ratio:.1f} |")
    return wrong


def is_jpeg(file: Path) -> bool:
    """Whether a file begins as a JPEG does."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(3) == b"\xff\xd8\xff"


def main() -> None:
    """Make or find photos, decode, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--large", type=int, default=12, help="photos of 12 MP")
    parser.add_argument("--small", type=int, default=100, help="photos of 512 px")
    chosen = parser.parse_args()
    if not tiles.can_cut():
        sys.exit("the part that is in C was not compiled")
    load_decoders()
    print(
        "| photos | crops | files | by tiles | tiles, ms | without, ms | whole, ms | whole / tiles |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        if chosen.folders:
            found = (file for folder in chosen.folders for file in sorted(folder.rglob("*")))
            sets = {"given": [file for file in found if is_jpeg(file)]}
        else:
            folder = Path(name)
            sets = {
                "12 MP": sorted(jpegs(folder / "l", LARGE, chosen.large, 1, 92).iterdir()),
                "512 px": sorted(jpegs(folder / "s", SMALL, chosen.small, 2, 90).iterdir()),
            }
        wrong = sum(compare(name, files) for name, files in sets.items())
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
