"""What several crops and the stability probe cost, in images a second.

    python tests/benchmarks/views.py --large 60 --small 300

Makes photo sets and a workspace, then times whole ``code-scan`` processes, each option on the same
files, in turns; prints the median and the ratio to the centre crop. Not a test: it prints.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from code_forensics.engine.decoding.decode import PREPROCESSING
from code_forensics.engine.embedding.checkpoint import read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.engine.embedding.weights import export_checkpoint
from code_forensics.index.workspace import Workspace
from photos import LARGE, SMALL, jpegs
from rescan import references

OPTIONS: dict[str, list[str]] = {
    "center": [],
    "center, probe": ["--probe"],
    "five": ["--crops", "five"],
    "sixteen": ["--crops", "sixteen"],
    "grid": ["--crops", "grid"],
    "grid, probe": ["--crops", "grid", "--probe"],
}


def seconds(images: Path, workspace: Path, options: list[str]) -> float:
    """Run one process."""
    command = [Path(sys.executable).parent / "code-scan", images, "-q", "--reembed", *options]
    started = time.perf_counter()
    subprocess.run([*map(str, command), "--workspace", str(workspace)], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=60, help="photos of 12 MP")
    parser.add_argument("--small", type=int, default=300, help="photos of 512 px")
    parser.add_argument("--repeats", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(export_checkpoint(Encoder(EncoderConfig())), folder / "weights")
        checkpoint = read_checkpoint(folder / "weights")
        with Workspace(folder / "ws") as space:
            space.encoders.keep(
                checkpoint.sha256, checkpoint.weights, checkpoint.config, 192, "drawn"
            )
            space.galleries.create(
                "g", checkpoint.sha256, PREPROCESSING, references(2000, 192), "build"
            )
        sets = {
            "12 MP JPEG": jpegs(folder / "large", LARGE, chosen.large, 1, 92),
            "512 px JPEG": jpegs(folder / "small", SMALL, chosen.small, 2, 90),
        }
        for title, images in sets.items():
            count = len(list(images.iterdir()))
            seconds(images, folder / "ws", [])  # fits the calibration, warms the page cache
            times: dict[str, list[float]] = {option: [] for option in OPTIONS}
            for _ in range(chosen.repeats):
                for option, words in OPTIONS.items():
                    times[option].append(seconds(images, folder / "ws", words))
            print(f"{title}, {count} files")
            for option, taken in times.items():
                ratio = median(times["center"]) / median(taken)
                print(f"  {option:14} {count / median(taken):7.1f} images/s  {ratio:.2f}")


if __name__ == "__main__":
    main()
