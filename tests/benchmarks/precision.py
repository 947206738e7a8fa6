"""Whether labels and verdicts of a reduced precision are float32's, on real images.

    python -m tests.benchmarks.precision --real DIR --fake DIR [--count 400] [--precision bfloat16]

Builds a gallery from every second image and scans the others in both precisions, with
DeiT-tiny where it lies beside the repository, else a drawn encoder. Exits with 1 if any vote,
verdict or reason differs.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from code_forensics.engine.embedding.checkpoint import write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig

from tests.conftest import SHARED, draw_checkpoint

Row = dict[str, str]


def choose(folder: Path, count: int, seed: int) -> list[Path]:
    """Files below a folder, drawn at random, so many at most."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return random.Random(seed).sample(files, min(count, len(files)))


def link(files: list[Path], folder: Path) -> Path:
    """Links to files under names that do not collide."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / f"{number:05d}{file.suffix}").symlink_to(file.resolve())
    return folder


def command(name: str, *arguments: str | Path) -> None:
    """Run one of the project's commands to its end."""
    program = f"from code_forensics.cli.{name} import main; main()"
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)


def scan(images: Path, workspace: Path, precision: str) -> list[Row]:
    """The rows of a scan that embeds everything anew."""
    target = workspace.with_name(f"{precision}.csv")
    where = ["--workspace", workspace, "--follow-symlinks", "--reembed"]
    command("scan", images, *where, "--precision", precision, "--csv", target)
    with target.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, scan twice, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--fake", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400, help="images of each class")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = SHARED / "data" / "deit_tiny"
        if not checkpoint.is_dir():
            checkpoint = folder / "encoder"
            write_checkpoint(draw_checkpoint(EncoderConfig(layer_norm_eps=1e-6)), checkpoint)
        images = []
        for label in ("real", "fake"):
            files = choose(getattr(options, label), options.count, options.seed)
            link(files[::2], folder / label)
            images += files[1::2]
        link(images, folder / "images")
        workspace = folder / "ws"
        build = ["--real", folder / "real", "--fake", folder / "fake", "--follow-symlinks"]
        where = ["--weights", checkpoint, "--workspace", workspace, "-q"]
        command("index", "build", "g", *build, *where)
        exact = scan(folder / "images", workspace, "float32")
        reduced = scan(folder / "images", workspace, options.precision)
    same = sum(
        all(a[column] == b[column] for column in ("path", "knn", "verdict", "reason"))
        for a, b in zip(exact, reduced, strict=True)
    )
    kept = sum(row["precision"] == options.precision for row in reduced)
    scores = [abs(float(a["score"]) - float(b["score"]))
              for a, b in zip(exact, reduced, strict=True) if a["score"]]  # fmt: skip
    print(f"{same} of {len(exact)} rows have the vote, verdict and reason of float32")
    print(f"{kept} of them were settled in {options.precision}, the others again in float32")
    print(f"largest difference of a score: {max(scores, default=0.0):.4f}")
    return int(same != len(exact))


if __name__ == "__main__":
    sys.exit(main())
