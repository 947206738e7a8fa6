"""What it costs to decode every file in a process that may be lost, and what it saves.

    python -m tests.benchmarks.isolation [--files 800] [--rounds 3]

Small JPEGs, which are otherwise decoded in the scan's own threads: files a second, and the
processor time of the scan's own process for each, which Python's lock lets one core alone spend.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from code_forensics.engine.decoding.decode import Isolation
from code_forensics.engine.files.discover import WalkOptions, walk

from . import photos
from .contest import median
from .throughput import decode_rate


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run in turns, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    ways = (Isolation.AUTO, Isolation.ALL)
    rates: dict[Isolation, list[float]] = {way: [] for way in ways}
    own: dict[Isolation, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        images = photos.jpegs(Path(folder), photos.SMALL, options.files, 2, 90)
        files = list(walk([images], WalkOptions()))
        for _ in range(options.rounds):
            for way in ways:
                before = os.times()
                rates[way].append(decode_rate(files, way, options.threads))
                after = os.times()
                spent = after.user + after.system - before.user - before.system
                own[way].append(1000 * spent / len(files))
    for way in ways:
        print(
            f"--isolate {way}: {median(rates[way]):.0f} files/s with {options.threads} threads,"
            f" {median(own[way]):.2f} ms of the scan's own process each"
        )


if __name__ == "__main__":
    main()
