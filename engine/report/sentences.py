"""Sentences of an explanation, and how values are written in them."""

from dataclasses import dataclass

from ..inert import path_text


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, its changing parts apart, so that a report can store its pattern once.

    Attributes:
        pattern: With ``{}`` where a value goes.
        values: Inert texts in that order.
    """

    pattern: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.pattern.format(*self.values)


def say(pattern: str, *values: str) -> Sentence:
    """A sentence whose values, which may be hostile, are made inert."""
    return Sentence(pattern, tuple(path_text(value) for value in values))


def number(value: float) -> str:
    """A score, with its sign."""
    return f"{value:+.4f}"


def percent(share: float) -> str:
    """A share in [0, 1]."""
    return f"{100 * share:.3g}%"
