"""Find how hard a search in cells must look, by comparing it with the exact one."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .exact_rows import ExactRows
from .inverted_lists import QUERIES, InvertedLists, sample
from .vectors import exact_cosines

RECALL_1 = 0.995
"""Share of queries of the class itself whose nearest reference is found, at least."""

RECALL_10 = 0.9
"""Share of their ten nearest: these vote for a generator."""

SHORTFALL = 0.05
"""Most that a cosine lies below that of the nearest, for 99 % of the queries of either class."""

MOST_PROPOSED = 4096
"""Rows that are compared exactly, at most, beyond what is wanted."""

_GAIN = 1e-3
"""A share of the queries that is no gain: one query in the sample."""

_DEPTH = 10
_ROWS = 1 << 14
_SAME = 1e-6
"""Cosines that are as good as each other: copies are found by any of them."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What a search finds of what there is to find.

    Attributes:
        probes: Cells that it looks into.
        proposed: Rows that it compares exactly, beyond what is wanted.
        at_1: Share of queries of the class whose nearest is found.
        at_10: Share of their ten nearest that is found.
        other_at_1: Share of queries of the other class whose nearest is found: these have no
            picture of theirs here, and many references are about as far.
        shortfall: By how much the cosine that is found lies below that of the nearest, for all
            but 1 % of the queries of both.
        queries: How many of each class.
    """

    probes: int
    proposed: int
    at_1: float
    at_10: float
    other_at_1: float
    shortfall: float
    queries: int

    @property
    def lack(self) -> float:
        """How far that is from serving, summed over its three measures; 0 where it serves."""
        return (
            max(RECALL_1 - self.at_1, 0.0)
            + max(RECALL_10 - self.at_10, 0.0)
            + max(self.shortfall - SHORTFALL, 0.0)
        )


def tune(
    lists: InvertedLists, rows: ExactRows, others: NDArray[np.float32], proposed: int
) -> Recall:
    """Double the cells that are looked into, or the rows compared, until what is found serves.

    Whichever of the two brings more is doubled: where codes are too coarse to tell the nearest
    among many, no number of cells finds it. It ends, short of serving, where neither brings more.

    Queries are a seeded sample of the class's own references, which look for their neighbours
    beside themselves, and as many of the other class: a score compares both.

    Args:
        lists: All rows.
        rows: The vectors.
        others: Unit vectors of the other class, (m, D).
        proposed: Rows to be compared exactly, beyond what is wanted, to begin with.
    """
    own = sample(len(rows), QUERIES)
    queries = np.concatenate((rows.units[own], others))
    asked = np.concatenate((own, np.full(len(others), -1)))
    best = _exact(rows, queries, asked)  # (Q, 10), falling

    @cache
    def measure(probes: int, proposed: int) -> Recall:
        found = lists.propose(queries, _DEPTH + 1 + proposed, probes)
        cosines = exact_cosines(rows.units, found, queries.astype(np.float64))
        cosines[(found == asked[:, None]) | (found < 0)] = -1.0
        cosines = -np.sort(-cosines, axis=1)[:, :_DEPTH]
        hit = cosines >= best - _SAME
        short = np.maximum(best[:, 0] - cosines[:, 0], 0.0)
        return Recall(
            probes,
            proposed,
            float(hit[: len(own), 0].mean()),
            float(hit[: len(own)].mean()),
            float(hit[len(own) :, 0].mean()) if len(others) else 1.0,
            float(np.quantile(short, 0.99)),
            len(own),
        )

    recall = measure(1, proposed)
    while recall.lack > 0:
        further = [
            measure(min(2 * recall.probes, lists.cells), recall.proposed),
            measure(recall.probes, max(min(2 * recall.proposed, MOST_PROPOSED), recall.proposed)),
        ]
        better = min(further, key=lambda one: one.lack)
        if recall.lack - better.lack < _GAIN and better.lack > 0:
            break
        recall = better
    return recall


def _exact(
    rows: ExactRows, queries: NDArray[np.float32], asked: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cosines to the nearest rows but the queries themselves, (Q, 10), falling."""
    best = np.full((len(queries), _DEPTH), -np.inf, np.float32)
    for first in range(0, len(rows), _ROWS):
        table = queries @ rows.units[first : first + _ROWS].T
        own = np.flatnonzero((asked >= first) & (asked < first + table.shape[1]))
        table[own, asked[own] - first] = -np.inf
        depth = min(_DEPTH, table.shape[1])
        most = -np.partition(-table, depth - 1, axis=1)[:, :depth]
        best = -np.sort(-np.concatenate((best, most), axis=1), axis=1)[:, :_DEPTH]
    return best.astype(np.float64)
