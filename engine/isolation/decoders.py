"""Decodes any file: trusted kinds in the calling thread, all others in processes that may be lost.

Where everything is to be isolated, trusted kinds go there too. Many cores gain by it: Python's lock
lets the threads of one process decode little more than a thousand small images a second.

A process is started when the first file needs it, serves one thread at a time, and is replaced
after it crashed, ran over the time limit, ran out of memory, or answered nonsense. What it can cost
is its one file, or one of that file's frames, each of which has the time limit for itself.
"""

import functools
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..decoding.decode import (
    Decoded,
    DecodeOptions,
    Isolation,
    Reason,
    Undecodable,
    decode,
    decode_frames,
)
from ..decoding.formats import sniff
from ..decoding.thumbnail import thumbnail
from ..decoding.views import SIZE
from ..provenance.read import Kind, Strength, read_provenance
from .framing import BrokenMessageError
from .messages import REGION, Request, Work, unpack
from .process import Process
from .room import Room, memory
from .routing import decode_here, is_trusted

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_BYTES_PER_PIXEL = 16  # of decoders and Pillow together, at their worst (10-bit HEIC)
_BASE = 1 << 30  # address space of Python, its libraries and their stacks
_STARTS = (0.0, 0.25, 1.0)  # seconds before each try to start a process
_LOSSES = 3  # frames asked for together that may be lost before the rest counts as lost too


