"""Large galleries: what cells cost and lose against comparing every reference.

    python tests/benchmarks/galleries.py --references 100000 1000000
    python tests/benchmarks/galleries.py --references 10000000 --exact-queries 64

Draws clustered unit vectors (themes, pictures of a theme, five variants of a picture, half of them
real), keeps them as a gallery in a workspace, opens it, and prints how long that takes, what it
weighs, and how many queries a second both searches answer, in interleaved rounds; how often the
nearest reference is found, and how often the verdict is the same. Not a test: it prints.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from code_forensics.engine.judging.assessment import Assessment
from code_forensics.engine.judging.attribution import fit_attribution
from code_forensics.engine.judging.calibration import fit_calibration
from code_forensics.engine.judging.hits import search_both
from code_forensics.engine.judging.judge import Judge
from code_forensics.engine.judging.leave_one_out import leave_one_out_scores
from code_forensics.engine.judging.query import Query
from code_forensics.index.gallery_records import LABELS, NewReference
from code_forensics.index.open_gallery import OpenGallery
from code_forensics.index.searching import large_class
from code_forensics.index.searching.approximate import ApproximateIndex
from code_forensics.index.searching.inverted_lists import Kind
from code_forensics.index.workspace import Workspace
from numpy.typing import NDArray

DIMENSION = 192
THEMES = 2000
VARIANTS = 5
BATCH = 16
"""Queries a call, as a scan makes them on the CPU."""

SAMPLE = 1_000_000
"""References that thresholds are fitted on: beside ten million no more fit into memory."""

HELD_OUT = 1000
"""References that the thresholds are fitted on: enough to compare verdicts."""


@dataclass(frozen=True)
class Drawn:
    """Where vectors come from: the same for the same seed."""

    count: int

    def pictures(self, number: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Pictures of themes, (number, D); those of one class lie on its own side of a theme."""
        themes = np.random.default_rng(0).standard_normal((THEMES, DIMENSION), np.float32)
        chosen = themes[rng.integers(0, THEMES, number)]
        return chosen + 0.8 * rng.standard_normal((number, DIMENSION), np.float32)

    def blocks(self, step: int = 10_000) -> Iterator[tuple[NDArray[np.float32], str]]:
        """Vectors of one class at a time, with the class."""
        rng = np.random.default_rng(1)
        lean = 0.6 * rng.standard_normal(DIMENSION, np.float32)
        for first in range(0, self.count, step):
            label = LABELS[first // step % 2]
            size = min(step, self.count - first)
            pictures = self.pictures(-(-size // VARIANTS), rng) + lean * (label == "fake")
            vectors = np.repeat(pictures, VARIANTS, axis=0)[:size]
            yield vectors + 0.5 * rng.standard_normal(vectors.shape, np.float32), label

    def references(self) -> Iterator[NewReference]:
        """The same as references, from twenty sources a class."""
        number = 0
        for vectors, label in self.blocks():
            for vector in vectors:
                source = f"{label}{number // 1000 % 20}"
                number += 1
                yield NewReference(label, source if label == "fake" else "", source, vector)

    def queries(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """More variants of pictures that the gallery holds, and their classes."""
        rng, found, owners = np.random.default_rng(2), [], []
        every = -(-self.count // 10_000)
        step = max(1, every // 50) | 1  # odd, so that both classes are met
        each = -(-number * step // every)
        for at, (vectors, label) in enumerate(self.blocks()):
            if at % step == 0:
                rows = vectors[rng.integers(0, len(vectors), each)]
                found.append(rows + 0.4 * rng.standard_normal(rows.shape, np.float32))
                owners += [label] * each
        order = rng.permutation(len(owners))[:number]
        return np.concatenate(found)[order], np.array(owners)[order]


def rate(gallery: OpenGallery, queries: NDArray[np.float32], seconds: float) -> float:
    """Queries a second over both classes, in batches as a scan makes them."""
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or not done:
        first = done % max(1, len(queries) - BATCH)
        search_both(gallery, queries[first : first + BATCH], 1)
        done += BATCH
    return done / (time.perf_counter() - started)


def exact_copy(space: Workspace) -> OpenGallery:
    """The gallery with every reference compared, in memory."""
    info = space.galleries.info("g")
    return space.galleries.open(info, exact=True)


def judge_of(space: Workspace) -> Judge:
    """Thresholds from a sample of the gallery, spread over all of it."""
    info = space.galleries.info("g")
    step = -(-(info.reals + info.fakes) // SAMPLE)
    count = -(-(info.reals + info.fakes) // step)
    vectors = np.empty((count, DIMENSION), np.float32)
    labels, sources, generators = np.empty(count, np.int64), [], []
    chosen = islice(space.galleries.references(info), 0, None, step)
    for row, (reference, vector) in enumerate(chosen):
        vectors[row], labels[row] = vector, reference.label == "fake"
        sources.append(reference.source)
        generators.append(reference.generator)
    scores = leave_one_out_scores(vectors, labels, sources, subsample=HELD_OUT)
    rule = fit_attribution(vectors, labels, sources, generators, subsample=HELD_OUT // 4)
    return Judge(Assessment(scores, fit_calibration(scores), rule))


def verdicts(gallery: OpenGallery, judge: Judge, queries: NDArray[np.float32]) -> list[str]:
    """What is said of pictures with these vectors."""
    hits = search_both(gallery, queries, judge.depth)
    asked = [Query(hits[row : row + 1], 300, 300) for row in range(len(queries))]
    return [f"{answer.verdict} {answer.knn}" for answer in judge.judge(asked, gallery)]


def resident() -> str:
    """Memory of this process now, without what is mapped, and its peak."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now = int(fields["RssAnon"].split()[0]) / 1e3
    return f"{now:.0f} MB (peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f})"


def measure(count: int, folder: Path, asked: int, rounds: int) -> None:
    """One size."""
    drawn = Drawn(count)
    started = time.perf_counter()
    space = Workspace(folder / f"{count}")
    if not space.galleries.names():
        space.encoders.keep("e" * 64, b"weights", b"{}", DIMENSION, "drawn")
        space.galleries.create("g", "e" * 64, "p/1", drawn.references(), "build")
    stored = time.perf_counter()
    print(f"{count:,} references: stored in {stored - started:.0f} s, {resident()}", flush=True)
    space.galleries.open(space.galleries.info("g"))
    made = time.perf_counter()
    sizes = {path.name: path.stat().st_size / 1e6 for path in (folder / f"{count}").rglob("*.*")}
    print(f"  cells made in {made - stored:.0f} s, {resident()}; MB: "
          + ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items()) if size >= 1),
          flush=True)  # fmt: skip
    started = time.perf_counter()
    cells = space.galleries.open(space.galleries.info("g"))
    opened = time.perf_counter() - started
    for label, trained in cells.searching.items():
        print(f"  {label}: {trained}", flush=True)
    print(f"  opened again in {1e3 * opened:.1f} ms, {resident()}", flush=True)
    queries, owners = drawn.queries(max(asked, 2 * BATCH))
    exact = exact_copy(space)
    print(f"  every reference in memory: {resident()}", flush=True)
    judge = judge_of(space)
    truth = {label: exact.search(label, queries, 10)[1] for label in LABELS}
    said = verdicts(exact, judge, queries)
    kinds = {kind: said.count(kind) for kind in sorted(set(said))}
    print(f"  verdicts and votes of {len(said)} queries: {kinds}", flush=True)
    tuned = {label: trained.probes for label, trained in cells.searching.items()}
    steps = [1 << power for power in range(1, 12)]
    for probes in [None, *(p for p in steps if p <= max(tuned.values(), default=0))]:
        for label, index in ((label, cells.index(label)) for label in tuned):
            assert isinstance(index, ApproximateIndex)
            trained = replace(index.part.trained, probes=probes or tuned[label])
            index.part = replace(index.part, trained=trained)
        name = "as tuned" if probes is None else f"{probes} cells"
        ratios = []
        for _ in range(rounds if probes is None else 1):
            slow, fast = rate(exact, queries, 3), rate(cells, queries, 3)
            ratios.append((fast / slow, fast, slow))
        ratio, fast, slow = sorted(ratios)[len(ratios) // 2]
        own, other, shortfall = recall(cells, queries, owners, truth)
        agreed = np.mean(
            [a == b for a, b in zip(said, verdicts(cells, judge, queries), strict=True)]
        )
        print(f"  {name}: {fast:,.0f} queries/s against {slow:,.0f}, ratio {ratio:.1f}; recall@1"
              f" {own:.4f} in the query's class, {other:.4f} in the other; cosine"
              f" {shortfall:.4f} too low at most for 99 %; verdict and vote agree for {agreed:.4f}",
              flush=True)  # fmt: skip
    print(f"  {resident()}", flush=True)
    space.close()


def recall(
    gallery: OpenGallery,
    queries: NDArray[np.float32],
    owners: NDArray[np.str_],
    truth: dict[str, NDArray[np.float64]],
) -> tuple[float, float, float]:
    """Recall of the nearest in the query's own class and in the other, and the shortfall."""
    own, other, short = [], [], []
    for label in LABELS:
        lacks = truth[label][:, 0] - gallery.search(label, queries, 1)[1][:, 0]
        own.append(lacks[owners == label] <= 1e-6)
        other.append(lacks[owners != label] <= 1e-6)
        short.append(lacks)
    means = [float(np.concatenate(part).mean()) for part in (own, other)]
    return means[0], means[1], float(np.quantile(np.concatenate(short), 0.99))


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--references", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--exact-queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--exact-below", type=int, default=large_class.EXACT,
                        help="references of a class that are still all compared")  # fmt: skip
    parser.add_argument("--kind", choices=list(Kind), default=None,
                        help="what cells hold, where it shall not be chosen")  # fmt: skip
    parser.add_argument("--folder", type=Path, default=None,
                        help="kept, and what is there is used again")  # fmt: skip
    chosen = parser.parse_args()
    large_class.EXACT = chosen.exact_below
    if chosen.kind is not None:
        large_class.kind_for = lambda _: Kind(chosen.kind)
    for count in chosen.references:
        with tempfile.TemporaryDirectory() as name:
            folder = chosen.folder or Path(name)
            measure(count, folder, chosen.exact_queries, chosen.rounds)


if __name__ == "__main__":
    main()
