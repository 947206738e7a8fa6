"""Counts scores while rows pass, and draws them as an SVG histogram by verdict."""

import math
from collections.abc import Iterator

from ..results import FileResult, Verdict
from .judging import Judging

_FINE = 4000  # bins over [-2, 2], of which as many as a bar needs are joined
_BARS = 40
_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 34
_WORDS = 124  # room that the words at a threshold take
_ORDER = (Verdict.REAL, Verdict.INCONCLUSIVE, Verdict.FAKE)  # from the bottom of a bar up


class Histogram:
    """Scores by verdict, in bins of 0.001; memory does not grow with the rows."""

    def __init__(self) -> None:
        self.counts = {verdict: [0] * _FINE for verdict in _ORDER}

    def add(self, result: FileResult) -> None:
        """Count one row, if it has a score."""
        score = result.margin if result.score is None else result.score
        if score is not None and result.verdict is not None:
            place = math.floor((score + 2.0) * _FINE / 4.0)
            self.counts[result.verdict][min(max(place, 0), _FINE - 1)] += 1

    def svg(self, judging: Judging) -> str:
        """Draw it, thresholds included; a sentence where there is no score.

        Args:
            judging: Gives the thresholds, and says whether they decided.
        """
        total = [sum(column) for column in zip(*self.counts.values(), strict=True)]
        used = [place for place, count in enumerate(total) if count]
        if not used:
            return "<p>No file has a score.</p>"
        edges = [_fine_bin(t) for t in (judging.real_below, judging.fake_above) if t is not None]
        first = min([*used, *map(math.floor, edges)])
        last = max([*used, *map(math.ceil, edges)])
        step = max(1, math.ceil((last - first + 1) / _BARS))
        first -= first % step
        bars = range(first, last + 1, step)
        stacks = [[sum(self.counts[v][b : b + step]) for v in _ORDER] for b in bars]
        top = _nice(max(map(sum, stacks)))
        frame = _Frame(first, first + step * len(bars), top)
        parts = [
            f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
            ' aria-labelledby="histogram-title histogram-text">',
            '<title id="histogram-title">Scores of the judged files, by verdict</title>',
            f'<desc id="histogram-text">{_in_words(self.counts)}</desc>',
            *_axes(frame, top, judging),
            *_drawn(frame, bars, step, stacks),
            *_thresholds(frame, judging),
            "</svg>",
        ]
        return "".join(parts)


class _Frame:
    """Where bins and counts lie in the picture."""

    def __init__(self, first: int, end: int, top: int) -> None:
        self.first, self.end, self.top = first, end, top

    def x(self, place: float) -> float:
        share = (place - self.first) / (self.end - self.first)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, count: float) -> float:
        return round(_HEIGHT - _BOTTOM - count / self.top * (_HEIGHT - _TOP - _BOTTOM), 1)


def _fine_bin(score: float) -> float:
    return (score + 2.0) * _FINE / 4.0


def _score(place: float) -> str:
    return f"{place * 4.0 / _FINE - 2.0:+.3f}"


def _nice(count: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 and so on."""
    power: int = 10 ** int(math.log10(count))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= count)


def _axes(frame: _Frame, top: int, judging: Judging) -> Iterator[str]:
    for count in sorted({0, top // 2, top}):
        y = frame.y(count)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{count:,}</text>'
    step = _nice(math.ceil((frame.end - frame.first) / 6))
    for place in range(-(-frame.first // step) * step, frame.end + 1, step):
        x = frame.x(place)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{frame.y(0)}" y2="{frame.y(0) + 4}"/>'
        yield (
            f'<text class="tick" x="{x}" y="{_HEIGHT - 18}" text-anchor="middle">'
            f"{_score(place)}</text>"
        )
    whose = "score" if judging.classifier is None else "score of the neighbours (not what decided)"
    yield (
        f'<text class="tick" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 3}"'
        f' text-anchor="middle">{whose}: towards real to the left, towards generated to the right'
        "</text>"
    )


def _drawn(frame: _Frame, bars: range, step: int, stacks: list[list[int]]) -> Iterator[str]:
    for place, stack in zip(bars, stacks, strict=True):
        below = 0
        left, right = frame.x(place), frame.x(place + step)
        for verdict, count in zip(_ORDER, stack, strict=True):
            if count:
                high, low = frame.y(below + count), frame.y(below)
                yield (
                    f'<rect class="bar {verdict}" x="{left}" y="{high}"'
                    f' width="{max(right - left - 1, 0.5):.1f}" height="{low - high:.1f}">'
                    f"<title>{_score(place)} to {_score(place + step)}: {count:,} {verdict}"
                    "</title></rect>"
                )
                below += count


def _thresholds(frame: _Frame, judging: Judging) -> Iterator[str]:
    for score, words in (
        (judging.real_below, "real below"),
        (judging.fake_above, "fake above"),
    ):
        if score is not None:
            x = frame.x(_fine_bin(score))
            # Outside of the two thresholds, where there is room for it.
            left = x >= _WORDS if score == judging.real_below else x > _WIDTH - _WORDS
            anchor = "end" if left else "start"
            near = x + (4 if anchor == "start" else -4)
            yield f'<line class="threshold" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{frame.y(0)}"/>'
            yield (
                f'<text class="tick" x="{near}" y="{_TOP - 12}" text-anchor="{anchor}">'
                f"{words} {score:+.3f}</text>"
            )


def _in_words(counts: dict[Verdict, list[int]]) -> str:
    parts = []
    for verdict in reversed(_ORDER):
        places = [place for place, count in enumerate(counts[verdict]) if count]
        if places:
            files = sum(counts[verdict])
            parts.append(
                f"{files} {verdict}, scores {_score(places[0])} to {_score(places[-1] + 1)}"
            )
    return "; ".join(parts) + "."
