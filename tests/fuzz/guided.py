"""Coverage-guided fuzzing without a compiled fuzzer, for the targets beside this module.

:func:`sys.settrace` records which lines of the watched modules an input reaches, and an input that
reaches a new line, or a new pair of lines, joins the corpus that later inputs are made from.

Checked for every input, beside what the target itself checks: it raises nothing; nothing is
imported, opened, executed or compiled meanwhile (audit hook), but for what the target allows; it
takes bounded processor time and memory. Findings are written to ``--out``; the exit code is 1 if
there are any.
"""

import argparse
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

HARMLESS = frozenset({"object.__getattr__", "object.__setattr__", "sys._getframe", "sys.settrace"})


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        check: Works on one input, and raises what should not happen.
        seeds: Inputs to begin with.
        watched: Modules whose lines count.
        tokens: Pieces that mutations write.
        wrap: Now and then applied to a mutated input, such as compression.
        allowed: Audit events that may come, beside the harmless ones.
        seconds: Processor time that one input may take.
        memory: Bytes that Python may allocate for one input.
        suffix: Of the files that findings are written to.
    """

    check: Callable[[bytes], None]
    seeds: Sequence[bytes]
    watched: Sequence[ModuleType]
    tokens: Sequence[bytes]
    wrap: Callable[[bytes], bytes] | None = None
    allowed: frozenset[str] = frozenset()
    seconds: float = 1.0
    memory: int = 64 << 20
    suffix: str = "bin"


TRACED = 0.25  # of the inputs: tracing makes one some ten times slower


class Coverage:
    """Pairs of consecutive lines of the watched modules that some input has reached."""

    def __init__(self, target: Target) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._files = {module.__file__ for module in target.watched}
        self._check = target.check
        self._new = False
        self._last = 0

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line":
            place = hash((frame.f_code.co_filename, frame.f_lineno))
            pair = (self._last, place)
            self._last = place
            if pair not in self.seen:
                self.seen.add(pair)
                self._new = True
        return self._trace

    def run(self, data: bytes) -> bool:
        """Check an input; whether it reached something new."""
        self._new, self._last = False, 0
        sys.settrace(self._trace)
        try:
            self._check(data)
        finally:
            sys.settrace(None)
        return self._new


def mutate(data: bytes, corpus: list[bytes], target: Target, rng: random.Random) -> bytes:
    """A changed input."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0:
                changed[at : at + rng.randrange(9)] = rng.choice(target.tokens)
            case 1:
                changed[at:at] = rng.choice(target.tokens)
            case 2:
                del changed[at : at + rng.randrange(1, 40)]
            case 3 if changed:
                at = min(at, len(changed) - 1)
                changed[at] = rng.randrange(256)
            case 4 if changed:
                at = min(at, len(changed) - 1)
                changed[at] ^= 1 << rng.randrange(8)
            case 5:
                other = rng.choice(corpus)
                cut = rng.randrange(len(other) + 1)
                changed[at:] = other[cut:]
            case _:
                changed[at:at] = changed[at : at + rng.randrange(60)]
    result = bytes(changed)
    return target.wrap(result) if target.wrap is not None and rng.random() < 0.03 else result


def fuzz(target: Target, description: str) -> int:
    """Run for a time; report executions, coverage and findings."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    rng, coverage, corpus = random.Random(options.seed), Coverage(target), list(target.seeds)
    for data in corpus:
        coverage.run(data)
    events: list[str] = []
    watching = False

    def hook(event: str, about: tuple[object, ...]) -> None:
        if watching and event not in HARMLESS and event not in target.allowed:
            events.append(f"{event} {about[0]}" if event == "import" else event)

    sys.addaudithook(hook)
    tracemalloc.start()
    started = time.monotonic()
    runs = findings = 0
    kinds: set[str] = set()
    while time.monotonic() - started < options.seconds:
        data = mutate(rng.choice(corpus), corpus, target, rng)
        tracemalloc.reset_peak()
        floor = tracemalloc.get_traced_memory()[0]
        before, problem = time.thread_time(), ""
        events.clear()
        watching = True
        new = False
        try:
            if rng.random() < TRACED:
                new = coverage.run(data)
            else:
                target.check(data)
        except Exception as error:  # what a fuzzer looks for
            problem = f"{type(error).__name__}: {error}"
        finally:
            watching = False
        runs += 1
        if events and not events[0].startswith("import encodings."):  # a charset, by its name
            problem = problem or f"audit event {events[0]}"
        if time.thread_time() - before > target.seconds:
            problem = problem or "slow"
        if tracemalloc.get_traced_memory()[1] - floor > target.memory:
            problem = problem or "memory"
        if new and len(data) < 1 << 16:
            corpus.append(data)
        if problem and problem not in kinds:
            kinds.add(problem)
            findings += 1
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{findings}.{target.suffix}").write_bytes(data)
            print(f"finding {findings}: {problem}", flush=True)
    print(
        f"{runs} inputs in {time.monotonic() - started:.0f} s, corpus {len(corpus)},"
        f" {len(coverage.seen)} pairs of lines, {findings} findings"
    )
    return 1 if findings else 0
