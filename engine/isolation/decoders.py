"""Decodes any file: trusted kinds in the calling thread, all others in processes that may be lost.

Where everything is to be isolated, trusted kinds go there too. Many cores gain by it: Python's lock
lets the threads of one process decode little more than a thousand small images a second.

A process is started when the first file needs it, serves one thread at a time, and is replaced
after it crashed, ran over the time limit, or ran out of memory. What it can cost is its one file.
"""

import functools
import importlib.util
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

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
from .routing import decode_here, is_trusted

_log = logging.getLogger(__name__)

_BYTES_PER_PIXEL = 16  # of decoders and Pillow together, at their worst (10-bit HEIC)
_BASE = 1 << 30  # address space of Python, its libraries and their stacks


class Decoders:
    """Decodes files and reads their provenance; thread-safe.

    Use it as a context manager, or :meth:`close` it, so that its processes end.
    """

    def __init__(
        self, options: DecodeOptions | None = None, worker: str = f"{__package__}.worker"
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            options: Bounds, and what is cut out.
            worker: Module that a decoding process runs.
        """
        self._worker = worker
        self.options = options = options or DecodeOptions()
        self._idle: list[Process] = []
        self._lock = threading.Lock()
        self._closed = False
        self._here = options.isolation is Isolation.NONE
        self._all = options.isolation is Isolation.ALL

    def decode(self, data: bytes) -> Decoded | Undecodable:
        """Decode an image to its centre crop; bad input is an answer, not an exception.

        Args:
            data: The whole file.
        """
        if self._here:
            return decode(data, self.options)
        answer = None if self._all else decode_here(data, self.options)
        if answer is None:
            (answer,) = self._decode_there(data, Request(Work.DECODE, self.options, 0, 1))
        return answer

    def decode_frames(
        self, data: bytes, start: int, stop: int
    ) -> tuple[Decoded | Undecodable, ...]:
        """Decode some frames of an image with several.

        Args:
            data: The whole file.
            start: First frame, from 0.
            stop: First frame that is not wanted.
        """
        if self._here:
            return tuple(decode_frames(data, start, stop, self.options))
        return self._decode_there(data, Request(Work.FRAMES, self.options, start, stop))

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
            header, _ = self._ask(Request(Work.PROVENANCE, self.options), data)
        except _NoProcessError:
            return read_provenance(data).as_dict()
        except (_LostError, TimeoutError):
            return found.as_dict()
        return header if _is_provenance(header) else found.as_dict()

    def thumbnail(self, data: bytes) -> bytes | None:
        """Draw an image small; None for whatever cannot be drawn.

        Args:
            data: The whole file.
        """
        if self._here or (not self._all and is_trusted(data, self.options)):
            return thumbnail(data, self.options)
        try:
            _, drawn = self._ask(Request(Work.THUMBNAIL, self.options), data)
        except _NoProcessError:
            return thumbnail(data, self.options)
        except (_LostError, TimeoutError):
            return None
        return drawn or None

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
        wanted = request.stop - request.start
        try:
            header, raw = self._ask(request, data)
            return unpack(header, raw, wanted, self.options.views)
        except _NoProcessError:
            if request.work is Work.DECODE:
                return (decode(data, self.options),)
            return tuple(decode_frames(data, request.start, request.stop, self.options))
        except TimeoutError:
            said = f"no answer within {self.options.timeout:g} s"
            lost = Undecodable(Reason.DECODE_TIMEOUT, said, sniff(data), None, None)
        except _LostError as error:
            lost = Undecodable(Reason.DECODER_CRASHED, str(error), sniff(data), None, None)
        except BrokenMessageError:
            said = "the decoder's answer makes no sense"
            lost = Undecodable(Reason.DECODER_CRASHED, said, sniff(data), None, None)
        return (lost,) * wanted

    def _ask(self, request: Request, data: bytes) -> tuple[dict[str, Any], bytes]:
        """Have a process do some work; one that is not fresh may die of an earlier file."""
        most = max(1, request.stop - request.start) * self.options.views.most * SIZE * SIZE * 3
        while True:
            process = self._take()
            try:
                answer = process.exchange(request.header(), data, request.options.timeout, most)
            except BrokenMessageError as error:
                if not process.served:
                    raise _LostError(process.died_of) from error
                continue
            if _out_of_memory(answer[0]):
                process.end()  # it may be full of what others have left behind
            else:
                self._give_back(process)
            return answer

    def _take(self) -> Process:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if not self._here:
            try:
                region = [REGION] if self._all and self.options.region else []
                return Process(self._worker, str(_memory(self.options)), *region)
            except (OSError, BrokenMessageError, TimeoutError) as error:
                with self._lock:
                    already, self._here = self._here, True
                if not already:
                    _log.warning(
                        "no decoding process can be started (%s):"
                        " a file that crashes its decoder will end the scan",
                        str(error) or type(error).__name__,
                    )
        raise _NoProcessError

    def _give_back(self, process: Process) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(process)
                return
        process.end()


class _LostError(Exception):
    """The process was lost over this file; says how."""


class _NoProcessError(Exception):
    """No process can be started here."""


@functools.cache
def _validates() -> bool:
    return importlib.util.find_spec("c2pa") is not None


def _memory(options: DecodeOptions) -> int:
    """Address space that decoding within the bounds can need, the machine's memory at most."""
    wanted = _BASE + 2 * options.max_bytes + _BYTES_PER_PIXEL * options.max_pixels
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return wanted
    return min(wanted, max(there, _BASE))


def _out_of_memory(header: Mapping[str, Any]) -> bool:
    answers = header.get("answers")
    return isinstance(answers, list) and any(
        isinstance(answer, dict) and answer.get("reason") == Reason.NO_MEMORY for answer in answers
    )


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
