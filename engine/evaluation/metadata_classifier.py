"""How well the classes of a set can be told apart by things that are not the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..judging.scores import FAKE, REAL, Booleans, Floats, Integers
from .bootstrap import intervals
from .file_facts import FileFacts
from .metrics import auc, rank

FOLDS = 5
BINS = 8
"""Quantile bins that a number is cut into, so that a linear model can follow any curve."""

_RARE = 5  # items of a category in training, below which it is no category
_PENALTY = 1.0  # on the squared weights, in units of one item: scikit-learn's C = 1
_RESAMPLES = 500

Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Features:
    """Features of N files as text; numbers stand apart, for they are cut into bins.

    Attributes:
        numeric_names: P names.
        numeric: Shape (N, P), float64; NaN is unknown.
        categorical_names: Q names.
        categorical: Shape (N, Q), text; empty is unknown.
    """

    numeric_names: tuple[str, ...]
    numeric: Floats
    categorical_names: tuple[str, ...]
    categorical: Strings

    @property
    def names(self) -> tuple[str, ...]:
        """All names, numbers first."""
        return self.numeric_names + self.categorical_names

    def only(self, name: str) -> "Features":
        """Keep one feature."""
        numbers = [i for i, n in enumerate(self.numeric_names) if n == name]
        texts = [i for i, n in enumerate(self.categorical_names) if n == name]
        return Features(
            tuple(self.numeric_names[i] for i in numbers),
            self.numeric[:, numbers],
            tuple(self.categorical_names[i] for i in texts),
            self.categorical[:, texts],
        )


@dataclass(frozen=True, slots=True)
class Separability:
    """Cross-validated AUC of a classifier that sees only some features.

    Attributes:
        auc: Area under the ROC curve of the held-out log-odds; 0.5 is chance.
        ci95: Bootstrap interval over sources (over files where there is one source).
        folds: Folds of the cross-validation; 1 where one part was learnt from for another.
        by_source: Whether all files of a source were held out together.
        n_real: Reals.
        n_fake: Fakes.
    """

    auc: float
    ci95: tuple[float, float]
    folds: int
    by_source: bool
    n_real: int
    n_fake: int


def features_of(facts: Sequence[FileFacts]) -> Features:
    """Turn facts of N files into features."""
    sides = np.array([(f.width, f.height) for f in facts], dtype=np.float64).reshape(-1, 2)
    size = np.array([f.bytes for f in facts], dtype=np.float64)
    quality = np.array([np.nan if f.quality is None else f.quality for f in facts])
    pixels = np.maximum(sides.prod(axis=1), 1.0)
    aspect = np.maximum(sides[:, 0], 1.0) / np.maximum(sides[:, 1], 1.0)
    numeric = np.stack((*np.maximum(sides, 1.0).T, pixels, aspect, size / pixels, quality), axis=1)
    categorical = [
        (
            f.format,
            f"{f.width}x{f.height}",
            str(f.width % 64 == 0 and f.height % 64 == 0),
            _text(f.mode),
            _text(f.quantisation),
            _text(f.subsampling),
            _text(f.progressive),
            _text(f.exif),
            _text(f.icc),
        )
        for f in facts
    ]
    return Features(
        ("width", "height", "pixels", "aspect ratio", "bytes per pixel", "JPEG quality"),
        numeric,
        (
            "format",
            "exact size",
            "sides multiples of 64",
            "pixel layout",
            "quantisation tables",
            "chroma subsampling",
            "progressive",
            "EXIF present",
            "colour profile present",
        ),
        np.array(categorical, dtype=np.str_).reshape(len(facts), 9),
    )


def separability(
    features: Features,
    labels: Integers,
    sources: Integers | None,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> Separability | None:
    """Cross-validate a logistic regression on features alone.

    Numbers are cut at quantiles of the training folds, categories seen fewer than five times
    there are ignored, classes weigh equally, and the weights carry an L2 penalty. The AUC is that
    of all held-out log-odds together.

    Args:
        features: Of N files.
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source codes, shape (N,), -1 unknown: files of one source are held out
            together. None holds single files out, so that sources stand on both sides.
        folds: At most; fewer where a class has fewer sources.
        seed: Of folds and bootstrap.

    Returns:
        None where a class has fewer than two sources (or files) to hold out.
    """
    groups = np.arange(len(labels)) if sources is None else _own_groups(sources)
    units = [len(np.unique(groups[labels == label])) for label in (REAL, FAKE)]
    folds = min(folds, *units)
    if folds < 2:
        return None
    fold = grouped_folds(labels, groups, folds, seed)
    scores = np.zeros(len(labels))
    for held_out in range(folds):
        inside = fold != held_out
        if {REAL, FAKE} <= set(labels[inside].tolist()):
            scores[~inside] = _log_odds(features, labels, inside)
    return _measured(labels, scores, sources, folds, seed)


def transferred(
    features: Features, labels: Integers, sources: Integers, judged: Booleans, *, seed: int = 0
) -> Separability | None:
    """Learn on some files, as :func:`separability` does, and judge others by it.

    Args:
        features: Of N files.
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source codes, shape (N,), -1 unknown, for the interval.
        judged: Which files are judged, shape (N,); the others are learnt from.
        seed: Of the bootstrap.

    Returns:
        None where either part lacks a class.
    """
    for part in (judged, ~judged):
        if not {REAL, FAKE} <= set(labels[part].tolist()):
            return None
    scores = _log_odds(features, labels, ~judged)
    return _measured(labels[judged], scores, sources[judged], 1, seed)


def _log_odds(features: Features, labels: Integers, inside: Booleans) -> Floats:
    """Fit on what is inside, and give the log-odds of the rest."""
    design = _design(features, inside)
    odds: Floats = design[~inside] @ fit_ridge_logistic(design[inside], labels[inside])
    return odds


def _measured(
    labels: Integers, log_odds: Floats, sources: Integers | None, folds: int, seed: int
) -> Separability:
    scores = np.round(log_odds, 9)  # equal files tie, whatever the order of summation

    def statistic(weights: Floats) -> Floats:
        return auc(rank(labels, scores, weights))[:, None]

    value = float(statistic(np.ones((1, len(labels))))[0, 0])
    ends = intervals(statistic, labels, sources, resamples=_RESAMPLES, seed=seed)
    return Separability(
        value,
        (float(ends[0, 0]), float(ends[1, 0])),
        folds,
        sources is not None,
        int((labels == REAL).sum()),
        int((labels == FAKE).sum()),
    )


def strongest(
    features: Features, labels: Integers, sources: Integers | None, count: int = 3
) -> tuple[tuple[str, float], ...]:
    """Rank single features by the cross-validated AUC that each reaches alone, best first."""
    found = []
    for name in features.names:
        alone = separability(features.only(name), labels, sources)
        if alone is not None:
            found.append((name, alone.auc))
    return tuple(sorted(found, key=lambda pair: -pair[1])[:count])


def grouped_folds(labels: Integers, groups: Integers, folds: int, seed: int) -> Integers:
    """Deal groups out to folds, largest first, each to the fold that has least of its classes.

    Args:
        labels: Shape (N,).
        groups: Shape (N,): what stays together.
        folds: How many.
        seed: Breaks ties of size.

    Returns:
        The fold of each item, shape (N,), from 0 on.
    """
    _, numbered = np.unique(groups, return_inverse=True)
    counts = np.stack(
        [np.bincount(numbered[labels == label], minlength=numbered.max() + 1) for label in (0, 1)],
        axis=1,
    )  # (groups, 2)
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    order = shuffled[np.argsort(-shares[shuffled].sum(axis=1), kind="stable")]
    load = np.zeros((folds, 2))
    chosen = np.zeros(len(counts), dtype=np.int64)
    for group in order:
        # Weighted by what the group brings: a group of fakes looks only at the fakes' load.
        chosen[group] = int(np.argmin(load @ shares[group]))
        load[chosen[group]] += shares[group]
    fold: Integers = chosen[numbered]
    return fold


def fit_ridge_logistic(design: Floats, labels: Integers) -> Floats:
    """Fit logistic regression with equal class weights and an L2 penalty, by Newton's method.

    Args:
        design: Shape (N, F), the last column being the intercept's ones, not penalised.
        labels: Shape (N,): 0 real, 1 fake; both must occur.

    Returns:
        Weights, shape (F,).
    """
    counts = np.bincount(labels, minlength=2)
    weight = (len(labels) / 2.0) / counts[labels]
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[-1] = 1e-9
    weights = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        z = design @ at
        return float(weight @ (np.logaddexp(0.0, z) - labels * z) + penalty @ at**2 / 2)

    current = loss(weights)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -500, 500)))
        gradient = design.T @ (weight * (p - labels)) + penalty * weights
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (proposed := loss(weights - size * step)) > current and size > 1e-6:
            size /= 2
        if current - proposed <= 1e-9 * max(1.0, abs(current)):
            break
        weights, current = weights - size * step, proposed
    return weights


def _design(features: Features, inside: Booleans) -> Floats:
    """One column a category known from the training part, and one of ones, shape (N, F)."""
    columns: list[Floats] = []
    texts = [_binned(column, inside) for column in features.numeric.T]
    for column in (*texts, *features.categorical.T):
        names, counts = np.unique(column[inside], return_counts=True)
        columns += [(column == name).astype(np.float64) for name in names[counts >= _RARE]]
    columns.append(np.ones(len(inside)))
    return np.stack(columns, axis=1)


def _binned(values: Floats, inside: Booleans) -> Strings:
    known = values[inside & np.isfinite(values)]
    if not len(known):
        return np.full(len(values), "", dtype=np.str_)
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    bins = np.digitize(np.nan_to_num(values), edges).astype(np.str_)
    return np.where(np.isfinite(values), bins, "")


def _own_groups(sources: Integers) -> Integers:
    """Make each unknown source one of its own."""
    own: Integers = np.where(
        sources < 0, sources.max(initial=0) + 1 + np.arange(len(sources)), sources
    )
    return own


def _text(value: str | bool | None) -> str:
    return "" if value is None else str(value)
