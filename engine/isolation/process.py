"""A process that may be lost, and the pipes to it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from .deadlines import Deadlines
from .framing import BrokenMessageError, receive, send
from .rights import OUT_OF_MEMORY

_DEADLINES = Deadlines()
_START_SECONDS = 60.0
_LAST_SECONDS = 1.0
_PIPE = 1 << 19  # bytes
_KILLED = -9  # SIGKILL, by which the system ends what takes its memory
# fmt: off
_KEPT = frozenset((
    "APPDATA", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH",
    "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR",
    "USERPROFILE",
))
# fmt: on
"""What of the environment the process may see: what Python needs to start, no secrets."""


def widen(stream: IO[bytes] | None) -> None:
    """Let a pipe hold a whole message as a rule, so that neither end wakes up for each 64 KiB."""
    if sys.platform == "linux" and stream is not None:
        import fcntl

        with contextlib.suppress(OSError):  # a user may have so many bytes in pipes and no more
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE)


class Process:
    """A running worker module; one thread may talk to it at a time.

    Attributes:
        served: Answers that it has given.
        ended: Exit code of a process that ended by itself, or by the system; None before.
    """

    def __init__(self, worker: str, *arguments: str) -> None:
        """Start it, and wait until it is ready.

        Args:
            worker: Module that it runs.
            arguments: Of that module.

        Raises:
            OSError: It cannot be started.
            TimeoutError: It was not ready in time.
            BrokenMessageError: It ended.
        """
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-B", "-m", worker, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **{name: value for name, value in os.environ.items() if name in _KEPT},
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        for stream in (self._child.stdin, self._child.stdout):
            widen(stream)
        self.served = 0
        self.ended: int | None = None
        self.exchange({}, b"", _START_SECONDS, 0)
        self.served = 0

    def exchange(
        self, header: dict[str, Any], data: bytes, seconds: float, max_raw: int
    ) -> tuple[dict[str, Any], bytes]:
        """Send a message and wait for the next one; after an exception the process is gone.

        Args:
            header: What to send; empty only waits.
            data: Raw bytes behind it.
            seconds: How long to wait.
            max_raw: Most raw bytes of the answer.

        Raises:
            TimeoutError: It took too long.
            BrokenMessageError: The process ended, or its answer is none.
        """
        late = threading.Event()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            with _DEADLINES.within(seconds, lambda: self._stop(late)):
                if header:
                    send(self._child.stdin, header, data)
                answer = receive(self._child.stdout, max_raw)
        except (OSError, ValueError, BrokenMessageError) as error:  # ValueError: closed meanwhile
            if late.is_set():
                self.end()
                raise TimeoutError from error
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.ended = self._child.wait(_LAST_SECONDS)  # says more than our own kill
            self.end()
            raise BrokenMessageError from error
        self.served += 1
        return answer

    def _stop(self, late: threading.Event) -> None:
        late.set()
        self._child.kill()

    def end(self) -> None:
        """Kill it."""
        self._child.kill()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent is lost
                    stream.close()
        self._child.wait()

    @property
    def lacked_memory(self) -> bool:
        """Whether it ended as a process does for which there is no memory."""
        return self.ended in (OUT_OF_MEMORY, _KILLED)

    @property
    def died_of(self) -> str:
        """How it ended, in words; to be asked after its end."""
        code = self._child.returncode or 0
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"the decoder was ended by {signal.Signals(-code).name}"
        return f"the decoder ended with code {code}"
