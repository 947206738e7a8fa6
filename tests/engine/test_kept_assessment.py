"""Assessments are fitted once for each state of a gallery, and again where one is damaged."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.judging import assessment
from code_forensics.engine.judging.assessment import Assessment
from code_forensics.engine.judging.kept import LARGE, kept_assessment


@dataclass
class Row:
    id: str
    label: str
    generator: str
    source: str
    trained: bool = False
    compared: bool = True


@dataclass
class Shelf:
    """A gallery of forty references, and where its assessments are kept."""

    name: str = "desk"
    reals: int = 20
    fakes: int = 20
    kept: dict[int, bytes] = field(default_factory=dict)
    fits: int = 0

    def assessment(self, info: "Shelf", k: int) -> bytes | None:
        return self.kept.get(k)

    def keep_assessment(self, info: "Shelf", k: int, document: bytes) -> None:
        self.kept[k] = document

    def references(self, info: "Shelf") -> Iterator[tuple[Row, np.ndarray]]:
        self.fits += 1
        rng = np.random.default_rng(1)
        for number in range(40):
            label = "fake" if number % 2 else "real"
            vector = rng.normal(size=8).astype(np.float32)
            vector[0] += 2 * (number % 2)
            yield Row(f"desk:{number}", label, "", f"{label}{number % 4}"), vector


def test_a_state_is_fitted_once_for_each_k() -> None:
    shelf, lines = Shelf(), list[str]()
    first = kept_assessment(shelf, shelf, 1, lines.append)
    again = kept_assessment(shelf, shelf, 1, lines.append)
    assert shelf.fits == 1 and again.to_bytes() == first.to_bytes()
    kept_assessment(shelf, shelf, 3)
    assert shelf.fits == 2 and set(shelf.kept) == {1, 3}
    assert lines == []  # a small gallery takes no time that is worth a word


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_one_is_fitted_again_and_said(damage: str) -> None:
    shelf, lines = Shelf(), list[str]()
    sound = kept_assessment(shelf, shelf, 1).to_bytes()
    half = len(sound) // 2
    shelf.kept[1] = {
        "cut": sound[:-20],
        "flipped": sound[:half]
        + bytes(byte ^ 0xFF for byte in sound[half:][:64])
        + sound[half + 64 :],
        "other": b"{}",
    }[damage]
    assert kept_assessment(shelf, shelf, 1, lines.append).to_bytes() == sound
    assert shelf.fits == 2 and shelf.kept[1] == sound
    assert len(lines) == 1 and "fitting it again" in lines[0]


def test_one_of_another_version_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, lines = Shelf(), list[str]()
    with monkeypatch.context() as before:
        before.setattr(assessment, "_FORM", 0)
        kept_assessment(shelf, shelf, 1)
    kept_assessment(shelf, shelf, 1, lines.append)
    assert shelf.fits == 2
    assert lines == [
        "the gallery was assessed by another version of code-forensics: fitting it again"
    ]


def test_no_damage_of_a_byte_is_more_than_an_input_error() -> None:
    shelf = Shelf()
    sound = kept_assessment(shelf, shelf, 1).to_bytes()
    directory = sound.rindex(b"PK\x01\x02")  # where methods, flags, and sizes stand once more
    for place in [*range(120), *range(directory, len(sound))]:
        for mask in (0x01, 0x40, 0xFF):
            damaged = bytearray(sound)
            damaged[place] ^= mask
            with suppress(InputError):
                Assessment.from_bytes(bytes(damaged))


def test_a_large_one_is_announced() -> None:
    shelf, lines = Shelf(reals=LARGE), list[str]()
    kept_assessment(shelf, shelf, 1, lines.append)
    assert lines == ["calibrating desk on its own references (once for each change)"]
