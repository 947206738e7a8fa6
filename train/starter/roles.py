"""Which sources trained the encoder, which did not, and what is known of each."""

import csv
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from ..catalogue import Catalogue, Label
from ..config import CONFIG_FILE, RUN_FILE
from ..errors import DataError


class Role(StrEnum):
    """What a source is to a starter."""

    TRAINED = "trained on"  # references; the encoder has seen them
    HELD_OUT = "held out"  # references that the encoder has not seen; calibrated and judged by
    LEFT_OUT = "left out"  # neither trained on nor a reference; judged by alone


@dataclass(frozen=True, slots=True)
class Source:
    """A source of the data.

    Attributes:
        name: As references carry it.
        label: Class of its images.
        generators: Names of what made them; none for reals.
        images: How many.
        role: What it is to the starter.
        licence: As the data says; empty where they do not.
        origin: Where it was collected, as the data say; empty where they do not.
    """

    name: str
    label: Label
    generators: tuple[str, ...]
    images: int
    role: Role
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class Patterns:
    """Names or shell patterns of sources.

    Attributes:
        held_out: Not trained on.
        left_out: Not used at all but for judging.
    """

    held_out: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def role(self, source: str) -> Role:
        """The role of a source."""
        if any(fnmatchcase(source, pattern) for pattern in self.left_out):
            return Role.LEFT_OUT
        held = any(fnmatchcase(source, pattern) for pattern in self.held_out)
        return Role.HELD_OUT if held else Role.TRAINED


def patterns_of_run(run: Path) -> Patterns:
    """The sources that a run of ``code-train`` did not train on.

    Raises:
        DataError: The folder holds no record of a run.
    """
    try:
        facts = json.loads((run / RUN_FILE).read_bytes())
        settings = tomllib.loads((run / CONFIG_FILE).read_text(encoding="utf-8"))
        held_out = tuple(str(name) for name in facts["held_out_sources"])
        left_out = tuple(str(name) for name in settings.get("data", {}).get("exclude", ()))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{run} holds no usable record of a run ({error})",
            "name the sources that did not train with --held-out",
        ) from error
    return Patterns(held_out, left_out)


def describe_sources(catalogue: Catalogue, patterns: Patterns, table: Path) -> tuple[Source, ...]:
    """List the sources of a catalogue.

    Args:
        catalogue: All images.
        patterns: Which sources did not train.
        table: The CSV behind the catalogue, whose columns ``licence`` and ``source_repo`` are
            read if there are such; any other path says nothing.

    Returns:
        Reals first, then by name. A name that stands in both classes is there twice.

    Raises:
        DataError: A class has no source that was held out, or none that trained.
    """
    licences, origins = _column(table, "licence"), _column(table, "source_repo")
    found = []
    for label in Label:
        rows = catalogue.where(label)
        for number in sorted(
            set(catalogue.source[rows].tolist()), key=catalogue.sources.__getitem__
        ):
            name = catalogue.sources[number]
            own = rows[catalogue.source[rows] == number]
            generators = sorted(
                {catalogue.generators[g] for g in catalogue.generator[own].tolist()}
            )
            found.append(
                Source(
                    name,
                    label,
                    tuple(g for g in generators if g),
                    len(own),
                    patterns.role(name),
                    licences.get(name, ""),
                    origins.get(name, ""),
                )
            )
    for label in Label:
        roles = [source.role for source in found if source.label is label]
        if roles.count(Role.HELD_OUT) < 2:
            raise DataError(
                f"fewer than two {label.name.lower()} sources are held out",
                "nothing could be calibrated on one and judged by another: name more of them"
                " with --held-out",
            )
    return tuple(found)


def as_json(sources: Sequence[Source]) -> bytes:
    """The text of ``sources.json``."""
    rows = [
        {
            "source": source.name,
            "label": source.label.name.lower(),
            "generators": list(source.generators),
            "images": source.images,
            "role": str(source.role),
            "licence": source.licence,
            "origin": source.origin,
        }
        for source in sources
    ]
    return (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode()


def _column(table: Path, column: str) -> dict[str, str]:
    """What a CSV says of each source in some column; nothing where it is no CSV."""
    if table.suffix.lower() != ".csv" or not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8-sig") as handle:
        rows = csv.DictReader(handle)
        return {row["source"]: row[column] for row in rows if row.get("source") and row.get(column)}
