"""Deadlines: late is late, in time is not, whatever else is waited for."""

import threading
import time

from code_forensics.engine.isolation.deadlines import Deadlines

PATIENCE = 30.0
"""Seconds that a busy machine may take to act on a deadline."""


def test_what_takes_too_long_is_told_once() -> None:
    told: list[float] = []
    late = threading.Event()

    def tell() -> None:
        told.append(time.monotonic())
        late.set()

    deadlines, started = Deadlines(), time.monotonic()
    with deadlines.within(0.05, tell):
        assert late.wait(PATIENCE)
        time.sleep(0.2)
    assert len(told) == 1
    assert told[0] - started >= 0.05


def test_what_is_done_in_time_is_left_alone() -> None:
    told: list[str] = []
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(1.0, lambda: told.append("late")):
            pass
    time.sleep(1.2)
    assert told == []


def test_an_earlier_deadline_does_not_wait_for_a_later_one() -> None:
    told: list[str] = []
    late = threading.Event()
    deadlines = Deadlines()
    with deadlines.within(10 * PATIENCE, lambda: told.append("later")):
        time.sleep(0.05)  # the clock sleeps until then
        with deadlines.within(0.05, late.set):
            assert late.wait(PATIENCE)
    assert told == []


def test_there_is_one_thread_however_many_wait() -> None:
    deadlines = Deadlines()
    before = set(threading.enumerate())
    together, done = threading.Barrier(9), threading.Event()
    late = [threading.Event() for _ in range(8)]

    def work(number: int) -> None:
        with deadlines.within(0.1 if number % 2 else 10 * PATIENCE, late[number].set):
            together.wait()
            done.wait(PATIENCE)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    together.wait()
    assert len(set(threading.enumerate()) - before) == 8 + 1
    assert all(late[number].wait(PATIENCE) for number in (1, 3, 5, 7))
    assert not any(late[number].is_set() for number in (0, 2, 4, 6))
    done.set()
    for thread in threads:
        thread.join()
