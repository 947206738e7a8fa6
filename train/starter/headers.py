"""What the headers of the files give away: a classifier that sees no picture, as a yardstick."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ...engine.evaluation.metadata_classifier import Separability, features_of, transferred
from ..catalogue import Catalogue, Label
from ..split import spread
from .conditions import Condition
from .embedding import Embedded, facts_of
from .roles import Patterns, Role

SAMPLE = 500
"""Images of a class that it learns from, at most."""


def headers_alone(
    catalogue: Catalogue,
    usable: NDArray[np.int64],
    embedded: Embedded,
    judged: NDArray[np.int64],
    patterns: Patterns,
    condition: Condition,
) -> Separability | None:
    """Learn from the headers of sources that trained, and judge the others by theirs.

    Args:
        catalogue: All images.
        usable: Numbers of those that can be embedded.
        embedded: Holds the judged images in the condition.
        judged: Their numbers.
        patterns: Which sources did not train.
        condition: In which all files are.

    Returns:
        None where nothing can be learnt.
    """
    trained = np.array([patterns.role(name) is Role.TRAINED for name in catalogue.sources])
    own = usable[trained[catalogue.source[usable]]]
    learnt = np.concatenate(
        [
            spread(part, catalogue.source[part], SAMPLE, 0)
            for part in (own[catalogue.label[own] == label] for label in Label)
        ]
    )
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        looked = list(pool.map(lambda n: facts_of(catalogue, (n, condition)), learnt.tolist()))
    rows = embedded.rows()
    pairs = [(n, facts) for n, facts in zip(learnt.tolist(), looked, strict=True) if facts]
    count = len(pairs)
    pairs += [(n, embedded.facts[rows[n, condition]]) for n in judged.tolist()]
    numbers = np.array([number for number, _ in pairs])
    return transferred(
        features_of([facts for _, facts in pairs]),
        catalogue.label[numbers].astype(np.int64),
        catalogue.source[numbers].astype(np.int64),
        np.arange(len(pairs)) >= count,
    )
