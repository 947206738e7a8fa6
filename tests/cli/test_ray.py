"""``--ray`` on real clusters: the plain run's rows, also when a worker or the driver is killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as here
from tests.conftest import draw_photo
from tests.engine.test_archives import zip_of

BIN = Path(sys.executable).parent

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """rough/, smooth/, and photos/ with copies, broken files, an archive and a GIF; ws/."""
    folder = tmp_path_factory.mktemp("ray")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    photos = folder / "photos"
    for number in range(200):
        draw_photo(photos / f"{number:03}.jpg", 300 + number, smooth=1 + 15 * (number % 2))
    (photos / "copy.jpg").write_bytes((photos / "199.jpg").read_bytes())
    (photos / "cut.jpg").write_bytes((photos / "000.jpg").read_bytes()[:700])
    (photos / "empty.jpg").touch()
    (photos / "album.zip").write_bytes(zip_of({"a.jpg": (photos / "001.jpg").read_bytes()}))
    (folder / "encoder").symlink_to(small_checkpoint)
    build(folder, "ws")
    return folder


def build(folder: Path, workspace: str) -> None:
    here(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", folder / "encoder", "--workspace", folder / workspace, "-q"),
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of two workers on this machine that is there before a scan."""
    host = own_host()
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-")
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}"),
        *(f"--node-ip-address={host}", f"--temp-dir={folder}"),
        *("--num-cpus=2", "--include-dashboard=false", "--object-store-memory=100000000"),
        *("--block", "--disable-usage-stats"),
    ]
    head = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: reachable(host, port), head)
    yield f"{host}:{port}"
    os.killpg(head.pid, signal.SIGKILL)
    head.wait(30)
    del os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]
    shutil.rmtree(folder, ignore_errors=True)


def own_host() -> str:
    """This machine's address as Ray finds it: it takes no other one, not even the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def reachable(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def wanted(folder: Path, workspace: Path, lines: Path, *ray: str) -> list[str]:
    return [
        *(str(BIN / "code-scan"), str(folder / "photos"), "--archives", "-q"),
        *("--jsonl", str(lines), "--workspace", str(workspace), *ray),
    ]


@pytest.fixture(scope="module")
def plain(folder: Path) -> list[dict]:
    """Rows of a scan by this machine alone."""
    command = wanted(folder, folder / "ws", folder / "plain.jsonl")
    here("code-scan", *command[1:])
    return rows(folder / "plain.jsonl")


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


def until(condition: object, process: subprocess.Popen, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def clusters() -> set[int]:
    return processes("raylet/raylet", "gcs_server")


def test_a_cluster_of_its_own(folder: Path, plain: list[dict], tmp_path: Path) -> None:
    before = clusters()
    build(folder, "ws-here")
    ray = ("--ray", "local", "--ray-workers", "2")
    command = wanted(folder, folder / "ws-here", tmp_path / "rows.jsonl", *ray)
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert rows(tmp_path / "rows.jsonl") == plain
    assert digest(folder / "ws-here") == digest(folder / "ws")
    assert clusters() <= before
    with Workspace(folder / "ws-here") as space:
        run = space.scans.info("latest").run
    assert run["ray"] | {"version": ""} == {
        "version": "", "address": "local", "workers": [2, 2], "gpus": 0.0,
    }  # fmt: skip


def test_a_build_is_the_same_gallery(folder: Path, cluster: str, tmp_path: Path) -> None:
    command = [
        *(str(BIN / "code-index"), "build", "g", "--real", str(folder / "rough"), "-q"),
        *("--fake", str(folder / "smooth"), "--weights", str(folder / "encoder")),
        *("--workspace", str(tmp_path / "ws"), "--ray", cluster, "--ray-workers", "1:2"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)
    said = "built g: 24 real and 24 fake references\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", said)
    with Workspace(tmp_path / "ws") as space, Workspace(folder / "ws") as expected:
        assert space.galleries.info("g").sha256 == expected.galleries.info("g").sha256


def test_a_killed_worker_loses_nothing(
    folder: Path, plain: list[dict], cluster: str, tmp_path: Path
) -> None:
    build(folder, "ws-killed")
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(folder, folder / "ws-killed", lines, "--ray", cluster))
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    worker = min(processes("ray::") & processes("_Actor"))
    os.kill(worker, signal.SIGKILL)
    at = lines.read_text().count("\n")
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert at < len(plain)  # it was at work
    assert rows(lines) == plain


def test_a_killed_scan_goes_on(
    folder: Path, plain: list[dict], cluster: str, tmp_path: Path
) -> None:
    build(folder, "ws-resumed")
    lines = tmp_path / "rows.jsonl"
    command = wanted(folder, folder / "ws-resumed", lines, "--ray", cluster)
    process = start(command)
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    process.kill()
    process.communicate()
    with Workspace(folder / "ws-resumed") as space:
        done = space.scans.count(space.scans.info("latest"))
    assert 0 < done < len(plain)
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    found = rows(lines)
    assert sum(row["status"] == "cached" for row in found) > 0
    statuses = ("status",)
    assert [{k: v for k, v in row.items() if k not in statuses} for row in found] == [
        {k: v for k, v in row.items() if k not in statuses} for row in plain
    ]


def test_ctrl_c_ends_it_and_its_cluster(folder: Path, tmp_path: Path) -> None:
    before = clusters()
    build(folder, "ws-stopped")
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(folder, folder / "ws-stopped", lines, "--ray", "local"))
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in stderr
    assert clusters() <= before


def test_a_file_that_kills_each_worker_ends_the_run(folder: Path, tmp_path: Path) -> None:
    deadly = "import os\n_open = os.open\ndef fatal(path, *rest, **named):\n"
    deadly += "    if str(path).endswith('070.jpg'):\n"
    deadly += f"        _open({str(tmp_path / 'died')!r}, os.O_CREAT)\n"
    deadly += "        os.kill(os.getpid(), 9)\n"
    deadly += "    return _open(path, *rest, **named)\nos.open = fatal\n"
    (tmp_path / "sitecustomize.py").write_text(deadly)
    build(folder, "ws-deadly")
    ran = subprocess.run(
        wanted(folder, folder / "ws-deadly", tmp_path / "rows.jsonl", "--ray", "local"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "lost the work 4 times" in ran.stderr and ran.stderr.count("\n") == 1
    assert (tmp_path / "died").exists()
    with Workspace(folder / "ws-deadly") as space:
        info = space.scans.info("latest")
        assert info.state == "failed" and space.scans.count(info) == len(
            rows(tmp_path / "rows.jsonl")
        )
        assert space.scans.count(info) >= 32  # what was done is kept


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ray-workers", "2"), "add --ray local"),
        (("--ray", "local", "--ray-workers", "4:2"), "no number of workers"),
        (("--ray", "local", "--precision", "bfloat16"), "float32"),
        (("--ray", "local", "--device", "cpu", "--ray-gpus", "0.5"), "contradict"),
        (("--ray", "local", "--watch"), "this machine alone"),
        (("--ray", "ray://127.0.0.1:10001"), "Ray's client"),
        (("--ray", "local"), "code-forensics[ray]"),
    ],
)
def test_what_cannot_be(
    options: tuple[str, ...], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    ran = here("code-scan", folder / "photos", "--workspace", folder / "ws", *options, code=2)
    assert words in ran.stderr and len(ran.stderr.splitlines()) == 1
