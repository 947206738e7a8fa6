"""What commands write on: results on stdout, everything else on stderr, all of it inert."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console

from ..engine.inert import for_terminal

WIDE = 80
"""Columns of a terminal that is not narrow."""

_PIPE = 1000  # characters of a table's line that no terminal has to show


@cache
def stderr() -> Console:
    """The console for people."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


@cache
def stdout() -> Console:
    """The console for results."""
    # What reads a pipe wants whole lines: a table is as wide as its content there.
    wide = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _PIPE
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=wide)


def say(text: str, style: str = "") -> None:
    """Print one line for people."""
    prose(stderr(), for_terminal(text), style)


def fail(message: str, hint: str = "") -> None:
    """Print an error and what to do about it, on one line."""
    line = f"error: {message}"
    if hint:
        line += f"; {hint}" if not line.endswith((".", "?")) else f" {hint}"
    prose(stderr(), for_terminal(line), "bold red")


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
    """Whether stderr is a terminal that can be redrawn, and that nobody reads as a log."""
    console = stderr()
    drawn = console.is_terminal and not console.is_dumb_terminal and sys.stderr.isatty()
    return drawn and not os.environ.get("CI")


def prose(console: Console, text: str, style: str = "") -> None:
    """Print sentences, broken between words where a terminal shows them; a pipe gets one line."""
    console.print(text, style=style or None, soft_wrap=not console.file.isatty())


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number of things; `plural` is for nouns that take more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


@contextmanager
def working(stage: str, quiet: bool = False) -> Iterator[None]:
    """On a terminal, show what is being done while the block runs."""
    if quiet or not is_terminal():
        yield
        return
    with stderr().status(for_terminal(stage), spinner="line"):
        yield
