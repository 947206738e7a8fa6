"""How fast scans of unchanged files and rejudgements are, and whether their memory grows.

    python tests/benchmarks/rescan.py --files 10000 100000 --references 2000
    python tests/benchmarks/rescan.py --files 100000 --references 48000

Makes the files and a workspace that knows them already (random unit vectors stand for embeddings,
so that nothing has to be embedded), then times ``code-scan`` on them, and ``code-report rejudge`` of that scan. Not a test: it prints.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from code_forensics.engine.decoding.decode import PREPROCESSING
from code_forensics.engine.embedding.checkpoint import read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.engine.embedding.weights import export_checkpoint
from code_forensics.engine.files.discover import walk
from code_forensics.engine.files.found import FreshContent
from code_forensics.index.gallery_records import NewReference
from code_forensics.index.workspace import Workspace

A_FOLDER = 1000
"""Files in each directory."""


@dataclass(frozen=True)
class Measured:
    """One scan."""

    seconds: float
    peak: float  # MB of resident memory


def make_files(folder: Path, count: int) -> None:
    """Write as many small files, each with other bytes."""
    for number in range(count):
        file = folder / f"{number // A_FOLDER:04}" / f"{number:07}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)


def references(count: int, dimension: int) -> Iterator[NewReference]:
    """Random references, half of them real, from ten sources a class."""
    rng = np.random.default_rng(0)
    for number in range(count):
        label = ("real", "fake")[number % 2]
        vector = rng.normal(size=dimension).astype(np.float32)
        source = f"{label}{number // 2 % 10}"
        yield NewReference(label, source if label == "fake" else "", source, vector)


def fill(folder: Path, files: Path, count: int) -> None:
    """Make a workspace that knows every file."""
    weights = folder / "weights"
    write_checkpoint(export_checkpoint(Encoder(EncoderConfig())), weights)
    checkpoint = read_checkpoint(weights)
    rng = np.random.default_rng(1)
    with Workspace(folder / "ws") as space:
        space.encoders.keep(checkpoint.sha256, checkpoint.weights, checkpoint.config, 192, "drawn")
        space.galleries.create(
            "g", checkpoint.sha256, PREPROCESSING, references(count, 192), "build"
        )
        store = space.contents(checkpoint.sha256, PREPROCESSING)
        batch = []
        for file in walk([files]):
            data = Path(file.path).read_bytes()
            vector = rng.normal(size=192).astype(np.float32)
            content = FreshContent(
                hashlib.sha256(data).hexdigest(), len(data), "JPEG", 640, 480, "pillow",
                {"claims_generated": False, "findings": [], "strength": "stripped"},
                vector=vector, precision="float32",
            )  # fmt: skip
            batch.append((file, content))
            if len(batch) == 2000:
                store.remember(batch)
                batch = []
        store.remember(batch)


def measure(program: str, folder: Path, *arguments: str | Path) -> Measured:
    """Run a command once in the workspace."""
    command = [Path(sys.executable).parent / program, *arguments]
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, command), "--workspace", str(folder / "ws")])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{program} failed with status {status}")
    return Measured(seconds, usage.ru_maxrss / 1024)


def main() -> None:
    """Measure each number of files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--references", type=int, default=2000)
    chosen = parser.parse_args()
    peaks = []
    for count in chosen.files:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_files(folder / "files", count)
            fill(folder, folder / "files", chosen.references)
            scanned = folder / "files"
            first = measure("code-scan", folder, scanned / "0000", "-q")  # fits the calibration
            found = measure("code-scan", folder, scanned, "-q")
            weight = sum(file.stat().st_size for file in (folder / "ws").glob("workspace.sqlite*"))
            again = measure("code-report", folder, "rejudge", "latest")
            report = measure("code-scan", folder, scanned, "-q", "--csv", folder / "r.csv")
            peaks.append(found.peak)
            print(
                f"{count:>8} files, {chosen.references} references:"
                f" {found.seconds:.1f} s, {count / found.seconds:,.0f} files/s,"
                f" peak {found.peak:.0f} MB, {weight / count:,.0f} bytes a file in the workspace"
                f" with one scan; with CSV {report.seconds:.1f} s, {report.peak:.0f} MB;"
                f" rejudged in {again.seconds:.1f} s, {again.peak:.0f} MB;"
                f" calibrated once in {first.seconds:.1f} s, {first.peak:.0f} MB"
            )
    if len(peaks) > 1:
        print(f"peak of the last against the first: {peaks[-1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
