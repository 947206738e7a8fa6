"""Fuzzes the joblib reader, by hand: ``python tests/fuzz/sklearn_files.py --seconds 300``.

Coverage-guided without a compiled fuzzer: :func:`sys.settrace` records which lines of the reader an
input reaches, and an input that reaches a new line, or a new pair of lines, joins the corpus that
later inputs are made from. Mutations know the format: opcodes, lengths, names, spliced halves of
other inputs, and compression around the result.

Checked for every input: it gives a classifier or a :class:`FileFormatError` with a printable, short
message; nothing is imported, opened, executed or compiled meanwhile (audit hook); it takes less
than a second of processor time, and bounded memory. Findings are written to ``--out``; the exit
code is 1 if there are any.
"""

import argparse
import pickle
import pickletools
import random
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from code_forensics.index import inert_arrays, inert_pickle, sklearn_files
from code_forensics.index.errors import FileFormatError
from code_forensics.index.sklearn_files import read_sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import OneClassSVM

FIXTURES = Path(__file__).parents[1] / "index" / "fixtures"
SLOW_SECONDS = 1.0
MEMORY_BYTES = 64 << 20
TRACED = 0.25  # of the inputs: tracing makes one some ten times slower
WATCHED = {inert_arrays.__file__, inert_pickle.__file__, sklearn_files.__file__}
HARMLESS = {"object.__getattr__", "object.__setattr__", "sys._getframe", "sys.settrace"}
TOKENS = [
    *(opcode.code.encode("latin-1") for opcode in pickletools.opcodes),
    *(b"numpy\ndtype\n", b"numpy\nndarray\n", b"posix\nsystem\n", b"_codecs\nencode\n"),
    *(b"joblib.numpy_pickle\nNumpyArrayWrapper\n", b"latin1", b"f8", b"<", b"O", b"V8"),
    *(b"shape", b"order", b"subclass", b"dtype", b"allow_mmap", b"numpy_array_alignment_bytes"),
    *(struct.pack("<I", n) for n in (0, 1, 255, 0x7FFFFFFF, 0xFFFFFFFF)),
    *(struct.pack("<Q", n) for n in (0, 1 << 31, 1 << 62, (1 << 64) - 1)),
]


def seeds() -> list[bytes]:
    """Files of other versions, and the three estimators at every protocol."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((12, 4)), np.arange(12) % 2
    models: list[Any] = [
        KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(vectors, labels),
        LogisticRegression().fit(vectors, labels),
        OneClassSVM(kernel="poly").fit(vectors),
    ]
    found = [path.read_bytes() for path in sorted(FIXTURES.glob("*.sav"))]
    return found + [pickle.dumps(model, protocol) for model in models for protocol in range(2, 6)]


class Coverage:
    """Pairs of consecutive lines of the reader that some input has reached."""

    def __init__(self) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._new = False
        self._last = 0

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
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
        """Read an input; whether it reached something new."""
        self._new, self._last = False, 0
        sys.settrace(self._trace)
        try:
            check(data)
        finally:
            sys.settrace(None)
        return self._new


def check(data: bytes) -> None:
    """One input: a classifier, or a well-behaved refusal."""
    try:
        read_sklearn(data)
    except FileFormatError as error:
        text = str(error)
        if not text.isprintable() or len(text) > 300:
            raise AssertionError(f"unfit message of {len(text)} characters") from error


def mutate(data: bytes, corpus: list[bytes], rng: random.Random) -> bytes:
    """A changed input."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(7):
            case 0:
                changed[at : at + rng.randrange(9)] = rng.choice(TOKENS)
            case 1:
                changed[at:at] = rng.choice(TOKENS)
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
    return zlib.compress(result, 1) if rng.random() < 0.03 else result


def main() -> int:
    """Run for a time; report executions, coverage and findings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    rng, coverage, corpus = random.Random(options.seed), Coverage(), seeds()
    for data in corpus:
        coverage.run(data)
    events: list[str] = []
    watching = False

    def hook(event: str, _: object) -> None:
        if watching and event not in HARMLESS:
            events.append(event)

    sys.addaudithook(hook)
    tracemalloc.start()
    started = time.monotonic()
    runs = findings = 0
    kinds: set[str] = set()
    while time.monotonic() - started < options.seconds:
        data = mutate(rng.choice(corpus), corpus, rng)
        tracemalloc.reset_peak()
        before, problem = time.thread_time(), ""
        events.clear()
        watching = True
        new = False
        try:
            if rng.random() < TRACED:
                new = coverage.run(data)
            else:
                check(data)
        except Exception as error:  # what a fuzzer looks for
            problem = f"{type(error).__name__}: {error}"
        finally:
            watching = False
        runs += 1
        if events:
            problem = problem or f"audit event {events[0]}"
        if time.thread_time() - before > SLOW_SECONDS:
            problem = problem or "slow"
        if tracemalloc.get_traced_memory()[1] > MEMORY_BYTES:
            problem = problem or "memory"
        if new and len(data) < 1 << 16:
            corpus.append(data)
        if problem and problem not in kinds:
            kinds.add(problem)
            findings += 1
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{findings}.sav").write_bytes(data)
            print(f"finding {findings}: {problem}")
    print(
        f"{runs} inputs in {time.monotonic() - started:.0f} s, corpus {len(corpus)},"
        f" {len(coverage.seen)} pairs of lines, {findings} findings"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
