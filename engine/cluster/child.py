"""A process that reads, decodes and may embed, and what it and the process that started it say.

Started as ``python -P -m``, with a session of its own, so that Ctrl-C in a terminal is for its
parent alone; it ends when its input does. First it is told its setup, then files again and again;
it answers with what it found, piece by piece, and the end of it, or with what went wrong. Where it
borrows its encoder, it asks in between for the vectors of crops.
"""

import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import EngineError
from ..files.found import FoundFile
from ..isolation.framing import BrokenMessageError, receive, send
from ..isolation.process import widen
from ..isolation.rights import standard_pipes
from .lending import Borrowed, Lender
from .messages import (
    pack_answer,
    pack_files,
    pack_setup,
    unpack_answer,
    unpack_files,
    unpack_setup,
)
from .worker import FileWorker, Part, Setup

_LAST_SECONDS = 5.0
_MOST = sys.maxsize
_FAULT = 20_000  # characters of a traceback

_log = logging.getLogger(__name__)


class LostError(Exception):
    """A process has ended over its work; says how."""


class FaultError(Exception):
    """Something went wrong in a process that nobody has foreseen; says where."""


class Child:
    """A process with an encoder, its own or a borrowed one; one thread may talk to it at a time."""

    def __init__(self, setup: Setup, lender: Lender | None = None) -> None:
        """Start it; it is told its setup with its first files.

        Args:
            setup: See there.
            lender: Embeds for it, where its setup has no encoder.

        Raises:
            EngineError: It cannot be started.
        """
        self.setup = setup
        self._lender = lender
        self._told = False
        self._process: subprocess.Popen[bytes]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
            )
        except OSError as error:
            scarce = error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
            hint = "ask for fewer with --processes" if scarce else "scan without --processes"
            raise EngineError(f"no further process can be started ({error})", hint) from error
        if lender is not None:
            widen(self._process.stdout)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, files: Sequence[FoundFile]) -> Iterator[Part]:
        """Have it work on some files.

        Yields:
            What it found, in pieces.

        Raises:
            LostError: It is gone.
            EngineError: It cannot work.
            FaultError: It did something wrong.
        """
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None
        assert sink is not None
        try:
            if not self._told:
                send(sink, *pack_setup(self.setup))
                self._told = True
            send(sink, {"files": len(files)}, pack_files(files))
            while True:
                header, message = receive(source, _MOST)
                if "error" in header:
                    raise EngineError(str(header["error"]), str(header["hint"]))
                if "fault" in header:
                    raise FaultError(str(header["fault"]))
                if "crops" in header and self._lender is not None:
                    send(sink, *self._lent(self._lender, header, message))
                    continue
                for note in header.get("notes", ()):
                    _log.warning("%s", note)
                if "end" in header:
                    return
                answer = unpack_answer(message)
                assert isinstance(answer, Part)  # errors come in another way
                yield answer
        except (OSError, ValueError, BrokenMessageError) as error:  # ValueError: closed meanwhile
            raise LostError(self._end_in_words()) from error

    def _lent(
        self, lender: Lender, asked: dict[str, Any], crops: bytes
    ) -> tuple[dict[str, Any], memoryview]:
        """Embed for it; what fails here is not the process's loss."""
        try:
            return lender.answer(asked, crops)
        except (OSError, ValueError) as error:  # PyTorch cannot be loaded, or its device fails
            raise EngineError(
                f"the encoder cannot embed for the processes: {error}", "scan without --processes"
            ) from error

    def kill(self) -> None:
        """Kill it: whoever talks to it hears that it is lost."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, and forget it."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent is lost
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_SECONDS)

    def _end_in_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_LAST_SECONDS)
            if code >= 0:
                return f"it ended with code {code}"
            with contextlib.suppress(ValueError):
                return f"it was ended by {signal.Signals(-code).name}"
        return "it does not answer"


class _Notes(logging.Handler):
    """Keeps warnings, for the process that somebody looks at."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(record.getMessage())

    def taken(self) -> list[str]:
        """Those since the last time."""
        lines, self.lines = self.lines, []
        return lines


def main() -> None:
    """Serve on standard input and output."""
    source, sink = standard_pipes()
    writing = threading.Lock()

    def say(header: dict[str, Any], *raw: bytes | memoryview) -> None:
        with writing:
            send(sink, header, *raw)

    logging.getLogger().addHandler(notes := _Notes())
    work: FileWorker | None = None
    with contextlib.suppress(BrokenMessageError, BrokenPipeError):
        said, data = receive(source, _MOST)
        while True:
            _, files = receive(source, _MOST)
            try:
                if work is None:
                    work = FileWorker(unpack_setup(said, data), Borrowed(source, say))
                    data = b""  # the encoder has its own copy
                for part in work.pieces(unpack_files(files)):
                    say({"notes": notes.taken()}, pack_answer(part))
                say({"notes": notes.taken(), "end": True})
            except EngineError as error:
                say({"error": str(error), "hint": error.hint})
            except MemoryError:
                os._exit(1)  # what is left is not to be relied on
            except (BrokenMessageError, BrokenPipeError):
                raise
            except Exception:
                say({"fault": traceback.format_exc()[-_FAULT:]})


if __name__ == "__main__":
    main()
