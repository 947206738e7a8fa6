"""Throughput on a GPU: the encoder and the decoders alone, whole scans, and FAISS's search.

    python -m tests.benchmarks.gpu [--sets 512px,12mp] [--scale 1.0] [--repeats 2] [--write FILE]

Makes its own photos and gallery. `whole` is a process from start to exit; `steady` leaves out what
starting takes, of every process that takes part: it is what three quarters of the photos take, the
whole set less a scan of the fourth quarter; efficiency is steady / min(decode, encode). Each set is scanned by one
process, with its decoders in threads and in processes, and with further processes that read and
decode (`--processes`, in float32); `--ways` says which and how many. Searches are by as many
threads as there are cores; `--sets ''` leaves the scans out, `--passes 64,128,256` compares sizes of the encoder's passes. Where faiss-gpu is installed, scans
search on the GPU too.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.decoding.decode import Isolation
from code_forensics.engine.embedding import embed
from code_forensics.engine.embedding.checkpoint import read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig, Precision
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.precision import calibration_crops
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.found import FoundFile
from code_forensics.index.searching.vectors import VectorIndex
from numpy.typing import NDArray

from tests.conftest import draw_checkpoint

from . import photos
from .contest import REFERENCES, Contest, median, prepare
from .knn import draw, rate_in_threads
from .throughput import decode_rate, encode_alone, make

COUNTS = {"512px": 12_000, "12mp": 800, "png": 1200, "mixed": 1600}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
_CALLS = 20
_TELLS = 0.2  # of a scan: what three quarters of the photos have to add to it
CALLERS = 3
"""Threads that embed at once: two slots are on the GPU, and one is being filled."""


class Page:
    """Lines that are printed and kept as they are measured: what was measured is not lost."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """Print a line, and write all so far."""
        print(line, flush=True)
        self._lines.append(line)
        if self._file:
            self._file.write_text("\n".join(self._lines) + "\n")


def seconds(
    contest: Contest, images: Path, precision: str, repeats: int, way: Sequence[str] = ()
) -> float:
    """Median of whole scans."""
    options = ["--device", "cuda", "--precision", precision, *way]
    return median([contest.ours(images, options).seconds for _ in range(repeats)])


def decode_rate_apart(files: list[FoundFile], processes: int, threads: int) -> float:
    """Files per second that threads of several processes decode, all at once."""
    there = multiprocessing.get_context("spawn")
    each = -(-threads // processes)
    parts = [files[first::processes] for first in range(processes)]
    with ProcessPoolExecutor(processes, there) as pool:
        for share in ([part[: 4 * each] for part in parts], parts):  # all of them start, then work
            started = time.perf_counter()
            asked = [pool.submit(decode_rate, part, Isolation.AUTO, each) for part in share]
            for one in asked:
                one.result()
        return len(files) / (time.perf_counter() - started)


def quarter(images: Path) -> Path:
    """Every fourth photo of a set, in a folder beside it."""
    few = images.with_name(f"{images.name}-quarter")
    if not few.exists():
        few.mkdir()
        for file in sorted(images.iterdir())[::4]:
            os.link(file, few / file.name)
    return few


def scans(
    page: Page,
    sets: Sequence[str],
    precisions: Sequence[Precision],
    threads: int,
    options: argparse.Namespace,
) -> None:
    """Encoder and decoders alone, and whole scans."""
    page.add("")
    page.add(
        "| photos | precision | way | decode alone | encode alone | whole | steady | efficiency |"
    )
    page.add("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        first = photos.jpegs(folder / "first", photos.SMALL, 1, 9, 90)
        one = photos.jpegs(folder / "one", photos.SMALL, 1, 10, 90)
        contest = prepare(folder, first)
        checkpoint, crops = read_checkpoint(contest.checkpoint), calibration_crops(256)
        crops = np.concatenate([crops] * 48)
        encode = {}
        ways = options.ways.split(",")
        isolations = [way for way in ways if not way.isdecimal()]
        for precision in precisions:
            embedder = Embedder(checkpoint, "cuda", precision)
            encode[precision] = encode_alone(embedder, crops, CALLERS)
            if precision != "float32":
                contest.settle(first, precision, "cuda")
            idle = seconds(contest, one, precision, options.repeats)
            page.add(
                f"| one image | {precision} | | | {encode[precision]:.0f} | {idle:.1f} s | | |"
            )
        for name in sets:
            images = make(name, folder, max(int(COUNTS[name] * options.scale), 4))
            files = [file for file in walk([images], WalkOptions()) if file.reason is None]
            few = quarter(images)
            count = len(list(few.iterdir()))
            decode = {
                ("--isolate", way): decode_rate(files, Isolation(way), threads)
                for way in isolations
            }
            pairs = [(precision, way) for way in decode for precision in precisions]
            for number in filter(str.isdecimal, ways):
                way = "--processes", number
                decode[way] = decode_rate_apart(files, int(number), threads)
                pairs.append(("float32", way))
            for precision, way in pairs:
                took, less = (
                    seconds(contest, some, precision, options.repeats, way)
                    for some in (images, few)
                )
                alone = decode[way]
                cells = "starting took nearly all | "
                if took - less > _TELLS * took:
                    steady = (len(files) - count) / (took - less)
                    cells = f"{steady:.0f} | {steady / min(alone, encode[precision]):.2f}"
                page.add(
                    f"| {name}, {len(files)} | {precision} | {' '.join(way)} | {alone:.0f}"
                    f" | {encode[precision]:.0f} | {len(files) / took:.0f} | {cells} |"
                )


def passes(page: Page, sizes: Sequence[int], precisions: Sequence[Precision]) -> None:
    """The encoder alone by crops in a pass, and how long a call of one pass takes."""
    page.add("")
    page.add("| crops a pass | precision | encode alone | a call, ms |")
    page.add("| ---: | --- | ---: | ---: |")
    crops = np.concatenate([calibration_crops(256)] * 24)
    with tempfile.TemporaryDirectory() as temporary:
        write_checkpoint(draw_checkpoint(EncoderConfig(layer_norm_eps=1e-6)), Path(temporary))
        checkpoint = read_checkpoint(temporary)
    usual = embed.CUDA_BATCH
    try:
        for precision in precisions:
            for size in sizes:
                embed.CUDA_BATCH = size
                embedder = Embedder(checkpoint, "cuda", precision)
                rate = encode_alone(embedder, crops, CALLERS)
                started = time.perf_counter()
                for _ in range(_CALLS):
                    embedder.embed(crops[:size])
                took = (time.perf_counter() - started) / _CALLS
                page.add(f"| {size} | {precision} | {rate:.0f} | {1000 * took:.1f} |")
    finally:
        embed.CUDA_BATCH = usual


def searches(page: Page, references: Sequence[int], threads: int) -> None:
    """FAISS on the CPU and on the GPU: queries a second of all threads, and the same answers."""
    page.add("")
    page.add("| references | a call | nearest | CPU, queries/s | GPU | ratio | the same |")
    page.add("| ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for count in references:
        vectors, queries = draw(count, 192, 2048)
        index = VectorIndex(vectors.shape[1])
        index.add(np.arange(len(vectors)), vectors)
        rates: dict[bool, dict[tuple[int, int], float]] = {}
        answers = {}
        ways = [(many, nearest) for many in (64, 512) for nearest in (1, 15)]
        for on_gpu in (False, True):
            if on_gpu and not index.use_gpu():
                page.add("\nno FAISS for GPUs is installed")
                return
            answers[on_gpu] = index.search(queries[:512], 15)
            rates[on_gpu] = {
                (many, nearest): rate_in_threads(
                    partial(_search, index, nearest), queries, many, 1.5, threads
                )
                for many, nearest in ways
            }
        same = all(np.array_equal(a, b) for a, b in zip(*answers.values(), strict=True))
        for way in ways:
            cpu, gpu = rates[False][way], rates[True][way]
            page.add(
                f"| {count:,} | {way[0]} | {way[1]} | {cpu:,.0f} | {gpu:,.0f} | {gpu / cpu:.1f}"
                f" | {'yes' if same else 'NO'} |"
            )


def _search(index: VectorIndex, nearest: int, queries: NDArray[np.float32]) -> object:
    return index.search(queries, nearest)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", default="512px,12mp", help="which, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="shrinks the sets")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument(
        "--ways",
        default="auto,all,4,8,16",
        help="of --isolate, and numbers of --processes, separated by commas",
    )
    parser.add_argument("--passes", default="", help="sizes of passes, to compare the encoder by")
    parser.add_argument("--references", default="48000,1000000", help="to search among")
    parser.add_argument("--folder", type=Path, help="keep what is made here")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page here")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.exit(2, "no CUDA device is available\n")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = threads or 1
    precisions = [one for one in PRECISIONS if one in options.precisions.split(",")]
    page = Page(options.write)
    few = VectorIndex(8)
    few.add(np.arange(8), np.eye(8, dtype=np.float32))
    where = "GPU" if few.use_gpu() else "CPU"
    for line in (
        "# Throughput on a GPU",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, {torch.cuda.get_device_name()}, {threads} cores,"
        f" torch {torch.__version__}, a gallery of {REFERENCES:,} searched by FAISS on the {where}",
    ):
        page.add(line)
    sets = [name for name in options.sets.split(",") if name]
    if sizes := [int(size) for size in options.passes.split(",") if size]:
        passes(page, sizes, precisions)
    if sets:
        scans(page, sets, precisions, threads, options)
    searches(page, [int(count) for count in options.references.split(",") if count], threads)


if __name__ == "__main__":
    main()
