"""Run a command in this process, which saves the seconds that importing torch takes."""

import contextlib
import importlib
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from code_forensics.cli import console, running

_MODULES = {"code-index": "index", "code-report": "report", "code-scan": "scan"}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command wrote."""

    stdout: str
    stderr: str


def run(command: str, *arguments: str | Path, code: int | None = 0) -> Ran:
    """Call a command's entry point as the shell would, and check its exit code, unless None."""
    module = importlib.import_module(f"code_forensics.cli.{_MODULES[command]}")
    err, left = io.StringIO(), 0
    console.stdout.cache_clear()  # a new process would be as wide as its own environment says
    console.stderr.cache_clear()
    with (
        tempfile.TemporaryFile(
            "w+", encoding="utf-8", newline=""
        ) as out,  # reports go to its number
        mock.patch.object(sys, "argv", [command, *map(str, arguments)]),
        mock.patch.object(running, "end_process", sys.exit),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            module.main()
        except SystemExit as leaving:
            left = leaving.code if isinstance(leaving.code, int) else 1 if leaving.code else 0
        out.seek(0)
        said = out.read()
    assert code is None or left == code, said + err.getvalue()
    return Ran(said, err.getvalue())


WITHOUT_TORCH = """
import sys
from code_forensics.cli import running
from code_forensics.cli.scan import main

running.end_process = sys.exit
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
assert "torch" not in sys.modules
"""
"""A scan in a process of its own that has not loaded PyTorch at its end."""
