"""What the benchmarks share: a gallery, a workspace, and both programs as whole processes."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from code_forensics.engine.embedding.checkpoint import read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.precision import calibration_crops
from numpy.typing import NDArray

from tests.conftest import SHARED, draw_checkpoint

GALLERY = "bench"
REFERENCES = 48_000
"""As many as the published gallery holds, one real to four fakes."""


@dataclass(frozen=True, slots=True)
class Run:
    """One whole process, from start to exit.

    Attributes:
        seconds: Wall time.
        cpu: Seconds of user and system time.
        peak: Largest resident size in bytes (Linux's VmHWM); neither program has children.
        labels: Name of the file to whether 1-NN says fake.
    """

    seconds: float
    cpu: float
    peak: int
    labels: dict[str, bool]


@dataclass(frozen=True, slots=True)
class Contest:
    """What both programs are given.

    Attributes:
        folder: For everything that is made.
        checkpoint: The encoder.
        gallery: ``vectors`` and ``labels``, 0 real and 1 fake.
        workspace: Holds the same gallery, and a first scan's fitted assessment.
    """

    folder: Path
    checkpoint: Path
    gallery: Path
    workspace: Path

    def published(self, images: Path) -> Run:
        """Run the published pipeline."""
        out = self.folder / "published.csv"
        theirs = SHARED / "reference" / "published_pipeline.py"
        script = theirs if theirs.is_file() else Path(__file__).with_name("published.py")
        command = [sys.executable, str(script), "--checkpoint", str(self.checkpoint)]
        command += ["--gallery", str(self.gallery), "--images", str(images), "--out", str(out)]
        seconds, cpu, peak = _timed(command)
        with out.open(newline="") as handle:
            labels = {row["path"]: row["label"] == "1" for row in csv.DictReader(handle)}
        return Run(seconds, cpu, peak, labels)

    def ours(self, images: Path, options: list[str], known: bool = False) -> Run:
        """Run ``code-scan`` in a copy of the workspace, so that nothing is known beforehand.

        Where `known` is set, it is the copy of the run before, so that what that saw is known.
        """
        workspace = self.folder / "scanned"
        if not known:
            shutil.rmtree(workspace, ignore_errors=True)
            shutil.copytree(self.workspace, workspace)
        rows = self.folder / "rows.jsonl"
        command = [*_program("scan"), str(images), "--workspace", str(workspace)]
        command += ["--jsonl", str(rows), *options]
        seconds, cpu, peak = _timed(command)
        labels = {}
        for line in rows.read_text().splitlines():
            row = json.loads(line)
            labels[row["path"]] = row["knn"] == "fake"
        return Run(seconds, cpu, peak, labels)

    def settle(self, image: Path, precision: str, device: str = "cpu") -> None:
        """Let a scan measure a precision's band, which the workspace keeps."""
        where = ["--workspace", str(self.workspace), "--precision", precision, "--device", device]
        _timed([*_program("scan"), str(image), *where])


def prepare(folder: Path, first: Path, references: int = REFERENCES) -> Contest:
    """Make the gallery and the workspace; what is there already is kept.

    Args:
        folder: For everything that is made.
        first: Images of a first scan, which fits the gallery's assessment once and for all.
        references: Size of the gallery.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = SHARED / "data" / "deit_tiny"
    if not checkpoint.is_dir():
        checkpoint = folder / "encoder"
        write_checkpoint(draw_checkpoint(EncoderConfig(layer_norm_eps=1e-6)), checkpoint)
    gallery, workspace = folder / f"gallery-{references}.npz", folder / f"workspace-{references}"
    if not gallery.exists():
        _write_gallery(gallery, checkpoint, references)
    if not workspace.exists():
        making = folder / "making"
        shutil.rmtree(making, ignore_errors=True)
        where = ["--workspace", str(making)]
        _timed(
            [
                *_program("index"),
                "import",
                GALLERY,
                str(gallery),
                "--weights",
                str(checkpoint),
                *where,
            ]
        )
        _timed([*_program("scan"), str(first), *where])
        making.rename(workspace)
    return Contest(folder, checkpoint, gallery, workspace)


def _write_gallery(file: Path, checkpoint: Path, references: int) -> None:
    """Vectors spread like the encoder's own: their mean and covariance, on drawn pictures."""
    seen = Embedder(read_checkpoint(checkpoint), "cpu").embed(calibration_crops(seed=1))
    rng = np.random.default_rng(0)
    # Each reference lies around a seen one, at the covariance's own shape, and its class is that
    # one's: clusters, one real to four fakes, that mostly keep to themselves.
    cluster = rng.integers(0, len(seen), references)
    spread = np.linalg.cholesky(np.cov(seen.T) + 1e-4 * np.eye(seen.shape[1]))
    vectors = seen[cluster] + 0.3 * (rng.normal(size=(references, seen.shape[1])) @ spread.T)
    labels = (cluster % 5 != 0).astype(np.int64)
    np.savez(file, vectors=vectors.astype(np.float32), labels=labels)


def _program(name: str) -> list[str]:
    return [sys.executable, "-c", f"from code_forensics.cli.{name} import main; main()"]


def _timed(command: list[str]) -> tuple[float, float, int]:
    """Run to the end: seconds, seconds of CPU, peak bytes. A failure ends the benchmark."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as said:  # modules are compiled once, as installed ones are
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        peak = _Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{command} failed:\n{said.read().decode(errors='replace')}")
    return seconds, usage.ru_utime + usage.ru_stime, peak.finish()


class _Peak(threading.Thread):
    """Follows the peak memory of a process on Linux.

    The kernel's ru_maxrss would do, but a child inherits its parent's, which is the benchmark's.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{process}/status")
        self._ended = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        """Look 20 times a second; the high-water mark itself misses nothing in between."""
        while not self._ended.wait(0.05):
            try:
                text = self._status.read_text()
            except OSError:
                continue
            if found := re.search(r"VmHWM:\s+(\d+) kB", text):
                self._peak = int(found[1]) * 1024

    def finish(self) -> int:
        """The peak in bytes; 0 where it is unknown."""
        self._ended.set()
        self.join()
        return self._peak


def median(values: list[float]) -> float:
    """The middle value."""
    return float(np.median(values))


def gallery_arrays(contest: Contest) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The gallery's vectors, (N, D) float32, and labels, (N,) int64."""
    with np.load(contest.gallery) as stored:
        return stored["vectors"], stored["labels"]
