"""Rows of the HTML report as compact data: what repeats is written once and named by a number."""

import json
from collections.abc import Hashable
from typing import Any

from ..inert import path_text
from ..results import FileResult, Label, Neighbour
from .explain import explain
from .judging import Judging
from .middle import change_in_words, middle_of
from .nearest import nearest_of
from .sentences import Sentence

VERDICTS = ("fake", "inconclusive", "real", "")
"""In the order in which the table's filter shows them; empty is a row without verdict."""

STATUSES = ("scanned", "cached", "duplicate", "skipped", "failed")

_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def script_json(value: Any) -> str:
    """JSON that cannot end the script element that it stands in, nor open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


class Interned:
    """Numbers things from 0 on, in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self.values: list[Any] = []

    def number(self, key: Hashable, value: Any = None) -> int:
        """The number of a thing; `value` is what is written of it, the key itself if None."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.values)
            self.values.append(key if value is None else value)
        return number


class RowEncoder:
    """Turns rows into arrays, and collects what they share.

    Attributes:
        reasons: Reason codes of rows without a verdict and of inconclusive ones.
        generators: Generators as named by the rows.
        references: Cited references as [id, label, generator, source].
        patterns: Sentences without their changing parts.
    """

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self.reasons = Interned()
        self.generators = Interned()
        self.references = Interned()
        self.patterns = Interned()
        self.reasons.number("")
        self.generators.number("")

    def row(self, result: FileResult) -> list[Any]:
        """What the table sorts and filters by; a classifier's decision only where there is one."""
        generator = result.attribution or result.generator or ""
        score = result.margin if result.score is None else result.score
        decision = result.classifier_score
        return [
            path_text(result.path),
            result.sha256 or "",
            VERDICTS.index(result.verdict or ""),
            STATUSES.index(result.status),
            self.reasons.number(result.reason or ""),
            self.generators.number(path_text(generator)),
            _round(result.p_fake),
            _round(result.log10_lr),
            _round(score),
            *([] if decision is None else [_round(decision)]),
        ]

    def detail(self, result: FileResult) -> dict[str, Any]:
        """What the evidence panel shows beside it; empty parts are left out."""
        said = explain(result, self._judging)
        parts: dict[str, Any] = {
            "bytes": result.bytes,
            "format": _text(result.format),
            "width": result.width,
            "height": result.height,
            "knn": _text(result.knn),
            "precision": _text(result.precision),
            "duplicate": _text(result.duplicate_of),
            "why": [self._sentence(s) for s in (said.headline, *said.sentences)],
            "advice": self._sentence(said.advice) if said.advice else None,
            "near": [[self.reference(n), _round(n.similarity)] for n in result.neighbours],
            "provenance": [
                [path_text(str(finding.get(key, ""))) for key in _FINDING]
                for finding in result.provenance.get("findings", ())
            ],
            "crops": [
                [c.left, c.top, c.size, _round(c.score), _round(c.p_fake)] for c in result.crops
            ],
            "probe": self._probe(result),
        }
        return {name: part for name, part in parts.items() if part not in (None, [], "")}

    def reference(self, neighbour: Neighbour) -> int:
        """The number of a cited reference."""
        words = (
            path_text(neighbour.id),
            str(neighbour.label),
            path_text(neighbour.generator),
            path_text(neighbour.source),
        )
        return self.references.number(neighbour.key, list(words))

    def tables(self) -> dict[str, Any]:
        """What the rows' numbers stand for."""
        return {
            "verdicts": VERDICTS,
            "statuses": STATUSES,
            "reasons": self.reasons.values,
            "generators": self.generators.values,
            "references": self.references.values,
            "patterns": self.patterns.values,
        }

    def _probe(self, result: FileResult) -> list[list[Any]]:
        """The middle as it is, where that is known, then what each change of it gave."""
        probe = [[change_in_words(p.change), _round(p.score), str(p.verdict)] for p in result.probe]
        middle = middle_of(result, self._judging) if probe else None
        first = [] if middle is None else [["as it is", _round(middle.score), str(middle.verdict)]]
        return [*first, *probe]

    def _sentence(self, sentence: Sentence) -> list[Any]:
        return [self.patterns.number(sentence.pattern), *sentence.values]


_FINDING = ("kind", "value", "strength", "where")


def side_by_side(result: FileResult) -> list[Neighbour]:
    """The references that are shown with a picture: the nearest of each class."""
    both = (nearest_of(result, Label.REAL), nearest_of(result, Label.FAKE))
    return [neighbour for neighbour in both if neighbour is not None]


def _round(value: float | None) -> float | None:
    """Far finer than what is shown, which then is what the sentences say, rounded once."""
    return None if value is None else round(value, 8)


def _text(value: str | None) -> str | None:
    return None if value is None else path_text(str(value))
