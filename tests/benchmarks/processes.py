"""What a scan's own process has to do for a file, alone and with ``--processes``.

    python -m tests.benchmarks.processes [--files 2000] [--rounds 3] [--processes 2]

Whole scans of small JPEGs by a small encoder, so that little but the own process's work is left:
processor seconds of that process and of those that it starts, a scan of one image taken off. The
own process's are what Python's lock lets one core alone spend, so they bound a scan on many cores.
`lending` is as with a GPU, whose part the small encoder plays on the CPU: the processes send their
crops to the own one.

Beside that, how long a process takes from its start to its first answer, with an encoder of its own
and with one that it borrows.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from code_forensics.engine.cluster.child import Child
from code_forensics.engine.cluster.lending import Lender
from code_forensics.engine.cluster.worker import Setup, versions
from code_forensics.engine.embedding.checkpoint import write_checkpoint
from code_forensics.engine.embedding.config import CROP
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.pipeline.options import PipelineOptions

from tests.conftest import SMALL, draw_checkpoint

from . import photos
from .contest import median

_LENDING = "lending"

_LEND = """
from code_forensics.engine.cluster import on_processes
from code_forensics.engine.cluster.lending import Lender
on_processes.ProcessWorkers._lends = True
on_processes.Lender = lambda checkpoint, _: Lender(checkpoint, "cpu")
"""

_SCAN = """
import resource, sys
from code_forensics.cli import running
from code_forensics.cli.scan import main
running.end_process = sys.exit
try:
    main()
finally:
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        print(used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def workspace(folder: Path, first: Path) -> Path:
    """One with a small gallery, whose assessment has been fitted."""
    encoder, gallery, space = folder / "encoder", folder / "gallery.npz", folder / "workspace"
    write_checkpoint(draw_checkpoint(SMALL), encoder)
    vectors = np.random.default_rng(0).normal(size=(2000, SMALL.hidden_size)).astype(np.float32)
    np.savez(gallery, vectors=vectors, labels=np.arange(2000) % 2)
    where = ["--workspace", str(space)]
    for command in (
        ["code-index", "import", "bench", str(gallery), "--weights", str(encoder), *where],
        ["code-scan", str(first), "-q", *where],
    ):
        program = str(Path(sys.executable).parent / command[0])
        subprocess.run([program, *command[1:]], check=True, capture_output=True)
    return space


def spent(images: Path, space: Path, options: Sequence[str]) -> tuple[float, float]:
    """Processor seconds of a scan's own process, and of those that it started."""
    copy = space.with_name("scanned")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(space, copy)
    program = _LEND + _SCAN if _LENDING in options else _SCAN
    command = [sys.executable, "-c", program, str(images), "-q", "--workspace", str(copy)]
    command += [option for option in options if option != _LENDING]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    own, others = map(float, ran.stderr.splitlines()[-2:])
    return own, others


def first_answer(image: Path, borrows: bool) -> float:
    """Seconds from the start of a process until it has worked on an image."""
    checkpoint, options = draw_checkpoint(SMALL), PipelineOptions(workers=1)
    lender = Lender(checkpoint, "cpu") if borrows else None
    if lender is not None:  # as in a run, it is ready before a process is
        lender.answer({"crops": 1}, bytes(CROP * CROP * 3))
    own = None if borrows else checkpoint
    started = time.perf_counter()
    child = Child(Setup(own, "cpu", options, versions()), lender)
    try:
        list(child.ask([FoundFile(str(image))]))
        return time.perf_counter() - started
    finally:
        child.end()


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run in turns, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    further = ("--processes", str(options.processes))
    ways = ((), ("--isolate", "all"), further, (*further, _LENDING))
    took: dict[Sequence[str], list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        one = photos.jpegs(folder / "one", photos.SMALL, 1, 1, 90)
        images = photos.jpegs(folder / "images", photos.SMALL, options.files, 2, 90)
        space = workspace(folder, one)
        picture = next(one.iterdir())
        starts = [
            (first_answer(picture, False), first_answer(picture, True))
            for _ in range(options.rounds)
        ]
        for _ in range(options.rounds):
            for way in ways:
                idle, busy = spent(one, space, way), spent(images, space, way)
                took[way].append((busy[0] - idle[0], busy[1] - idle[1]))
    for way in ways:
        own, others = (1000 * median(each) / options.files for each in zip(*took[way], strict=True))
        print(
            f"{' '.join(way) or 'one process':<22} {own:.2f} ms of the own process a file,"
            f" {others:.2f} ms of others; at most {1000 / max(own, 1e-9):.0f} files/s"
        )
    own, borrowed = map(median, zip(*starts, strict=True))
    print(f"a process answers {own:.2f} s after its start, {borrowed:.2f} s where it borrows")


if __name__ == "__main__":
    main()
