"""Which generator made a fake: a vote of its fake neighbours, with its certainty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .exact_bounds import at_most
from .held_out_search import HeldOut, most_held_out, nearest_left, source_codes, unit_vectors
from .leave_one_out import NEAR_DUPLICATE_SIMILARITY, SUBSAMPLE
from .scores import FAKE, Booleans, Floats, Integers

UNKNOWN = "unknown"

NEIGHBOURS = 10
"""Fake neighbours that vote."""

TARGET_PRECISION = 0.9
"""Share of the named generators that shall be right."""

MIN_FAKES = 20
"""Fewest fakes with a generator's name to estimate a certainty on."""

_LEAST_DISTANCE = 1e-6  # float32 cosines tell no nearer neighbours apart


@dataclass(frozen=True, slots=True)
class AttributionRule:
    """When a vote names a generator.

    Attributes:
        k: Fake neighbours that vote.
        least_certainty: Certainty from which the winner is named; None where no certainty
            reaches the target, so that every generator is unknown.
        precision: Share of right names among those given, by leave-one-out, on the fakes that
            chose the certainty too; None if none is.
        named: Share of the held-out fakes that are given a name, in [0, 1].
        n_held_out: Fakes held out; all have a generator's name.
        optimistic: Whether some were held out without their source, because their generator
            has no other, or although the encoder was trained on it.
    """

    k: int
    least_certainty: float | None
    precision: float | None
    named: float
    n_held_out: int
    optimistic: bool


@dataclass(frozen=True, slots=True)
class Attributions:
    """Generators of N queries.

    Attributes:
        generators: Names, shape (N,), dtype object; ``unknown`` where not certain enough.
        certainties: The winner's share of the vote, named or not, shape (N,), in [0, 1].
    """

    generators: npt.NDArray[np.object_]
    certainties: Floats


def vote(similarities: npt.ArrayLike, generators: npt.ArrayLike) -> Attributions:
    """Let the nearest fakes vote for their generators, each with its inverse cosine distance.

    The weights are those of scikit-learn's ``weights="distance"`` (Dudani, "The distance-weighted
    k-nearest-neighbor rule", 1976), with distances below 1e-6 taken as 1e-6. A neighbour without
    a generator's name votes for none, and so lowers the certainty. Ties go to the nearest.

    Args:
        similarities: Cosines to the k nearest fakes, shape (N, k), -inf where there is none.
        generators: Their generators, shape (N, k), strings; empty is unknown.

    Returns:
        Winners without regard to certainty; ``unknown`` (0) where no neighbour has a name.
    """
    cosine = np.asarray(similarities, dtype=np.float64)
    names = np.asarray(generators).astype(str)
    if cosine.ndim != 2 or cosine.shape != names.shape:
        raise ValueError(f"expected two arrays (N, k), got {cosine.shape} and {names.shape}")
    winners = np.full(len(cosine), UNKNOWN, dtype=np.object_)
    if not cosine.size:
        return Attributions(winners, np.zeros(len(cosine)))
    weights = np.where(np.isfinite(cosine), 1.0 / np.maximum(1.0 - cosine, _LEAST_DISTANCE), 0.0)
    named = weights * (names != "")
    share = np.zeros_like(weights)  # of the vote, for each neighbour's generator
    for column in range(cosine.shape[1]):
        share += named[:, [column]] * (names == names[:, [column]])
    share[named == 0] = 0.0
    best = share.argmax(axis=1)
    rows = np.arange(len(cosine))
    total = weights.sum(axis=1)
    certainties = np.where(total > 0, share[rows, best] / np.where(total > 0, total, 1.0), 0.0)
    found = certainties > 0
    winners[found] = names[rows, best][found]
    return Attributions(winners, np.minimum(certainties, 1.0))


def attribute(
    similarities: npt.ArrayLike, generators: npt.ArrayLike, rule: AttributionRule
) -> Attributions:
    """Name the generators of queries where the vote is certain enough.

    Args:
        similarities: As for :func:`vote`, shape (N, K) with K >= ``rule.k`` or all there are.
        generators: As for :func:`vote`.
        rule: Of the gallery.
    """
    votes = vote(np.asarray(similarities)[:, : rule.k], np.asarray(generators)[:, : rule.k])
    least = np.inf if rule.least_certainty is None else rule.least_certainty
    names = np.where(votes.certainties >= least, votes.generators, UNKNOWN)
    return Attributions(names.astype(np.object_), votes.certainties)


def attributed(
    similarities: npt.NDArray[np.float64], generators: Sequence[str], rule: AttributionRule
) -> tuple[str | None, float | None]:
    """Name the generator of one picture, and the certainty.

    Args:
        similarities: Cosines to its nearest fakes, shape (K,), with K as for :func:`attribute`.
        generators: Of these, K; empty is unknown.
        rule: Of the gallery.

    Returns:
        None and None where no voter has a generator's name.
    """
    voters = list(generators[: rule.k])
    if not any(voters):
        return None, None
    named = attribute(similarities[None, : rule.k], [voters], rule)
    return str(named.generators[0]), float(named.certainties[0])


