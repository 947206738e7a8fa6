"""What tests of clusters and processes share: whole runs of the programs, and what they left."""

import json
import subprocess
import sys
import time
from pathlib import Path

from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as here

BIN = Path(sys.executable).parent


def build(folder: Path, workspace: str) -> None:
    here(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", folder / "encoder", "--workspace", folder / workspace, "-q"),
    )


def check_same_build(folder: Path, workspace: Path, *further: str) -> None:
    """A build by others than this process gives the gallery of :func:`build`, and says so."""
    command = [
        *(str(BIN / "code-index"), "build", "g", "--real", str(folder / "rough"), "-q"),
        *("--fake", str(folder / "smooth"), "--weights", str(folder / "encoder")),
        *("--workspace", str(workspace), *further),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    said = "built g: 24 real and 24 fake references\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", said)
    with Workspace(workspace) as space, Workspace(folder / "ws") as expected:
        assert space.galleries.info("g").sha256 == expected.galleries.info("g").sha256


def wanted(folder: Path, workspace: Path, lines: Path, *further: str) -> list[str]:
    return [
        *(str(BIN / "code-scan"), str(folder / "photos"), "--archives", "-q"),
        *("--jsonl", str(lines), "--workspace", str(workspace), *further),
    ]


def rows(lines: Path) -> list[dict]:
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def digest(workspace: Path) -> str:
    with Workspace(workspace) as space:
        info = space.scans.info("latest")
        assert info.summary is not None
        return str(info.summary["results_sha256"])


def processes(*words: str) -> set[int]:
    """Processes whose command line holds one of some words."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if any(word in line for word in words):
            found.add(int(entry.name))
    return found


def until(
    condition: object, process: subprocess.Popen | None = None, seconds: float = 60.0
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process is None or process.poll() is None, process and process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
