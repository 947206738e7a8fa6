"""``--ray`` on real clusters: the plain run's rows, also when a worker or the driver is killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run as here
from tests.cli.whole_scans import (
    build,
    check_same_build,
    digest,
    processes,
    rows,
    start,
    until,
    wanted,
)

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of two workers on this machine that is there before a scan."""
    host = own_host()
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    mixed = tempfile.mkdtemp(prefix="ray-")
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64})
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}"),
        *(f"--node-ip-address={host}", f"--temp-dir={mixed}"),
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
    shutil.rmtree(mixed, ignore_errors=True)


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


def clusters() -> set[int]:
    return processes("raylet/raylet", "gcs_server")


def test_a_cluster_of_its_own(mixed: Path, plain_rows: list[dict], tmp_path: Path) -> None:
    before = clusters()
    build(mixed, "ws-here")
    ray = ("--ray", "local", "--ray-workers", "2")
    command = wanted(mixed, mixed / "ws-here", tmp_path / "rows.jsonl", *ray)
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert rows(tmp_path / "rows.jsonl") == plain_rows
    assert digest(mixed / "ws-here") == digest(mixed / "ws")
    assert clusters() <= before
    with Workspace(mixed / "ws-here") as space:
        run = space.scans.info("latest").run
    assert run["ray"] | {"version": ""} == {
        "version": "", "address": "local", "workers": [2, 2], "gpus": 0.0,
    }  # fmt: skip


def test_a_build_is_the_same_gallery(mixed: Path, cluster: str, tmp_path: Path) -> None:
    check_same_build(mixed, tmp_path / "ws", "--ray", cluster, "--ray-workers", "1:2")


def test_a_killed_worker_loses_nothing(
    mixed: Path, plain_rows: list[dict], cluster: str, tmp_path: Path
) -> None:
    build(mixed, "ws-killed")
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(mixed, mixed / "ws-killed", lines, "--ray", cluster))
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    worker = min(processes("ray::") & processes("_Actor"))
    os.kill(worker, signal.SIGKILL)
    at = lines.read_text().count("\n")
    stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout, stderr) == (0, "", "")
    assert at < len(plain_rows)  # it was at work
    assert rows(lines) == plain_rows


def test_a_killed_scan_goes_on(
    mixed: Path, plain_rows: list[dict], cluster: str, tmp_path: Path
) -> None:
    build(mixed, "ws-resumed")
    lines = tmp_path / "rows.jsonl"
    command = wanted(mixed, mixed / "ws-resumed", lines, "--ray", cluster)
    process = start(command)
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    process.kill()
    process.communicate()
    with Workspace(mixed / "ws-resumed") as space:
        done = space.scans.count(space.scans.info("latest"))
    assert 0 < done < len(plain_rows)
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    found = rows(lines)
    assert sum(row["status"] == "cached" for row in found) > 0
    statuses = ("status",)
    assert [{k: v for k, v in row.items() if k not in statuses} for row in found] == [
        {k: v for k, v in row.items() if k not in statuses} for row in plain_rows
    ]


def test_ctrl_c_ends_it_and_its_cluster(mixed: Path, tmp_path: Path) -> None:
    before = clusters()
    build(mixed, "ws-stopped")
    lines = tmp_path / "rows.jsonl"
    process = start(wanted(mixed, mixed / "ws-stopped", lines, "--ray", "local"))
    until(lambda: lines.exists() and lines.read_text().count("\n") > 0, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in stderr
    assert clusters() <= before


def test_a_file_that_kills_each_worker_ends_the_run(mixed: Path, tmp_path: Path) -> None:
    deadly = "import os\n_open = os.open\ndef fatal(path, *rest, **named):\n"
    deadly += "    if str(path).endswith('070.jpg'):\n"
    deadly += f"        _open({str(tmp_path / 'died')!r}, os.O_CREAT)\n"
    deadly += "        os.kill(os.getpid(), 9)\n"
    deadly += "    return _open(path, *rest, **named)\nos.open = fatal\n"
    (tmp_path / "sitecustomize.py").write_text(deadly)
    build(mixed, "ws-deadly")
    ran = subprocess.run(
        wanted(mixed, mixed / "ws-deadly", tmp_path / "rows.jsonl", "--ray", "local"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "lost the work 4 times" in ran.stderr and ran.stderr.count("\n") == 1
    assert (tmp_path / "died").exists()
    with Workspace(mixed / "ws-deadly") as space:
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
    options: tuple[str, ...], words: str, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    ran = here("code-scan", mixed / "photos", "--workspace", mixed / "ws", *options, code=2)
    assert words in ran.stderr and len(ran.stderr.splitlines()) == 1
