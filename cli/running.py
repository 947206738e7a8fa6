"""How every command runs: errors become one line, exit codes, and interrupts that keep the work."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from ..engine.errors import EngineError
from ..engine.quiet import native_messages_dropped
from ..index.errors import WorkspaceError
from .console import fail, notices

EXIT_MATCHED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130


def run(app: typer.Typer) -> None:
    """Run a command line and exit with its code."""
    # Reports are UTF-8 everywhere; what a terminal cannot show must not stop a scan.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with notices(), native_messages_dropped():
            app()
    except SystemExit as leaving:
        if leaving.code == EXIT_INTERRUPTED:
            _leave_at_once()
        raise
    except (EngineError, WorkspaceError) as error:
        fail(str(error), error.hint)
        sys.exit(EXIT_UNUSABLE)
    except KeyboardInterrupt:
        _leave_at_once()
    except BrokenPipeError:  # the reader of our stdout has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNUSABLE)


def _leave_at_once() -> None:
    """Exit without waiting for threads: a decoder at work must not hold the user up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM set a flag, so that work ends between two transactions.

    A second one raises KeyboardInterrupt at once.

    Yields:
        Whether the user has asked to stop.
    """
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
