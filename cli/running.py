"""How every command runs: errors become one line, exit codes, and interrupts that keep the work."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import typer

from ..engine.errors import EngineError
from ..engine.quiet import native_messages_dropped
from ..index.errors import WorkspaceError
from .console import fail, notices, say

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # click's, or typer's own copy

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

EXIT_MATCHED = 1
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130


def run(app: typer.Typer, farewell: bool = False) -> None:
    """Run a command line and exit with its code.

    Args:
        app: The commands.
        farewell: Whether Python takes leave of all its objects, for commands whose processes rely
            on it. That takes half a second where PyTorch is loaded, and nothing of ours needs it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the shell has closed it: nobody wants to know
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - a device, to the end
    # Reports are UTF-8 everywhere; what a terminal cannot show must not stop a scan.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with notices(), native_messages_dropped(), _terminated_as_interrupted():
            code = app(standalone_mode=False)
        _leave(code if isinstance(code, int) else 0, farewell)
    except _UsageError as error:
        _misused(error)
        sys.exit(EXIT_UNUSABLE)
    except typer.Abort:
        say("aborted", "yellow")
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as leaving:
        if leaving.code == EXIT_INTERRUPTED:
            _leave_at_once()
        if isinstance(leaving.__context__, BrokenPipeError):  # which click turns into 1
            _reader_left()
        raise
    except (EngineError, WorkspaceError) as error:
        fail(str(error), error.hint)
        sys.exit(EXIT_UNUSABLE)
    except UnicodeEncodeError as error:  # names are text, though paths may be any bytes
        if error.object not in (part for word in sys.argv for part in (word, *word.split("="))):
            raise
        fail(f"{error.object!s} is not valid UTF-8", "only paths may be anything else")
        sys.exit(EXIT_UNUSABLE)
    except KeyboardInterrupt:
        _leave_at_once()
    except BrokenPipeError:
        _reader_left()
    except OSError as error:
        if error.errno in _FULL:
            fail("the disk is full", "make room, and run it again: what was done is kept")
        elif error.filename is not None and error.strerror:
            fail(f"{error.strerror}: {error.filename}", "what was done is kept")
        else:
            _fault(error)
        _leave_at_once(EXIT_UNUSABLE)
    except MemoryError:
        fail("there is not enough memory", "use fewer --workers, or a machine with more memory")
        _leave_at_once(EXIT_UNUSABLE)
    except Exception as error:
        _fault(error)
        _leave_at_once(EXIT_UNUSABLE)


def _fault(error: Exception) -> None:
    """Say that something went wrong which nobody foresaw, with all that is known of it."""
    traceback.print_exc()
    fail(
        f"a fault that was not foreseen ({type(error).__name__}: {error})",
        "what was done is kept; please report the lines above",
    )


def _leave(code: int, farewell: bool) -> NoReturn:
    if code == EXIT_INTERRUPTED:
        _leave_at_once()
    if farewell:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # what cannot be written is said by the caller
    end_process(code)


def _reader_left() -> NoReturn:
    """Nobody reads our stdout any more: end silently, as a tool in a pipeline does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(EXIT_UNUSABLE)


def _misused(error: Exception) -> None:
    """Say on one line what is wrong with a command line; without any, show the help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help() if context else str(error))
        return
    message = getattr(error, "format_message", error.__str__)()
    command = context.command_path if context else "the command"
    hint = f"see {command} --help"
    if context and (extra := _UNEXPECTED.fullmatch(message)):
        message = f"got unexpected extra arguments ({_some(extra[1])})"
        repeatable = [
            name for p in context.command.params if getattr(p, "multiple", False) for name in p.opts
        ]
        if given := [word for word in sys.argv if word in repeatable]:
            folder = ", or name the folder that holds them" if given[-1] in _OF_FOLDERS else ""
            hint = f"{given[-1]} takes one value: write it before each{folder}; {hint}"
    fail(message.rstrip("."), hint)


_UNEXPECTED = re.compile(r"Got unexpected extra argument(?:s|\(s\)|) \((.*)\)", re.DOTALL)
_OF_FOLDERS = ("--real", "--fake")


def _some(extra: str) -> str:
    """The first two arguments of those that a message joins by spaces, and how many are left."""
    words, rest = [], extra
    for word in sys.argv[1:]:
        if rest == word or rest.startswith(f"{word} "):
            words.append(word)
            rest = rest[len(word) + 1 :]
    more = len(words) - 2
    return " ".join(words[:2]) + (f" and {more} more" if more > 0 else "")


def _leave_at_once(code: int = EXIT_INTERRUPTED) -> NoReturn:
    """Exit without waiting for threads: a decoder at work must not hold the user up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    end_process(code)


def end_process(code: int) -> NoReturn:
    """End without Python's farewell; tests that run commands in their own process replace it."""
    os._exit(code)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Within it, SIGTERM is Ctrl-C: what is half written is cleared away, and the code is 130."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
