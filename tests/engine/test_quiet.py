"""Silence for image libraries leaves everybody else's warnings as they were."""

import threading
import warnings

from code_forensics.engine.quiet import quiet_warnings


def test_quiet_threads_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    entered, release = threading.Barrier(3), threading.Event()

    def stay():
        with quiet_warnings():
            entered.wait(10)
            release.wait(10)

    threads = [threading.Thread(target=stay) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait(10)
    with quiet_warnings():
        pass  # leaving must not take the filter from the two that are still inside
    inside = list(warnings.filters)
    release.set()
    for thread in threads:
        thread.join()
    assert len(inside) == len(before) + 1
    assert list(warnings.filters) == before
