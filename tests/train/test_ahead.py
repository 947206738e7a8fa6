"""Batches made ahead: the same ones, in order, by another thread; errors come where they belong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from code_forensics.train import ahead
from code_forensics.train.ahead import made_ahead
from code_forensics.train.loader import Batch

GPU = torch.device("cuda", 0)


def batches(count: int, threads: list[str], fails_at: int = -1) -> Iterator[Batch]:
    for number in range(count):
        threads.append(threading.current_thread().name)
        if number == fails_at:
            raise OSError("gone")
        yield Batch(torch.full((1, 2, 1, 3, 4, 4), number, dtype=torch.uint8), (), (0, 0))


class Stream:
    """Notes what it is told."""

    def __init__(self, device: torch.device) -> None:
        self.waited: list[object] = []
        self.recorded = 0

    def wait_stream(self, other: object) -> None:
        self.waited.append(other)

    def wait_event(self, event: object) -> None:
        self.waited.append(event)

    def record_event(self) -> int:
        self.recorded += 1
        return self.recorded


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Stream]:
    """A stand-in for the streams of a GPU: first the current one, then those that are made."""
    made = [Stream(GPU)]

    @contextmanager
    def inside(stream: Stream) -> Iterator[None]:
        yield

    def new(device: torch.device) -> Stream:
        made.append(Stream(device))
        return made[-1]

    monkeypatch.setattr(torch.cuda, "Stream", new)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: made[0])
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)
    return made


def numbers(made: Iterator[Batch]) -> list[int]:
    return [int(batch.views[0, 0, 0, 0, 0, 0]) for batch in made]


def test_without_a_gpu_nothing_changes() -> None:
    threads: list[str] = []
    assert numbers(made_ahead(batches(3, threads), torch.device("cpu"))) == [0, 1, 2]
    assert set(threads) == {threading.current_thread().name}


def test_a_thread_of_its_own_makes_the_same_batches_in_order(streams: list[Stream]) -> None:
    threads: list[str] = []
    assert numbers(made_ahead(batches(7, threads), GPU)) == list(range(7))
    assert len(set(threads)) == 1
    assert threads[0].startswith("views")
    here, own = streams
    assert own.waited == [here]  # the images may still be on their way
    assert here.waited == list(range(1, 8))  # each batch is waited for


def test_an_error_comes_where_its_batch_would_have_come(streams: list[Stream]) -> None:
    made = made_ahead(batches(5, [], fails_at=3), GPU)
    assert numbers(next(made) for _ in range(3)) == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(made)


def test_no_more_than_a_few_are_made_ahead_and_the_thread_ends(streams: list[Stream]) -> None:
    threads: list[str] = []
    made = made_ahead(batches(100, threads), GPU)
    next(made)
    made.close()  # type: ignore[attr-defined]
    assert len(threads) <= 1 + ahead._DEPTH
    assert not any(t.name.startswith("views") for t in threading.enumerate())


@pytest.mark.cuda
def test_a_gpu_makes_the_same_batches_ahead() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    weights = torch.rand(3 * 4 * 4, device=GPU)

    def slowly(count: int) -> Iterator[Batch]:
        for number in range(count):
            views = torch.full((64, 2, 1, 3, 4, 4), number, dtype=torch.uint8, device=GPU)
            torch.cuda._sleep(1_000_000)
            yield Batch(views + 1, (), (0, 0))

    for number, batch in enumerate(made_ahead(slowly(20), GPU)):
        expected = weights.sum() * (number + 1)
        found = batch.views.flatten(3).float() @ weights
        assert torch.allclose(found, expected.expand_as(found))
