"""What this process and a decoding one say to each other.

The process at the other end may be in an attacker's hands, so whatever comes back is checked
against what it has to be.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ..decoding.decode import Decoded, DecodeOptions, Isolation, Reason, Undecodable
from ..decoding.layout import Crops
from ..decoding.views import SIZE, ViewPlan
from .framing import BrokenMessageError

REGION = "region"
"""Argument of a decoding process that is to read parts of JPEGs."""

_CROP = SIZE * SIZE * 3
_TEXT = 1000  # characters of any word in an answer


class Work(StrEnum):
    """What a decoding process can be asked for."""

    DECODE = "decode"
    FRAMES = "frames"
    PROVENANCE = "provenance"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work.

    Attributes:
        work: Which.
        options: Bounds for the decoder.
        start: First frame, from 0; for `Work.FRAMES`, which has an answer for each.
        stop: First frame that is not wanted.
        frames: How many the file has, where that is known.
    """

    work: Work
    options: DecodeOptions
    start: int = 0
    stop: int = 1
    frames: int = 1

    def header(self) -> dict[str, Any]:
        """As JSON-able object."""
        return {
            "work": self.work.value,
            "max_pixels": self.options.max_pixels,
            "max_bytes": self.options.max_bytes,
            "timeout": self.options.timeout,
            "region": self.options.region and self.options.isolation is Isolation.ALL,
            "crops": self.options.views.crops.value,
            "probe": self.options.views.probe,
            "start": self.start,
            "stop": self.stop,
            "frames": self.frames,
        }

    @classmethod
    def of(cls, header: dict[str, Any]) -> "Request":
        """From :meth:`header`."""
        options = DecodeOptions(
            max_pixels=header["max_pixels"],
            max_bytes=header["max_bytes"],
            timeout=header["timeout"],
            isolation=Isolation.NONE,
            region=header["region"],
            views=ViewPlan(Crops(header["crops"]), header["probe"]),
        )
        start, stop, frames = header["start"], header["stop"], header["frames"]
        return cls(Work(header["work"]), options, start, stop, frames)


def pack(answer: Decoded | Undecodable) -> tuple[dict[str, Any], bytes]:
    """An answer as JSON-able object and the raw bytes of its crops."""
    facts = {"format": answer.format, "width": answer.width, "height": answer.height}
    if isinstance(answer, Undecodable):
        return {**facts, "reason": answer.reason.value, "detail": answer.detail}, b""
    facts |= {"frames": answer.frames, "decoder": answer.decoder, "views": len(answer.views)}
    return facts, answer.views.tobytes()


def unpack(facts: dict[str, Any], raw: bytes, plan: ViewPlan) -> Decoded | Undecodable:
    """An answer from :func:`pack`.

    Args:
        facts: The object.
        raw: The crops, one after the other.
        plan: What is cut out of each picture.

    Raises:
        BrokenMessageError: It is anything else.
    """
    name = _word(facts, "format")
    width, height = _size(facts, "width"), _size(facts, "height")
    if "reason" in facts:
        reason, detail = _word(facts, "reason"), _word(facts, "detail")
        if reason not in set(Reason) or raw:
            raise BrokenMessageError("not a refusal")
        return Undecodable(Reason(reason), detail, name, width, height)
    frames, count = _size(facts, "frames"), _size(facts, "views")
    if not width or not height or not frames or count != plan.count(width, height):
        raise BrokenMessageError("not a picture")
    if len(raw) != count * _CROP:
        raise BrokenMessageError("another number of crops than stated")
    views = np.frombuffer(raw, np.uint8).reshape(count, SIZE, SIZE, 3)
    return Decoded(views, name, width, height, frames, _word(facts, "decoder"))


def _word(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or len(value) > _TEXT:
        raise BrokenMessageError(f"{key} is not a word")
    return value


def _size(facts: dict[str, Any], key: str) -> int | None:
    value = facts.get(key)
    if value is not None and (type(value) is not int or not 0 <= value < 1 << 63):
        raise BrokenMessageError(f"{key} is not a length")
    return value
