"""What commands write on: results on stdout, everything else on stderr, all of it inert."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console

from ..engine.inert import for_terminal


@cache
def stderr() -> Console:
    """The console for people."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@cache
def stdout() -> Console:
    """The console for results."""
    return Console(highlight=False, markup=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print one line for people."""
    stderr().print(for_terminal(text), style=style or None)


def fail(message: str, hint: str = "") -> None:
    """Print an error and what to do about it, on one line."""
    line = f"error: {message}"
    if hint:
        line += f"; {hint}" if not line.endswith((".", "?")) else f" {hint}"
    stderr().print(for_terminal(line), style="bold red")


class _Notices(logging.Handler):
    """Shows the library's warnings as notices."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"note: {record.getMessage()}", "yellow")


@contextmanager
def notices() -> Iterator[None]:
    """Within it, warnings of the package's own loggers are shown on stderr."""
    logger, handler = logging.getLogger("code_forensics"), _Notices(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def is_terminal() -> bool:
    """Whether stderr is a terminal that can be redrawn."""
    return stderr().is_terminal and sys.stderr.isatty()
