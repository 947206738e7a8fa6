"""What a process that handles hostile bytes gives up before it reads the first of them."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import IO

_FILES = 64  # descriptors that may be open

OUT_OF_MEMORY = 12
"""Exit code of a process that cannot hold what it was sent."""


def standard_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for messages; what a C library prints must not become one."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b", buffering=0) as nowhere:  # noqa: PTH123 - a device, not a path
        for descriptor in (0, 1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    return source, sink


def give_up_rights(memory: int) -> None:
    """Bound memory, forbid writing files, and be the first to go when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    if sys.platform == "win32":
        return
    import resource

    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        _, most = resource.getrlimit(limit)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        with contextlib.suppress(OSError, ValueError):  # macOS knows RLIMIT_AS but refuses it
            resource.setrlimit(limit, (least, least))


def alarm(seconds: float) -> None:
    """End this process after some seconds, even from inside C code; 0 takes that back.

    Whoever started it has a clock of its own; this one is for when that process was killed.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)
