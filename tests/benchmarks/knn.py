"""Nearest neighbours: this project's search against scikit-learn's, as ratios of one run.

By hand: ``python tests/benchmarks/knn.py``. The published gallery has 48,000 references of 192
dimensions; vectors are drawn as clusters, one a record, as an encoder spreads them.
"""

import argparse
import threading
import time
from collections.abc import Callable

import numpy as np
from code_forensics.index.searching.vectors import VectorIndex
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

Vectors = NDArray[np.float32]


def draw(references: int, dimension: int, queries: int) -> tuple[Vectors, Vectors]:
    """References in clusters of five, and queries near some of them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((references // 5, dimension)) * 3
    gallery = np.repeat(centres, 5, axis=0) + rng.standard_normal((references // 5 * 5, dimension))
    near = centres[rng.integers(0, len(centres), queries)]
    asked = near + rng.standard_normal((queries, dimension))
    return gallery.astype(np.float32), asked.astype(np.float32)


def rate(work: Callable[[Vectors], object], queries: Vectors, batch: int, seconds: float) -> float:
    """Queries a second, the best of three rounds."""
    best = 0.0
    for _ in range(3):
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds / 3:
            first = done % (len(queries) - batch + 1)
            work(queries[first : first + batch])
            done += batch
        best = max(best, done / (time.perf_counter() - started))
    return best


def rate_in_threads(
    work: Callable[[Vectors], object], queries: Vectors, batch: int, seconds: float, threads: int
) -> float:
    """Queries a second of all threads together."""
    rates = [0.0] * threads

    def run(number: int) -> None:
        rates[number] = rate(work, queries, batch, seconds)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def main() -> None:
    """Print rates and ratios, and say whether both give the same answers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--references", type=int, default=48_000)
    parser.add_argument("--dimension", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 4])
    options = parser.parse_args()
    gallery, queries = draw(options.references, options.dimension, 2048)
    labels = np.arange(len(gallery)) % 5 != 0
    theirs = KNeighborsClassifier(n_neighbors=1, metric="cosine", n_jobs=-1).fit(gallery, labels)
    # As the project searches: each class on its own, and evidence of both.
    ours = {label: VectorIndex(options.dimension) for label in (False, True)}
    for label, index in ours.items():
        rows = np.flatnonzero(labels == label)
        index.add(rows.astype(np.int64), gallery[rows])

    def search(asked: Vectors) -> NDArray[np.bool_]:
        real, fake = (ours[label].search(asked, 1)[1][:, 0] for label in (False, True))
        answers: NDArray[np.bool_] = fake > real
        return answers

    same = (search(queries) == theirs.predict(queries)).mean()
    print(f"the same answers: {same:.2%} of {len(queries)}")
    for batch in (1, 64, 1024):
        published = rate(theirs.predict, queries, batch, options.seconds)
        own = rate(search, queries, batch, options.seconds)
        print(f"batch {batch:4}: scikit-learn {published:8.0f}/s, here {own:8.0f}/s,"
              f" ratio {own / published:6.1f}")  # fmt: skip
        for threads in options.threads:
            together = rate_in_threads(search, queries, batch, options.seconds, threads)
            print(f"  {threads} threads: {together:8.0f}/s, {together / own:5.2f} of one thread")


if __name__ == "__main__":
    main()
