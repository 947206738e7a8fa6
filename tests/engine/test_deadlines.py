"""Deadlines: late is late, in time is not, whatever else is waited for."""

import threading
import time

from code_forensics.engine.isolation.deadlines import Deadlines


def test_what_takes_too_long_is_told_once() -> None:
    told: list[float] = []
    deadlines, started = Deadlines(), time.monotonic()
    with deadlines.within(0.05, lambda: told.append(time.monotonic() - started)):
        time.sleep(0.4)
    time.sleep(0.1)
    assert len(told) == 1
    assert 0.05 <= told[0] < 0.35


def test_what_is_done_in_time_is_left_alone() -> None:
    told: list[str] = []
    deadlines = Deadlines()
    for _ in range(100):
        with deadlines.within(0.1, lambda: told.append("late")):
            pass
    time.sleep(0.3)
    assert told == []


def test_an_earlier_deadline_does_not_wait_for_a_later_one() -> None:
    told: list[str] = []
    deadlines = Deadlines()
    with deadlines.within(60.0, lambda: told.append("later")):
        time.sleep(0.05)  # the clock sleeps for a minute now
        with deadlines.within(0.05, lambda: told.append("earlier")):
            time.sleep(0.3)
    assert told == ["earlier"]


def test_there_is_one_thread_however_many_wait() -> None:
    deadlines, told = Deadlines(), []
    before = threading.active_count()
    barrier = threading.Barrier(9)

    def work(number: int) -> None:
        with deadlines.within(0.1 if number % 2 else 60.0, lambda: told.append(number)):
            barrier.wait()
            time.sleep(0.4)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    assert threading.active_count() == before + 8 + 1
    for thread in threads:
        thread.join()
    assert sorted(told) == [1, 3, 5, 7]
