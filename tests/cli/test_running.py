"""How every command ends: interrupted, without memory or disk, or by what nobody foresaw."""

import errno
import subprocess
import sys
from unittest.mock import Mock

import pytest

from tests.cli.in_process import run

ENDED = """
import time

import typer
from code_forensics.cli.running import run

app = typer.Typer()

@app.command()
def work() -> None:
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("cleared away")

run(app)
"""


def test_sigterm_clears_away_what_is_half_done_in_any_command() -> None:
    process = subprocess.Popen([sys.executable, "-c", ENDED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.terminate()
    assert process.communicate(timeout=60)[0] == "cleared away\n"
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x"), "a fault that was not foreseen (KeyError: 'x')"),
        (MemoryError(), "there is not enough memory"),
        (OSError(errno.EIO, "Input/output error"), "not foreseen (OSError:"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk is full"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aa"), "error: File name too long: aa;"),
    ],
)
def test_what_nobody_foresaw_is_no_match(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("code_forensics.cli.scanning.perform", Mock(side_effect=error))
    ran = run("code-scan", "photos", code=2)
    assert said in ran.stderr
