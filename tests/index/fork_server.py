"""Runs the commands in forked children, so that a run costs no imports and can be killed.

As a program it reads JSON, a line each: a list is a command with its arguments, for which it forks a
child; a number is that of a child to kill. It answers with the number of each child, and later with
its number and exit status.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import TextIO

COMMIT_ROWS = 6
"""Rows a transaction: few, so that a kill has many moments to meet."""


@dataclass
class Child:
    """A command that runs."""

    pid: int
    output: Path
    _status: Queue[int]
    _code: int | None = field(default=None)

    def wait(self) -> int:
        """Its exit code; minus the number of the signal that killed it."""
        if self._code is None:
            self._code = self._status.get(timeout=120)
        return self._code

    def text(self) -> str:
        """What it wrote on stdout and stderr."""
        return self.output.read_text(errors="replace")


class ForkServer:
    """The program, from the outside."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._started: Queue[int] = Queue()
        self._statuses: dict[int, Queue[int]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, *command: str | Path) -> Child:
        """Fork a child that runs a command."""
        self._count += 1
        output = self._folder / f"{self._count}.txt"
        self._send([str(output), *map(str, command)])
        pid = self._started.get(timeout=120)
        return Child(pid, output, self._statuses[pid])

    def run(self, *command: str | Path) -> str:
        """Run a command to its end, which has to be a good one; what it wrote."""
        child = self.start(*command)
        code = child.wait()
        assert code == 0, child.text()
        return child.text()

    def kill(self, child: Child) -> int:
        """Kill a child without warning, if it has not ended; its exit code, negative if so."""
        self._send(child.pid)
        return child.wait()

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            pid, code = json.loads(line)
            if code is None:
                self._statuses[pid] = Queue()
                self._started.put(pid)
            else:
                self._statuses[pid].put(code)


def serve(commands: int, answers: TextIO) -> None:
    """Do as the lines of a pipe say until there are no more."""
    from code_forensics.cli import index, report, scan, search, session, upkeep  # noqa: F401
    from code_forensics.engine import build, ledger
    from code_forensics.index.workspace import Workspace  # noqa: F401

    ledger.COMMIT_ROWS = build.COMMIT_ROWS = COMMIT_ROWS
    mains = {"code-index": index.main, "code-scan": scan.main, "code-report": report.main}

    def answer(*values: int | None) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    children: set[int] = set()
    pending, reading = b"", True
    while reading or children:
        if reading and select.select([commands], [], [], 0.002)[0]:
            read = os.read(commands, 1 << 16)
            reading = bool(read)
            *lines, pending = (pending + read).split(b"\n")
            for message in map(json.loads, lines):
                if not isinstance(message, int):
                    children.add(pid := _fork(message, mains))
                    answer(pid, None)
                elif message in children:
                    os.kill(message, signal.SIGKILL)
        for child in list(children):
            pid, status = os.waitpid(child, os.WNOHANG if reading else 0)
            if pid:
                children.remove(pid)
                answer(pid, os.waitstatus_to_exitcode(status))


def _fork(message: list[str], mains: Mapping[str, Callable[[], None]]) -> int:
    output, command, *arguments = message
    Path(output).touch()  # it is there even where the child does not live to open it
    pid = os.fork()
    if pid == 0:
        _become(output, command, arguments, mains[command])
    return pid


def _become(output: str, command: str, arguments: list[str], main: Callable[[], None]) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.argv = [command, *arguments]
    code = 1
    try:
        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(0, os.fdopen(os.dup(1), "w"))
