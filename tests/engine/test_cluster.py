"""A cluster's pipeline gives what this machine's gives; the workers stand in this process here."""

import io
import os
import pickle
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from code_forensics.engine.archives.limits import ArchiveLimits
from code_forensics.engine.cluster import pipeline, rounds
from code_forensics.engine.cluster.messages import (
    pack_answer,
    pack_files,
    unpack_answer,
    unpack_files,
)
from code_forensics.engine.cluster.on_ray import RayOptions, RayWorkers
from code_forensics.engine.cluster.pipeline import Answer, ClusterPipeline, Finish, Session
from code_forensics.engine.cluster.worker import FileWorker, Part, Setup, versions
from code_forensics.engine.contracts import Content
from code_forensics.engine.decoding.decode import DecodeOptions
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.embedding.checkpoint import Checkpoint
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.errors import EngineError, InputError
from code_forensics.engine.files.discover import walk
from code_forensics.engine.files.found import FoundFile, FreshContent
from code_forensics.engine.pipeline.contracts import Source
from code_forensics.engine.pipeline.identify import EmbedOnly
from code_forensics.engine.pipeline.items import Item
from code_forensics.engine.pipeline.options import PipelineOptions, StageTimes
from code_forensics.engine.pipeline.pipeline import Pipeline
from PIL import Image

from tests.conftest import SMALL, draw_checkpoint, draw_photo
from tests.engine.test_archives import tar_of, zip_of

ARCHIVES = PipelineOptions(workers=2, archives=ArchiveLimits(), frames=3)
VIEWS = PipelineOptions(decode=DecodeOptions(views=ViewPlan(Crops.FIVE, probe=True)))
BARE = PipelineOptions(workers=1, provenance=False)


