"""What an examination of a gallery finds: one finding a check, with numbers and what to do."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ..inert import for_json
from ..judging.scores import Integers


class Severity(StrEnum):
    """How much a finding matters, least first."""

    GOOD = "good"  # nothing to do
    UNKNOWN = "unknown"  # could not be looked at
    NOTE = "note"  # know it when reading verdicts
    WARNING = "warning"  # makes error rates worse, or their estimates optimistic
    SERIOUS = "serious"  # makes verdicts wrong


@dataclass(frozen=True, slots=True)
class Measure:
    """A named number, or a name, behind a finding."""

    name: str
    value: float | int | str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: A stable code.
        severity: How much it matters.
        message: One sentence.
        measures: The numbers.
        advice: What to do; empty where nothing is.
    """

    check: str
    severity: Severity
    message: str
    measures: tuple[Measure, ...] = ()
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As a JSON-able mapping, every name inert."""
        values = asdict(self)
        values["measures"] = {
            m.name: for_json(m.value) if isinstance(m.value, str) else m.value
            for m in self.measures
        }
        values["message"], values["advice"] = for_json(self.message), for_json(self.advice)
        return values


@dataclass(frozen=True, slots=True)
class References:
    """The N references of a gallery.

    Attributes:
        name: Of the gallery.
        vectors: Shape (N, D), float32.
        labels: Shape (N,): 0 real, 1 fake.
        sources: N names; empty is unknown.
        generators: N names; empty is unknown, and for reals.
        sha256: N digests of the files; empty where unknown.
        paths: N paths of the files; empty where unknown.
        compared: Shape (N,): whether pictures are compared with it; others calibrate alone.
    """

    name: str
    vectors: npt.NDArray[np.float32]
    labels: Integers
    sources: tuple[str, ...]
    generators: tuple[str, ...]
    sha256: tuple[str, ...]
    paths: tuple[str, ...]
    compared: npt.NDArray[np.bool_]


def some(names: list[str], count: int = 3) -> str:
    """Name the first few of many."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")
