"""Throughput against the published pipeline: both as whole processes, and our stages alone.

    python -m tests.benchmarks.throughput [--sets 12mp,512px,png,mixed] [--repeats 3]
        [--minutes 8] [--scale 1.0] [--write FILE]

Makes its own photos and gallery, runs everything in turns, and prints a page of medians, which
`--write` keeps.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, Isolation
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.config import Precision
from code_forensics.engine.embedding.contracts import Embeds
from code_forensics.engine.embedding.embed import bfloat16_pays
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.embedding.precision import calibration_crops
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.files.read import read_file
from code_forensics.engine.isolation.decoders import Decoders
from code_forensics.index.searching.vectors import VectorIndex
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from . import photos
from .contest import REFERENCES, Contest, Run, gallery_arrays, prepare
from .page import Results, SetResult, page

COUNTS = {"12mp": 400, "512px": 3000, "png": 300, "mixed": 400}
MAX_BYTES = 1 << 30


def make(name: str, folder: Path, count: int) -> Path:
    """Make a set of photos."""
    where = folder / f"{name}-{count}"
    if name == "12mp":
        return photos.jpegs(where, photos.LARGE, count, 1, 92)
    if name == "512px":
        return photos.jpegs(where, photos.SMALL, count, 2, 90)
    if name == "png":
        return photos.pngs(where, photos.MIDDLE, count, 3)
    return photos.mixed(where, count, 4)


def decode_alone(file: FoundFile, decoders: Decoders) -> NDArray[np.uint8]:
    """Everything between the disk and the encoder, for one file."""
    data = read_file(file, MAX_BYTES).data
    assert data is not None
    decoded = decoders.decode(data)
    assert isinstance(decoded, Decoded)
    decoders.provenance(data)
    return decoded.crop


def decode_rate(files: list[FoundFile], isolation: Isolation, threads: int) -> float:
    """Files per second that threads decode, where so much is done in processes of its own."""
    with Decoders(DecodeOptions(isolation=isolation)) as decoders:
        count = len(files)
        return rate(lambda number: decode_alone(files[number], decoders), count, count, threads)


def rate(job: Callable[[int], object], jobs: int, items: int, threads: int) -> float:
    """Items per second when threads share the jobs."""
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(job, range(min(threads, jobs))))  # decoders and buffers are made
        started = time.perf_counter()
        list(pool.map(job, range(jobs)))
        return items / (time.perf_counter() - started)


def encode_alone(embedder: Embeds, crops: NDArray[np.uint8], threads: int) -> float:
    """Images per second of the encoder."""
    parts = [crops[i : i + embedder.batch] for i in range(0, len(crops), embedder.batch)]
    return rate(lambda n: embedder.embed(parts[n]), len(parts), len(crops), threads)


def search_rates(contest: Contest, threads: int) -> dict[str, float]:
    """Queries per second in the gallery: ours in small batches, scikit-learn's one by one and not."""
    vectors, labels = gallery_arrays(contest)
    queries = vectors[:: max(len(vectors) // 512, 1)] * np.float32(1.01)
    index = VectorIndex(vectors.shape[1])
    index.add(np.arange(len(vectors)), vectors)
    parts = np.array_split(queries, max(len(queries) // 16, 1))
    classifier = KNeighborsClassifier(1, metric="cosine", n_jobs=-1).fit(vectors, labels)
    few = queries[:20]
    started = time.perf_counter()
    for query in few:
        classifier.predict(query[None])
    one_by_one = len(few) / (time.perf_counter() - started)
    started = time.perf_counter()
    classifier.predict(queries)
    return {
        "ours, 16 a call": rate(
            lambda n: index.search(parts[n], 1), len(parts), len(queries), threads
        ),
        "scikit-learn, 1 a call": one_by_one,
        "scikit-learn, all at once": len(queries) / (time.perf_counter() - started),
    }


class Clock:
    """Tells whether more runs fit into the time that a user has."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return time.monotonic() + seconds <= self._end


def compete(
    contest: Contest, sets: dict[str, Path], results: list[SetResult], repeats: int, clock: Clock
) -> None:
    """Run all programs on all sets in turns, again and again; each at least once."""
    last = dict.fromkeys(sets, 0.0)
    for repeat in range(repeats):
        for result in results:
            if repeat and not clock.has(last[result.name]):
                continue
            started = time.monotonic()
            result.published.append(contest.published(sets[result.name]))
            for precision, runs in result.ours.items():
                runs.append(contest.ours(sets[result.name], ["--precision", precision]))
            last[result.name] = time.monotonic() - started


def start_up(contest: Contest, image: Path, repeats: int) -> dict[str, list[Run]]:
    """Run both programs on one image, in turns."""
    runs: dict[str, list[Run]] = {"published": [], "code-scan": []}
    for _ in range(repeats):
        runs["published"].append(contest.published(image))
        runs["code-scan"].append(contest.ours(image, []))
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", default=",".join(COUNTS), help="which, separated by commas")
    parser.add_argument("--repeats", type=int, default=3, help="at most")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which none is repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the sets")
    parser.add_argument("--references", type=int, default=REFERENCES, help="size of the gallery")
    parser.add_argument(
        "--precisions", default="auto", help="of code-scan; auto: bfloat16 too, where it is native"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of the stages alone"
    )
    parser.add_argument("--folder", type=Path, help="keep what is made here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    threads, precisions = options.threads, _precisions(options.precisions)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        sets = {
            name: make(name, folder, max(int(COUNTS[name] * options.scale), 4))
            for name in options.sets.split(",")
        }
        first = photos.jpegs(folder / "first", photos.SMALL, 1, 9, 90)
        contest = prepare(folder, first, options.references)
        for precision in precisions[1:]:  # its band is measured once a gallery
            contest.settle(first, precision)
        clock = Clock(options.minutes)
        checkpoint, crops = read_checkpoint(contest.checkpoint), calibration_crops(64)
        encode = {
            precision: encode_alone(load_embedder(checkpoint, "cpu", precision), crops, threads)
            for precision in precisions
        }
        results = []
        for name, images in sets.items():
            files = [file for file in walk([images], WalkOptions()) if file.reason is None]
            decode = decode_rate(files, Isolation.AUTO, threads)
            ours: dict[str, list[Run]] = {precision: [] for precision in precisions}
            results.append(SetResult(name, len(files), decode, ours=ours))
        search = search_rates(contest, threads)
        one = photos.jpegs(folder / "one", photos.SMALL, 1, 10, 90)  # unknown to the workspace
        startup = start_up(contest, one, max(options.repeats, 1))
        compete(contest, sets, results, options.repeats, clock)
        command = "python -m tests.benchmarks.throughput " + shlex.join(arguments or sys.argv[1:])
        text = page(
            Results(command, options.references, threads, encode, search, startup, results, load)
        )
    print(text)
    if options.write:
        options.write.write_text(text)


def _precisions(asked: str) -> list[Precision]:
    """Float32 first."""
    known: list[Precision] = ["float32", "bfloat16"]
    if asked == "auto":
        return known if bfloat16_pays("cpu") else known[:1]
    return [precision for precision in known if precision in asked.split(",")]


if __name__ == "__main__":
    main()