def fit_attribution(
    vectors: npt.NDArray[np.float32],
    labels: npt.ArrayLike,
    sources: npt.ArrayLike,
    generators: npt.ArrayLike,
    *,
    trained: npt.ArrayLike | None = None,
    compared: npt.ArrayLike | None = None,
    k: int = NEIGHBOURS,
    target_precision: float = TARGET_PRECISION,
    near_duplicate_similarity: float = NEAR_DUPLICATE_SIMILARITY,
    subsample: int = SUBSAMPLE,
    seed: int = 0,
) -> AttributionRule:
    """Estimate by leave-one-out from which certainty on a vote is right often enough.

    Each fake with a generator's name is attributed by the gallery without itself, without near
    duplicates, and without its source where its generator has another source (else leaving the
    source out would leave out the answer; the rule is then marked optimistic). The threshold is
    the least certainty at which the share of wrong names is within the target with 95 % confidence
    (:func:`~.exact_bounds.at_most`), so that few held-out fakes cannot promise much, and choosing
    the certainty by the same fakes does not flatter. Where all have one generator's name there is
    nothing to tell apart, and none is named.

    Args:
        vectors: Embeddings of the gallery, shape (N, D), float32.
        labels: Shape (N,): 0 real, 1 fake.
        sources: Source names, shape (N,); empty is unknown.
        generators: Generators' names, shape (N,); empty is unknown.
        trained: Whether the encoder was trained on images of a reference's source, shape (N,):
            these vote, but are not held out where there are others.
        compared: Whether queries are compared with a reference, shape (N,): the others do not
            vote. None is for all.
        k: Fake neighbours that vote.
        target_precision: Share of the named that shall be right, in (0, 1).
        near_duplicate_similarity: Cosine from which a reference is a near duplicate.
        subsample: Most fakes to hold out.
        seed: Of the sample.
    """
    fakes = np.flatnonzero(np.asarray(labels) == FAKE)
    names = np.asarray(generators).astype(str)[fakes]
    units = unit_vectors(np.asarray(vectors)[fakes])
    groups = source_codes(sources)[fakes]
    named = names != ""
    unseen = named if trained is None else named & ~np.asarray(trained, np.bool_)[fakes]
    held_out = np.flatnonzero(unseen if unseen.any() else named)
    most = most_held_out(subsample, len(fakes))
    if len(held_out) > most:
        random = np.random.default_rng(seed)
        held_out = np.sort(random.choice(held_out, most, replace=False))
    lone = _only_source(names, groups)[held_out]
    exclude = np.where(lone, -1, groups[held_out])
    if len(held_out) < MIN_FAKES or len(np.unique(names[named])) < 2:
        return AttributionRule(k, None, None, 0.0, len(held_out), bool(lone.any()))
    found = nearest_left(
        units,
        groups,
        np.arange(len(fakes)) if compared is None else np.flatnonzero(np.asarray(compared)[fakes]),
        HeldOut(held_out, exclude, np.ones(len(held_out), dtype=np.bool_)),
        k=k,
        near_duplicate_similarity=near_duplicate_similarity,
    )
    neighbours = np.where(found.rows >= 0, names[found.rows], "")
    votes = vote(found.similarities, neighbours)
    right = votes.generators == names[held_out]
    least = _least_certainty(votes.certainties, right, target_precision)
    given = votes.certainties >= (np.inf if least is None else least)
    return AttributionRule(
        k=k,
        least_certainty=least,
        precision=float(right[given].mean()) if given.any() else None,
        named=float(given.mean()),
        n_held_out=len(held_out),
        optimistic=bool(lone.any() or not unseen.any()),
    )


def _least_certainty(certainties: Floats, right: Booleans, target: float) -> float | None:
    order = np.argsort(-certainties, kind="stable")
    ranked = certainties[order]
    wrong = np.cumsum(~right[order])
    named = np.arange(1, len(ranked) + 1)
    last_of_tie = np.append(ranked[1:] < ranked[:-1], True)
    for last in np.flatnonzero(last_of_tie & (ranked > 0) & (wrong <= (1.0 - target) * named))[
        ::-1
    ]:
        if at_most(int(wrong[last]), int(named[last])) <= 1.0 - target:
            return float(ranked[last])
    return None


def _only_source(names: npt.NDArray[np.str_], groups: Integers) -> Booleans:
    """Tell which fakes have a generator of no other source than theirs, or no known source."""
    _, codes = np.unique(names, return_inverse=True)
    pairs = np.unique(np.stack((codes, groups), axis=1), axis=0)
    sources_of = np.bincount(pairs[:, 0], minlength=int(codes.max(initial=0)) + 1)
    alone: Booleans = (groups < 0) | (sources_of[codes] == 1)
    return alone
