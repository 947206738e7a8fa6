"""The pool: jobs come back as they end, and no thread outlives a close that waits."""

import subprocess
import sys
import threading
import time

import pytest
from code_forensics.engine.errors import EngineError
from code_forensics.engine.pipeline.workers import Workers


def test_every_job_comes_back() -> None:
    pool: Workers[int] = Workers(3)
    for number in range(20):
        pool.submit(lambda number=number: number * number)
    results = [pool.next(5.0) for _ in range(20)]
    assert sorted(r for r in results if r is not None) == [n * n for n in range(20)]
    assert pool.pending == 0
    assert pool.next(0.01) is None
    pool.close(wait=True)


def test_a_failing_job_raises_where_it_is_fetched() -> None:
    pool: Workers[float] = Workers(1)
    pool.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pool.next(5.0)
    pool.close(wait=True)


def test_close_waits_for_what_runs_and_drops_the_rest() -> None:
    begun, ended = threading.Event(), []

    def job() -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(1)

    pool: Workers[None] = Workers(1)
    for _ in range(3):
        pool.submit(job)
    assert begun.wait(5.0)
    pool.close(wait=True)
    assert ended == [1]
    assert not any(thread.is_alive() for thread in pool._threads)


def test_close_without_waiting_returns_while_a_job_runs() -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        release.wait(5.0)
        ended.set()

    pool: Workers[None] = Workers(1)
    pool.submit(job)
    assert begun.wait(5.0)
    pool.close(wait=False)
    assert not ended.is_set()
    release.set()
    assert ended.wait(5.0)


def test_threads_that_cannot_be_started_are_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(EngineError, match="no more than 3 of 9 threads") as caught:
        Workers[int](9)
    assert "--workers" in caught.value.hint
    assert len(started) == 3
    assert not any(thread.is_alive() for thread in started)


def test_python_can_end_right_after_a_close() -> None:
    """Threads inside torch at Python's end abort the process."""
    program = (
        "import torch\n"
        "from code_forensics.engine.pipeline.workers import Workers\n"
        "a = torch.randn(400, 400)\n"
        "def job():\n"
        "    for _ in range(50): a @ a\n"
        "pool = Workers(3)\n"
        "for _ in range(9): pool.submit(job)\n"
        "pool.next(60)\n"
        "pool.close(wait=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