class Decoders:
    """Decodes files and reads their provenance; thread-safe.

    Use it as a context manager, or :meth:`close` it, so that its processes end.
    """

    def __init__(
        self,
        options: DecodeOptions | None = None,
        worker: str = f"{__package__}.worker",
        sharing: int = 1,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            options: Bounds, and what is cut out.
            worker: Module that a decoding process runs.
            sharing: Processes such as this one that share the machine's memory.
        """
        self._worker = worker
        self.options = options = options or DecodeOptions()
        self._idle: list[Process] = []
        self._lock = threading.Lock()
        self._room = Room(sharing)
        self._closed = False
        self._started = False  # whether any process ever was
        self._here = options.isolation is Isolation.NONE
        self._all = options.isolation is Isolation.ALL

    def decode(self, data: bytes) -> Decoded | Undecodable:
        """Decode an image to its centre crop; bad input is an answer, not an exception.

        Args:
            data: The whole file.
        """
        if self._here:
            return decode(data, self.options, self._room.holding)
        answer = None if self._all else decode_here(data, self.options, self._room.holding)
        if answer is None:
            (answer,) = self._decode_there(data, Request(Work.DECODE, self.options))
        return answer

    def decode_frames(
        self, data: bytes, start: int, stop: int, frames: int
    ) -> tuple[Decoded | Undecodable, ...]:
        """Decode some frames of an image with several, each within the time limit.

        A frame that is lost costs itself alone; after three the others are given up with it.

        Args:
            data: The whole file.
            start: First frame, from 0.
            stop: First frame that is not wanted.
            frames: How many the file has, as decoding its first one found.
        """
        if self._here:
            return tuple(decode_frames(data, start, stop, frames, self.options))
        return self._decode_there(data, Request(Work.FRAMES, self.options, start, stop, frames))

    def provenance(self, data: bytes) -> Mapping[str, object]:
        """What a file says of its origin, as :meth:`Provenance.as_dict` gives it.

        Metadata are read here, in Python; only the validation of C2PA manifests is native code,
        which is isolated too. Where that fails, the manifest counts as not validated.

        Args:
            data: The whole file.
        """
        if self._here or not _validates():
            return read_provenance(data).as_dict()
        found = read_provenance(data, check_signatures=False)
        if not any(f.kind is Kind.C2PA and f.strength is Strength.ASSERTED for f in found.findings):
            return found.as_dict()
        try:
            return self._ask_once(Request(Work.PROVENANCE, self.options), data, _as_provenance)
        except _NoProcessError:
            return read_provenance(data).as_dict()
        except (_LostError, TimeoutError):
            return found.as_dict()

    def thumbnail(self, data: bytes) -> bytes | None:
        """Draw an image small; None for whatever cannot be drawn.

        Args:
            data: The whole file.
        """
        if self._here or (not self._all and is_trusted(data, self.options)):
            return thumbnail(data, self.options, self._room.holding)
        try:
            request = Request(Work.THUMBNAIL, self.options)
            return self._ask_once(request, data, lambda _, drawn: drawn or None)
        except _NoProcessError:
            return thumbnail(data, self.options, self._room.holding)
        except (_LostError, TimeoutError):
            return None

    def close(self) -> None:
        """End the processes that are at rest; those at work end with their file."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def __enter__(self) -> "Decoders":
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _decode_there(self, data: bytes, request: Request) -> tuple[Decoded | Undecodable, ...]:
        """Decode; after a loss the frames behind it are asked for anew."""
        answers: list[Decoded | Undecodable] = []
        wanted, losses = request.stop - request.start, 0
        while len(answers) < wanted:
            try:
                self._ask(request, data, answers, self._unpack)
                break
            except _NoProcessError:
                if request.work is Work.DECODE:
                    return (decode(data, self.options, self._room.holding),)
                first = request.start + len(answers)
                answers += decode_frames(data, first, request.stop, request.frames, self.options)
                break
            except TimeoutError:
                reason, said = Reason.DECODE_TIMEOUT, f"no answer within {self.options.timeout:g} s"
            except _LostError as error:
                reason, said = error.reason, str(error)
            losses += 1
            lost = Undecodable(reason, said, sniff(data), None, None)
            answers += [lost] * (1 if losses < _LOSSES else wanted - len(answers))
        return tuple(answers)

    def _unpack(self, header: dict[str, Any], raw: bytes) -> Decoded | Undecodable:
        return unpack(header, raw, self.options.views)

    def _ask_once(
        self, request: Request, data: bytes, read: Callable[[dict[str, Any], bytes], _T]
    ) -> _T:
        answers: list[_T] = []
        self._ask(request, data, answers, read)
        return answers[0]

    def _ask(
        self,
        request: Request,
        data: bytes,
        answers: list[_T],
        read: Callable[[dict[str, Any], bytes], _T],
    ) -> None:
        """Have a process do some work; one that is not fresh may die of an earlier file.

        Args:
            request: The work.
            data: The whole file.
            answers: Those to the first frames asked for; the others are added.
            read: Makes an answer of a message, or raises `BrokenMessageError`.

        Raises:
            _LostError: The process was lost over the next frame.
            TimeoutError: It took too long.
            _NoProcessError: There can be none.
        """
        wanted = request.stop - request.start
        most = self.options.views.most * SIZE * SIZE * 3
        while len(answers) < wanted:
            rest = replace(request, start=request.start + len(answers))
            header, body = rest.header(), data
            process = self._take()
            out_of_memory = False
            while len(answers) < wanted:
                try:
                    message = process.exchange(header, body, self.options.timeout, most)
                except BrokenMessageError as error:
                    if not process.served:
                        lacking = process.lacked_memory
                        reason = Reason.NO_MEMORY if lacking else Reason.DECODER_CRASHED
                        raise _LostError(process.died_of, reason) from error
                    break
                try:
                    answers.append(read(*message))
                except BrokenMessageError as error:
                    process.end()
                    raise _LostError("the decoder's answer makes no sense") from error
                out_of_memory |= message[0].get("reason") == Reason.NO_MEMORY
                header, body = {}, b""
            else:
                if out_of_memory:
                    process.end()  # it may be full of what others have left behind
                else:
                    self._give_back(process)

    def _take(self) -> Process:
        """A process that is at rest, or a new one.

        Raises:
            _LostError: None can be started now, though one could be before.
            _NoProcessError: None can be started on this machine.
        """
        with self._lock:
            if self._idle:
                return self._idle.pop()
        said = ""
        region = [REGION] if self._all and self.options.region else []
        for pause in _STARTS:
            if self._here:
                raise _NoProcessError
            time.sleep(pause)
            try:
                process = Process(self._worker, str(_memory(self.options)), *region)
            except (OSError, BrokenMessageError, TimeoutError) as error:
                said = f"no decoding process can be started ({str(error) or type(error).__name__})"
            else:
                with self._lock:
                    self._started, self._here = True, False
                return process
        with self._lock:
            if self._started:  # what must not be decoded here is not decoded at all
                raise _LostError(said, Reason.NO_MEMORY)
            already, self._here = self._here, True
        if not already:
            _log.warning("%s: a file that crashes its decoder will end the scan", said)
        raise _NoProcessError

    def _give_back(self, process: Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()


class _LostError(Exception):
    """The process was lost over this file, or there is none now; says how."""

    def __init__(self, said: str, reason: Reason = Reason.DECODER_CRASHED) -> None:
        super().__init__(said)
        self.reason = reason


class _NoProcessError(Exception):
    """No process can be started here."""


@functools.cache
def _validates() -> bool:
    return importlib.util.find_spec("c2pa") is not None


def _memory(options: DecodeOptions) -> int:
    """Address space that decoding within the bounds can need, the machine's memory at most."""
    wanted = _BASE + 2 * options.max_bytes + _BYTES_PER_PIXEL * options.max_pixels
    there = memory()
    return min(wanted, max(there, _BASE)) if there else wanted


def _as_provenance(header: dict[str, Any], _: bytes) -> Mapping[str, object]:
    if not _is_provenance(header):
        raise BrokenMessageError("not a provenance")
    return header


def _is_provenance(header: Mapping[str, Any]) -> bool:
    findings = header.get("findings")
    return (
        set(header) == {"strength", "claims_generated", "findings"}
        and header["strength"] in set(Strength)
        and isinstance(header["claims_generated"], bool)
        and isinstance(findings, list)
        and all(
            isinstance(finding, dict)
            and set(finding) == {"kind", "value", "strength", "where"}
            and all(isinstance(word, str) and len(word) <= 1000 for word in finding.values())
            for finding in findings
        )
    )
