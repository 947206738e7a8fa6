"""Order, loss and end of the processes that embed; those here are threads that answer by plan."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from code_forensics.engine.archives.limits import ArchiveLimits
from code_forensics.engine.cluster.child import LostError
from code_forensics.engine.cluster.messages import pack_setup, unpack_setup
from code_forensics.engine.cluster.on_processes import (
    TRIES,
    ProcessOptions,
    ProcessWorkers,
)
from code_forensics.engine.cluster.pipeline import Answer, Session
from code_forensics.engine.cluster.worker import Part, Setup
from code_forensics.engine.decoding.decode import DecodeOptions, Isolation
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.errors import EngineError
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.pipeline.options import PipelineOptions, StageTimes

from tests.conftest import SMALL, draw_checkpoint


class Child:
    """A process in this one: names the files that it is given, unless the plan loses it."""

    def __init__(self, setup: Setup, plan: Callable[[str, Setup], None]) -> None:
        self.setup = setup
        self._plan = plan
        self.killed = threading.Event()
        self.ended = False

    @property
    def alive(self) -> bool:
        return not (self.killed.is_set() or self.ended)

    def ask(self, files: Sequence[FoundFile]) -> Iterator[Part]:
        for file in files:
            self._plan(file.path, self.setup)
            if self.killed.is_set():
                raise LostError("it was killed")
            yield Part(((file, None),), StageTimes(), "here")
        yield Part((), StageTimes(), "here")

    def kill(self) -> None:
        self.killed.set()

    def end(self) -> None:
        self.ended = True


class Workers(ProcessWorkers):
    """Hands out such children, and remembers them."""

    def __init__(self, number: int, plan: Callable[[str, Setup], None]) -> None:
        super().__init__(ProcessOptions(number), draw_checkpoint(SMALL))
        self.children: list[Child] = []
        self.plan = plan

    def start(self, setup: Setup) -> Child:  # type: ignore[override]
        self.children.append(Child(setup, self.plan))
        return self.children[-1]


def begin(workers: Workers) -> Session:
    return workers.session(PipelineOptions(), lambda part: Answer(part, (None,) * len(part.found)))


def paths(session: Session) -> list[str]:
    """The files of the next part, of which all pieces come one after the other."""
    told, deadline = [], time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = session.next(1)
        if answer is not None:  # else another part's was the first to come
            told += [file.path for file, _ in answer.part.found]
            if answer.last:
                return told
    raise TimeoutError


def test_answers_come_in_the_order_of_the_parts_however_long_each_takes() -> None:
    workers = Workers(3, lambda path, _: time.sleep(0.002 * (int(path) % 7)))
    session = begin(workers)
    told, most = [], 0
    for number in range(40):
        while not session.room:
            told += paths(session)
        session.submit([FoundFile(str(2 * number)), FoundFile(str(2 * number + 1))])
        most = max(most, 2 * (number + 1) - len(told))
    while len(told) < 80:
        told += paths(session)
    assert told == [str(number) for number in range(80)]
    assert most <= 2 * 9  # three parts for each
    assert len(workers.children) == 3  # each for all of its parts
    assert not session.ready and session.next(0) is None
    session.close()


def test_a_lost_process_is_replaced_by_one_that_decodes_with_care() -> None:
    def plan(path: str, setup: Setup) -> None:
        if path == "bad" and setup.options.decode.isolation is not Isolation.ALL:
            raise LostError("gone")

    workers = Workers(1, plan)
    session = begin(workers)
    for path in ("good", "bad", "last"):
        session.submit([FoundFile(path)])
    assert [paths(session) for _ in range(3)] == [["good"], ["bad"], ["last"]]
    session.close()
    first, second, third = workers.children
    assert first.ended and second.ended and not third.ended  # care is for the lost part alone
    assert third.setup == first.setup
    assert second.setup.options == replace(
        first.setup.options,
        decode=replace(first.setup.options.decode, isolation=Isolation.ALL),
    )


def test_what_was_told_before_a_process_was_lost_is_not_told_again() -> None:
    lost = iter((False, False, True))

    def plan(path: str, _: Setup) -> None:
        if path == "c" and next(lost, False):
            raise LostError("gone")

    workers = Workers(1, plan)
    session = begin(workers)
    for _ in range(4):
        session.submit([FoundFile(path) for path in "abcd"])
    assert [paths(session) for _ in range(4)] == [list("abcd")] * 4
    session.close()
    assert len(workers.children) == 3


def test_a_large_part_waits_for_its_turn_with_few_pieces() -> None:
    asked: list[str] = []
    may_go = threading.Event()

    def plan(path: str, _: Setup) -> None:
        asked.append(path)
        if path == "first":
            assert may_go.wait(20)

    session = begin(Workers(2, plan))
    session.submit([FoundFile("first")])
    session.submit([FoundFile(str(number)) for number in range(50)])
    deadline = time.monotonic() + 5
    while len(asked) < 10 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert 9 <= len(asked) <= 13 and not session.ready
    may_go.set()
    assert paths(session) == ["first"]
    assert paths(session) == [str(number) for number in range(50)]
    session.close()


def test_a_process_that_was_lost_at_rest_costs_no_care() -> None:
    workers = Workers(1, lambda _path, _setup: None)
    for path in ("a", "b"):
        session = begin(workers)
        session.submit([FoundFile(path)])
        assert paths(session) == [path]
        session.close()
        workers.children[-1].kill()
    assert len(workers.children) == 2
    assert workers.children[1].setup == workers.children[0].setup


def test_a_setup_arrives_as_it_was() -> None:
    decode = DecodeOptions(7, 8, 9.5, Isolation.ALL, views=ViewPlan(Crops.GRID, probe=True))
    options = PipelineOptions(3, 4, 5, decode, ArchiveLimits(depth=2), 6, provenance=False)
    checkpoint = replace(draw_checkpoint(SMALL), origin="ä\udcff", revision="r")
    for one in (options, PipelineOptions()):
        setup = Setup(checkpoint, "cuda", one, {"torch": "1"})
        header, weights = pack_setup(setup)
        assert unpack_setup(json.loads(json.dumps(header)), weights) == setup


def test_files_that_bring_down_each_process_end_the_run_after_what_came_before() -> None:
    def plan(path: str, _: Setup) -> None:
        if path == "bad":
            raise LostError("gone")

    workers = Workers(2, plan)
    session = begin(workers)
    for path in ("good", "bad"):
        session.submit([FoundFile(path)])
    assert paths(session) == ["good"]
    with pytest.raises(EngineError, match=f"{TRIES} processes .* from 'bad' on; of the last gone"):
        session.next(5)
    session.close()
    assert sum(child.ended for child in workers.children) == TRIES


def test_what_a_process_cannot_do_and_a_fault_of_our_own_are_told() -> None:
    session = begin(Workers(1, lambda _path, _setup: None))
    session.close()
    for said, kind in ((EngineError("no", "do"), EngineError), (ValueError("bug"), ValueError)):

        def plan(_: str, __: Setup, said: Exception = said) -> None:
            raise said

        session = begin(Workers(1, plan))
        session.submit([FoundFile("a")])
        with pytest.raises(kind):
            session.next(5)
        session.close()


def test_closing_kills_what_is_at_work_and_starts_nothing_more() -> None:
    begun = threading.Event()

    def plan(path: str, _: Setup) -> None:
        begun.set()
        deadline = time.monotonic() + 20
        while not workers.children[0].killed.is_set() and time.monotonic() < deadline:
            time.sleep(0.001)

    workers = Workers(1, plan)
    session = begin(workers)
    session.submit([FoundFile("a")])
    session.submit([FoundFile("b")])
    assert begun.wait(5)
    session.close()
    assert [child.killed.is_set() for child in workers.children] == [True]


def test_threads_and_memory_are_shared_out() -> None:
    workers = Workers(4, lambda _path, _setup: None)
    session = workers.session(PipelineOptions(workers=3, budget=1 << 30), lambda p: Answer(p, ()))
    session.submit([])
    assert session.next(5) is not None
    session.close()
    assert workers.children[0].setup.options == PipelineOptions(workers=3, budget=1 << 28)


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", [32] * 11), ("cuda", [32, 32, 64, 64, 128, 128, 256, 256, 256, 256, 256])],
)
def test_on_a_gpu_parts_are_small_at_first_so_that_every_process_has_one(device, expected) -> None:
    options = ProcessOptions(2, device)
    workers = ProcessWorkers(options, draw_checkpoint(SMALL))
    assert [workers.part(before) for before in range(11)] == expected
    assert workers.part(10**6) == expected[-1]


def test_the_next_part_of_a_session_follows_those_that_were_given() -> None:
    workers = Workers(2, lambda _path, _setup: None)
    workers.part = lambda before: 10 + before  # type: ignore[method-assign]
    session = begin(workers)
    sizes = []
    for _ in range(3):
        sizes.append(session.part)
        session.submit([FoundFile("a")])
    assert sizes == [10, 11, 12]
    for _ in range(3):
        assert paths(session) == ["a"]
    session.close()
