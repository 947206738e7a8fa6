"""Throughput against the published pipeline: both as whole processes, and our stages alone.

    python -m tests.benchmarks.throughput [--sets 12mp,512px,png,mixed] [--repeats 3] [--scale 1.0]

Makes its own photos and gallery, runs everything in turns and prints medians. `shared` is the rate
that decoding and encoding reach on the same cores one after the other, 1 / (1/decode + 1/encode):
on a CPU no pipeline can beat it, however well its stages overlap.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.checkpoint import read_checkpoint
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, decode
from code_forensics.engine.discover import FoundFile, WalkOptions, walk
from code_forensics.engine.embed import Embedder, Precision
from code_forensics.engine.precision import calibration_crops
from code_forensics.engine.provenance.read import read_provenance
from code_forensics.engine.read import read_file
from code_forensics.index.vectors import VectorIndex
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from . import photos
from .contest import REFERENCES, Contest, Run, gallery_arrays, median, prepare

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


def decode_alone(file: FoundFile) -> NDArray[np.uint8]:
    """Everything between the disk and the encoder, for one file."""
    data = read_file(file, MAX_BYTES).data
    assert data is not None
    decoded = decode(data, DecodeOptions())
    assert isinstance(decoded, Decoded)
    read_provenance(data)
    return decoded.crop


def rate(job: Callable[[int], object], jobs: int, items: int, threads: int) -> float:
    """Items per second when threads share the jobs."""
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(job, range(min(threads, jobs))))  # decoders and buffers are made
        started = time.perf_counter()
        list(pool.map(job, range(jobs)))
        return items / (time.perf_counter() - started)


def encode_alone(embedder: Embedder, crops: NDArray[np.uint8], threads: int) -> float:
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


def compare(
    contest: Contest, images: Path, options: list[str], repeats: int
) -> tuple[list[Run], list[Run]]:
    """Run both programs in turns."""
    theirs, ours = [], []
    for _ in range(repeats):
        theirs.append(contest.published(images))
        ours.append(contest.ours(images, options))
    return theirs, ours


def report(name: str, theirs: list[Run], ours: list[Run], alone: dict[str, float]) -> None:
    """Print one set's lines."""
    count = len(theirs[0].labels)
    whole, published = (count / median([run.seconds for run in runs]) for runs in (ours, theirs))
    encode = alone["encode"]
    limit, shared = min(alone["decode"], encode), 1 / (1 / alone["decode"] + 1 / encode)
    same = sum(theirs[0].labels.get(path) == label for path, label in ours[0].labels.items())
    print(f"\n{name}: {count} files")
    print(f"  published process      {published:8.1f} img/s")
    print(f"  code-scan process      {whole:8.1f} img/s   {whole / published:.1f} x")
    print(f"  decode alone           {alone['decode']:8.1f} img/s")
    print(f"  encode alone           {encode:8.1f} img/s   (float32 {alone['float32']:.1f})")
    print(
        f"  whole / min(decode, encode)  {whole / limit:.2f}    whole / shared  {whole / shared:.2f}"
    )
    cpu = [1000 * median([run.cpu for run in runs]) / count for runs in (theirs, ours)]
    peak = [max(run.peak for run in runs) / 2**20 for runs in (theirs, ours)]
    print(f"  CPU per image          {cpu[0]:.1f} ms published, {cpu[1]:.1f} ms ours")
    print(f"  peak memory            {peak[0]:.0f} MiB published, {peak[1]:.0f} MiB ours")
    print(
        f"  labels                 {same} of {count} identical, {sum(ours[0].labels.values())} fake"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", default=",".join(COUNTS), help="which, separated by commas")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the sets")
    parser.add_argument("--references", type=int, default=REFERENCES, help="size of the gallery")
    parser.add_argument("--precision", default="auto", help="of code-scan")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of the stages alone"
    )
    parser.add_argument("--folder", type=Path, help="keep what is made here")
    options = parser.parse_args(arguments)
    precision: Precision = "bfloat16" if options.precision == "bfloat16" else "float32"
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        sets = {
            name: make(name, folder, max(int(COUNTS[name] * options.scale), 4))
            for name in options.sets.split(",")
        }
        first = photos.jpegs(folder / "first", photos.SMALL, 1, 9, 90)
        contest = prepare(folder, first, options.references)
        checkpoint = read_checkpoint(contest.checkpoint)
        crops = calibration_crops(64)
        encode = {
            name: encode_alone(Embedder(checkpoint, "cpu", name), crops, options.threads)
            for name in dict.fromkeys(("float32", precision))
        }
        for kind, speed in search_rates(contest, options.threads).items():
            print(f"search alone, {options.references} references, {kind}: {speed:.0f} queries/s")
        for name, images in sets.items():
            files = [file for file in walk([images], WalkOptions()) if file.reason is None]
            threads = options.threads
            alone = {
                "decode": rate(
                    lambda n, files=files: decode_alone(files[n]), len(files), len(files), threads
                ),  # type: ignore[misc]
                "encode": encode[precision],
                "float32": encode["float32"],
            }
            scan = ["--precision", options.precision]
            report(name, *compare(contest, images, scan, options.repeats), alone)


if __name__ == "__main__":
    main()