class Store:
    """Remembers in memory what a workspace would."""

    def __init__(self) -> None:
        self.files: dict[tuple[object, ...], Content] = {}
        self.contents: dict[tuple[str, int], Content] = {}

    def known_file(self, file: FoundFile) -> Content | None:
        return self.files.get(self._identity(file))

    def known_content(self, sha256: str, frame: int = 1) -> Content | None:
        return self.contents.get((sha256, frame))

    def learn(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.content is not None and (
                item.content.reason or item.content.vector is not None
            ):
                self.contents[item.content.sha256, item.content.frame] = item.content
                if item.content.frame == 1:
                    self.files[self._identity(item.file)] = item.content

    @staticmethod
    def _identity(file: FoundFile) -> tuple[object, ...]:
        return file.path, file.bytes, file.mtime_ns, file.inode, file.device


class Workers:
    """A cluster of one worker, with which everything is exchanged as messages."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.asked: list[str] = []

    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        return Exchange(self, options, finish)


class Exchange:
    """A session of such a cluster, which takes two parts at a time."""

    part = 3

    def __init__(self, workers: Workers, options: PipelineOptions, finish: Finish) -> None:
        self.asked = workers.asked
        self.finish = finish
        self.parts: deque[Sequence[FoundFile]] = deque()
        self.work = FileWorker(Setup(workers.checkpoint, "cpu", options, versions()))
        self.tired = False

    @property
    def room(self) -> bool:
        return len(self.parts) < 2

    ready = False

    def submit(self, part: Sequence[FoundFile]) -> None:
        self.parts.append(part)

    def next(self, seconds: float) -> Answer | None:
        self.tired = not self.tired
        if self.tired:
            return None
        part = self.parts.popleft()
        self.asked += [file.path for file in part]
        answer = unpack_answer(pack_answer(self.work(unpack_files(pack_files(part)))))
        assert isinstance(answer, Part)
        return self.finish(answer)

    def close(self) -> None:
        self.work.close()


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return draw_checkpoint(SMALL)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Good files, copies, broken ones, archives and pictures of several frames."""
    folder = tmp_path / "tree"
    photos = [draw_photo(folder / f"{n:02}.jpg", n, (300 + n, 260)) for n in range(8)]
    data = [photo.read_bytes() for photo in photos]
    (folder / "copy.jpg").write_bytes(data[7])
    (folder / "cut.jpg").write_bytes(data[0][:900])
    (folder / "empty.png").touch()
    (folder / "note.txt").write_text("no picture")
    (folder / "album.zip").write_bytes(
        zip_of({"a.jpg": data[0], "b/c.tar": tar_of({"n.jpg": data[1]})})
    )
    (folder / "zz.tar").write_bytes(
        tar_of({"x.jpg": draw_photo(tmp_path / "x.jpg", 99).read_bytes()})
    )
    frames = [Image.fromarray(np.full((230, 230, 3), 40 * n, np.uint8)) for n in range(5)]
    target = io.BytesIO()
    frames[0].save(target, "GIF", save_all=True, append_images=frames[1:])
    (folder / "clip.gif").write_bytes(target.getvalue())
    if os.name != "nt":
        (folder / "link.jpg").symlink_to(folder / "00.jpg")
        os.mkfifo(folder / "pipe")
    return folder


def facts(item: Item) -> tuple[object, ...]:
    """Everything of a file that a row is made from, down to the bits of its vectors."""
    content = item.content
    known = content and tuple(
        getattr(content, name)
        for name in (
            *("sha256", "bytes", "format", "width", "height", "decoder", "provenance"),
            *("reason", "detail", "precision", "frame", "frames"),
        )
    )
    vectors = content and [
        None if array is None else array.tobytes() for array in (content.vector, content.views)
    ]
    return item.file, item.embedded, item.opened and bool(vectors and vectors[0]), known, vectors


def run(source: Source, files: Sequence[FoundFile], store: Store | None = None) -> list[tuple]:
    found, seen = [], set()
    for burst in source.run(files, lambda: False):
        for item in burst:
            row = facts(item)
            if item.content is not None:  # whether a copy was embedded with the first is chance
                key = item.content.sha256, item.content.frame
                row = (row[0], row[1] and key not in seen, *row[2:])
                seen.add(key)
            found.append(row)
        if store is not None:
            store.learn(burst)
    return found


@pytest.mark.parametrize("options", [PipelineOptions(), ARCHIVES, VIEWS, BARE], ids="pavb")
def test_a_cluster_gives_what_one_machine_gives(
    options: PipelineOptions, tree: Path, checkpoint: Checkpoint
) -> None:
    workers, stores = Workers(checkpoint), (Store(), Store())
    identify = EmbedOnly(load_embedder(checkpoint, "cpu"))
    for round_ in range(3):
        here = Pipeline(stores[0], identify, options, StageTimes())
        there = ClusterPipeline(stores[1], workers, options, StageTimes())
        files, asked = list(walk([tree])), len(workers.asked)
        expected = run(here, files, stores[0])
        assert run(there, files, stores[1]) == expected
        if round_ == 0:
            assert len(expected) >= len(files) and any(row[1] for row in expected)
            assert len(workers.asked) > len(files) / 2
        elif options is not ARCHIVES:  # archives are opened again
            fresh = {0: files, 1: [], 2: ["07.jpg", "new.jpg"]}[round_]
            assert [
                Path(path).name for path in workers.asked[asked:] if "empty" not in path
            ] == fresh
        if round_ == 1:  # between two runs a file changes, and one that is a copy arrives
            draw_photo(tree / "07.jpg", 1234)
            (tree / "new.jpg").write_bytes((tree / "00.jpg").read_bytes())


def test_one_new_file_before_many_known_ones_is_not_waited_for(
    tree: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_WAITING", 4)
    store, workers = Store(), Workers(checkpoint)
    run(ClusterPipeline(store, workers, PipelineOptions(), StageTimes()), list(walk([tree])), store)
    draw_photo(tree / "00.jpg", 4321)
    files, asked = list(walk([tree])), len(workers.asked)
    there = ClusterPipeline(store, workers, PipelineOptions(), StageTimes())
    assert [row[0].path for row in run(there, files)] == [file.path for file in files]
    assert [Path(path).name for path in workers.asked[asked:]] == ["00.jpg", "empty.png"]


class InRounds(Workers):
    """The same, but of a kind that wants all parts of a round at once."""

    rounds = 0

    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        return rounds.Rounds(partial(self._embed, options), finish, 3)

    def _embed(
        self, options: PipelineOptions, parts: Sequence[Sequence[FoundFile]]
    ) -> Generator[Part | None]:
        self.rounds += 1
        with closing(FileWorker(Setup(self.checkpoint, "cpu", options, versions()))) as work:
            for part in parts:
                yield None
                yield work(part)


def test_files_go_out_in_rounds_where_workers_want_them_so(
    tree: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, plain, by_rounds = list(walk([tree])), Workers(checkpoint), InRounds(checkpoint)
    expected = run(ClusterPipeline(Store(), plain, ARCHIVES, StageTimes()), files)
    monkeypatch.setattr(rounds, "ROUND", 6)
    assert run(ClusterPipeline(Store(), by_rounds, ARCHIVES, StageTimes()), files) == expected
    assert by_rounds.rounds == 3  # of 15 files that are read
    by_rounds.rounds = 0
    monkeypatch.setattr(rounds, "COLLECTING", 0.0)  # as if files came slowly
    assert run(ClusterPipeline(Store(), by_rounds, ARCHIVES, StageTimes()), files) == expected
    assert by_rounds.rounds > 3


def test_a_file_that_vanishes_is_a_row(tree: Path, checkpoint: Checkpoint) -> None:
    files = list(walk([tree]))
    (tree / "03.jpg").unlink()
    there = ClusterPipeline(Store(), Workers(checkpoint), PipelineOptions(), StageTimes())
    rows = {Path(row[0].path).name: row[0].reason for row in run(there, files)}
    assert len(rows) == len(files) and rows["03.jpg"] == "vanished" and rows["04.jpg"] is None


def test_a_node_counts_its_devices_its_own_way(tree: Path, checkpoint: Checkpoint) -> None:
    files = [replace(file, device=file.device + 7) for file in walk([tree])]
    store = Store()
    there = ClusterPipeline(store, Workers(checkpoint), PipelineOptions(), StageTimes())
    assert {row[0].device for row in run(there, files, store) if row[3]} == {files[0].device}
    again = Workers(checkpoint)
    run(ClusterPipeline(store, again, PipelineOptions(), StageTimes()), files)
    assert [Path(path).name for path in again.asked] == ["empty.png"]  # it has no content


def test_stopping_asks_no_cluster(tree: Path, checkpoint: Checkpoint) -> None:
    workers = Workers(checkpoint)
    there = ClusterPipeline(Store(), workers, PipelineOptions(), StageTimes())
    assert not [item for burst in there.run(walk([tree]), lambda: True) for item in burst]
    assert not workers.asked


def test_a_worker_with_other_versions_is_refused(checkpoint: Checkpoint) -> None:
    setup = Setup(checkpoint, "cpu", BARE, {**versions(), "torch": "0.1"})
    with pytest.raises(InputError, match=r"other versions: torch .* instead of 0\.1"):
        FileWorker(setup)


@pytest.mark.parametrize("text", ["", "0", "4:2", "2:", ":2", "two", "1:2:3", "-1"])
def test_what_is_no_number_of_workers(text: str) -> None:
    with pytest.raises(InputError):
        RayOptions.parse_workers(text)


def test_numbers_of_workers() -> None:
    assert RayOptions.parse_workers("3") == (3, 3)
    assert RayOptions.parse_workers("2:16") == (2, 16)


def test_what_a_worker_says_is_checked_and_never_executed(tmp_path: Path) -> None:
    vector = np.arange(8, dtype=np.float32)
    content = FreshContent("ab", 3, "PNG", vector=vector, views=np.stack([vector, -vector]))
    file = FoundFile("a\udcff\n.png", 3, root="a")
    part = Part(((file, content), (FoundFile("b"), None)), StageTimes(read=0.5), "f")
    message = pack_answer(part)
    same = unpack_answer(message)
    assert isinstance(same, Part)
    assert same.times == part.times and same.found[1] == part.found[1]
    assert same.found[0][0] == file
    again = same.found[0][1]
    assert again is not None and again.format == "PNG"
    assert np.array_equal(again.vector, vector) and np.array_equal(again.views, content.views)
    error = unpack_answer(pack_answer(EngineError("no", "do so")))
    assert isinstance(error, EngineError) and (str(error), error.hint) == ("no", "do so")
    marker = tmp_path / "executed"
    pickled = pickle.dumps(_Touch(str(marker)))
    wrong_type = message.replace(b'"sha256": "ab"', b'"sha256": 1234')
    unknown = message.replace(b'"decoder"', b'"vectors"')
    for bad in (pickled, b"", message[:-4], message + bytes(4), message[:40], wrong_type, unknown):
        with pytest.raises(EngineError, match="makes no sense"):
            unpack_answer(bad)
    assert not marker.exists()


class _Touch:
    """Runs when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path(self.path),))


class _GoneError(Exception):
    """As Ray raises it of an actor."""


class _BugError(_GoneError):
    """As Ray raises it of a task."""


@pytest.mark.parametrize(("nodes", "error"), [(2, _GoneError), (1, _GoneError), (2, _BugError)])
def test_a_lost_node_s_files_are_given_to_the_others(
    nodes: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single node, and an error of the program's own, are not waited for."""
    alive = [{"NodeID": str(number), "Alive": True} for number in range(nodes)]
    ray = SimpleNamespace(
        exceptions=SimpleNamespace(RayError=_GoneError, RayTaskError=_BugError), nodes=lambda: alive
    )
    asked = []

    def answers(_: RayWorkers, parts: list[list[FoundFile]], setup: Setup) -> Iterator[str]:
        asked.append(len(parts))
        for number, part in enumerate(parts):
            if len(asked) == 1 and number == 2:
                if nodes > 1:
                    alive[-1] = {"NodeID": "1", "Alive": False}
                raise error("unavailable")
            yield part[0].path

    monkeypatch.setattr(RayWorkers, "_answers", answers)
    workers = RayWorkers(SimpleNamespace(options=RayOptions()), ray, draw_checkpoint(SMALL))  # type: ignore[arg-type]
    parts = [[FoundFile(str(number))] for number in range(5)]
    got = []

    def collect() -> None:
        got.extend(a for a in workers.embed(parts, PipelineOptions()) if a is not None)

    if nodes == 2 and error is _GoneError:
        collect()
        assert got == ["0", "1", "2", "3", "4"]
        assert asked == [5, 3]
        return
    with pytest.raises(error if error is _BugError else EngineError):
        collect()
    assert got == ["0", "1"]
    assert asked == [5]
