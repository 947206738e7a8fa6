"""One encoder for several processes: the vectors are those of an encoder of their own."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.cluster import on_processes
from code_forensics.engine.cluster.lending import Borrowed, Lender
from code_forensics.engine.cluster.on_processes import ProcessOptions, ProcessWorkers
from code_forensics.engine.cluster.pipeline import Answer
from code_forensics.engine.cluster.worker import FileWorker, Part, Setup, versions
from code_forensics.engine.decoding.decode import DecodeOptions
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.embedding.checkpoint import Checkpoint
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.errors import DeviceError, EngineError
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.isolation.framing import BrokenMessageError, receive, send
from code_forensics.engine.pipeline.options import PipelineOptions

from tests.conftest import SMALL, draw_checkpoint, draw_photo

GRID = PipelineOptions(workers=2, decode=DecodeOptions(views=ViewPlan(Crops.GRID)))


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return draw_checkpoint(SMALL)


@pytest.fixture
def lends_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one encoder runs on the CPU; all else is as with a GPU."""
    monkeypatch.setattr(on_processes, "Lender", lambda checkpoint, _: Lender(checkpoint, "cpu"))


def photos(folder: Path) -> list[FoundFile]:
    made = [draw_photo(folder / f"{n}.jpg", n, (300 + 90 * n, 260)) for n in range(9)]
    (folder / "none.jpg").write_bytes(b"no picture")
    return [FoundFile(os.fspath(path)) for path in [*made, folder / "none.jpg"]]


def answers(workers: ProcessWorkers, parts: Sequence[Sequence[FoundFile]]) -> Iterator[Part]:
    session = workers.session(GRID, lambda part: Answer(part, (None,) * len(part.found)))
    try:
        for part in parts:
            session.submit(part)
        for _ in parts:
            while (answer := session.next(60)) is None:
                pass
            assert answer.last
            yield answer.part
    finally:
        session.close()
        workers.close()


@pytest.mark.usefixtures("lends_here")
def test_processes_that_borrow_find_what_one_with_an_encoder_of_its_own_finds(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    files = photos(tmp_path)
    with closing(FileWorker(Setup(checkpoint, "cpu", GRID, versions()))) as work:
        own = work(files)
    workers = ProcessWorkers(ProcessOptions(2, "cuda"), checkpoint)
    parts = list(answers(workers, [files[first : first + 4] for first in (0, 4, 8)]))
    found = [one for part in parts for one in part.found]
    assert len(found) == len(own.found) == 10
    for (file, content), (other_file, other) in zip(found, own.found, strict=True):
        assert file == other_file
        assert content is not None and other is not None
        assert content.sha256 == other.sha256 and content.reason == other.reason
        assert content.precision == other.precision
        if other.vector is None:
            assert content.vector is None
        else:
            np.testing.assert_array_equal(content.vector, other.vector)
            np.testing.assert_array_equal(content.views, other.views)
    assert {part.arithmetic for part in parts} == {own.arithmetic}
    assert sum(part.times.embedded for part in parts) == own.times.embedded > 9


@pytest.mark.usefixtures("lends_here")
def test_where_nothing_was_embedded_nothing_is_said_of_its_arithmetic(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    files = [FoundFile(os.fspath(tmp_path / "a.jpg"))]
    workers = ProcessWorkers(ProcessOptions(1, "cuda"), checkpoint)
    (part,) = answers(workers, [files])
    assert part.arithmetic == "" and part.found[0][1] is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_gpu_that_is_not_there_ends_the_run(checkpoint: Checkpoint, tmp_path: Path) -> None:
    workers = ProcessWorkers(ProcessOptions(1, "cuda"), checkpoint)
    with pytest.raises(DeviceError, match="no CUDA device"):
        list(answers(workers, [photos(tmp_path)]))


def test_what_is_not_so_many_crops_is_refused(checkpoint: Checkpoint) -> None:
    lender = Lender(checkpoint, "cpu")
    crop = bytes(224 * 224 * 3)
    for count, crops in ((2, crop), (1, crop[1:]), (-1, crop), ("1", crop), (None, b"")):
        with pytest.raises(BrokenMessageError):
            lender.answer({"crops": count}, crops)


def test_a_process_that_asks_wrongly_counts_as_lost(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(Lender):
        def answer(self, asked: dict[str, object], crops: bytes) -> tuple[dict, memoryview]:
            return super().answer(asked, crops[1:])

    monkeypatch.setattr(on_processes, "Lender", lambda one, _: Refusing(one, "cpu"))
    workers = ProcessWorkers(ProcessOptions(1, "cuda"), checkpoint)
    with pytest.raises(EngineError, match="lost over the same 10 files"):
        list(answers(workers, [photos(tmp_path)]))


def test_threads_that_ask_at_once_get_their_own_vectors(checkpoint: Checkpoint) -> None:
    (to_read, to_write), (back_read, back_write) = os.pipe(), os.pipe()
    asked, said = os.fdopen(to_read, "rb"), os.fdopen(back_write, "wb")
    heard, saying = os.fdopen(back_read, "rb"), os.fdopen(to_write, "wb")
    lender = Lender(checkpoint, "cpu")

    def serve() -> None:
        while True:
            try:
                header, crops = receive(asked, 1 << 30)
            except BrokenMessageError:
                return
            send(said, *lender.answer(header, crops))

    server = threading.Thread(target=serve)
    server.start()
    writing = threading.Lock()

    def say(header: dict[str, object], *raw: bytes | memoryview) -> None:
        with writing:
            send(saying, header, *raw)

    borrowed = Borrowed(heard, say)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (n, 224, 224, 3), np.uint8) for n in (1, 5, 2, 7)]
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: borrowed.embed(batches[n])}))
        for n in range(len(batches))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saying.close()
    server.join()
    own = load_embedder(checkpoint, "cpu")
    for number, crops in enumerate(batches):
        np.testing.assert_array_equal(found[number], own.embed(crops))
    assert borrowed.arithmetic == own.arithmetic
    assert borrowed.precision == own.precision
    for stream in (asked, said, heard):
        stream.close()


_BORROWS = """
import os, sys
import numpy as np
from code_forensics.engine.cluster import child  # what such a process runs
from code_forensics.engine.cluster.worker import FileWorker, Setup, versions
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.pipeline.options import PipelineOptions

class Elsewhere:
    batch, fewest, precision, arithmetic = 16, 16, "float32", ""
    def load(self):
        pass
    def embed(self, crops):
        return np.zeros((len(crops), 8), np.float32)

work = FileWorker(Setup(None, "cuda", PipelineOptions(workers=1), versions()), Elsewhere())
(_, content), = work([FoundFile(sys.argv[1])]).found
assert content.vector is not None, content
print(*sorted({"torch", "faiss", "sqlite3"} & set(sys.modules)))
"""


def test_who_borrows_never_loads_torch(tmp_path: Path) -> None:
    photo = draw_photo(tmp_path / "a.jpg", 1, (300, 260))
    command = [sys.executable, "-c", _BORROWS, os.fspath(photo)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_who_lent_is_gone() -> None:
    borrowed = Borrowed(io.BytesIO(json.dumps({}).encode()), lambda *_: None)
    with pytest.raises(BrokenMessageError):
        borrowed.embed(np.zeros((1, 224, 224, 3), np.uint8))
