"""An encoder that is loaded when it is needed, and not before."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.contracts import Content
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.embedding.checkpoint import Checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import Precision
from code_forensics.engine.embedding.deferred import DeferredEmbedder
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.errors import CheckpointError
from code_forensics.engine.files.discover import walk
from code_forensics.engine.isolation.decoders import Decoders
from code_forensics.engine.pipeline.identify import EmbedOnly
from code_forensics.engine.pipeline.items import Identified, Item
from code_forensics.engine.pipeline.options import PipelineOptions, StageTimes
from code_forensics.engine.pipeline.pipeline import Pipeline
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import SMALL, draw_checkpoint, draw_photo


class Nothing:
    """A store that knows nothing."""

    def known_file(self, _file: object) -> Content | None:
        return None

    def known_content(self, _sha256: str, _frame: int = 1) -> Content | None:
        return None


class Slow:
    """An encoder that is loaded once enough has been decoded beside it."""

    def __init__(self, enough: threading.Event, batch: int = 4, fewest: int = 4) -> None:
        self.batch, self.fewest = batch, fewest
        self.calls: list[int] = []
        self.loads: list[int] = []
        self._enough = enough

    def load(self) -> None:
        assert self._enough.wait(20), "nothing was decoded while the encoder was loaded"
        self.loads.append(threading.get_ident())

    def __call__(self, crops: NDArray[np.uint8], final: bool) -> Sequence[Identified | None]:
        assert len(self.loads) == 1 and not final
        self.calls.append(len(crops))
        return [Identified(np.full(8, crop[0, 0, 0], np.float32), "float32") for crop in crops]

    def together(self, _content: Content, _found: Sequence[Identified], _plan: ViewPlan) -> bool:
        return True


class Counted(Decoders):
    """Sets an event with the ninth picture."""

    def __init__(self, enough: threading.Event) -> None:
        super().__init__()
        self._left = threading.Semaphore(8)
        self._enough = enough

    def decode(self, data: bytes):  # type: ignore[no-untyped-def]
        if not self._left.acquire(blocking=False):
            self._enough.set()
        return super().decode(data)


def items(pipeline: Pipeline, folder: Path) -> list[Item]:
    return [item for burst in pipeline.run(walk([folder]), lambda: False) for item in burst]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_its_vectors_are_those_of_the_encoder(precision: Precision) -> None:
    checkpoint = draw_checkpoint(SMALL)
    deferred = DeferredEmbedder(checkpoint, "cpu", precision)
    embedder = load_embedder(checkpoint, "cpu", precision)
    assert deferred.arithmetic == ""
    crops = np.random.default_rng(1).integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    assert np.array_equal(deferred.embed(crops), embedder.embed(crops))
    for name in (
        "sha256",
        "dimension",
        "device",
        "precision",
        "batch",
        "fewest",
        "backend",
        "arithmetic",
    ):
        assert getattr(deferred, name) == getattr(embedder, name)


_SPARES = """
import sys
import numpy as np
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.config import Precision
from code_forensics.engine.embedding.deferred import DeferredEmbedder

embedder = DeferredEmbedder(read_checkpoint(sys.argv[1]), "cpu")
assert (embedder.dimension, embedder.device, len(embedder.sha256)) == (24, "cpu", 64)
assert "torch" not in sys.modules
reduced = DeferredEmbedder(read_checkpoint(sys.argv[1]), "cpu", "bfloat16")
assert reduced.precision == "bfloat16"
assert "torch" not in sys.modules
embedder.embed(np.zeros((1, 224, 224, 3), np.uint8))
assert ("torch" in sys.modules) == (embedder.backend == "torch")
reduced.embed(np.zeros((1, 224, 224, 3), np.uint8))
assert "torch" in sys.modules
"""


def test_pytorch_comes_with_the_first_crops(tmp_path: Path) -> None:
    write_checkpoint(draw_checkpoint(SMALL), tmp_path)
    subprocess.run([sys.executable, "-c", _SPARES, str(tmp_path)], check=True)


def test_files_are_decoded_while_it_is_loaded(tmp_path: Path) -> None:
    for number in range(12):
        draw_photo(tmp_path / f"{number:02}.png", number)
    enough = threading.Event()
    identify, times = Slow(enough), StageTimes()
    with Counted(enough) as decoders:
        found = items(Pipeline(Nothing(), identify, PipelineOptions(2), times, decoders), tmp_path)
    assert [Path(item.file.path).name for item in found] == [f"{n:02}.png" for n in range(12)]
    assert all(item.content is not None and item.content.vector is not None for item in found)
    assert len(identify.loads) == 1 and threading.get_ident() not in identify.loads
    assert times.load > 0 and times.embedded == 12


@pytest.mark.parametrize(
    ("batch", "fewest", "threads", "calls"),
    [
        (16, 1, 2, [9, 8]),
        (16, 1, 3, [6, 6, 5]),
        (16, 4, 8, [4, 4, 4, 4, 1]),
        (6, 1, 2, [5, 5, 5, 2]),
        (128, 128, 8, [17]),
    ],
)
def test_threads_share_the_last_crops(
    tmp_path: Path, batch: int, fewest: int, threads: int, calls: list[int]
) -> None:
    """Of one picture, of which seventeen are looked at."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    ready = threading.Event()
    ready.set()
    identify = Slow(ready, batch, fewest)
    options = PipelineOptions(threads).looking_at(ViewPlan(Crops.SIXTEEN))
    (found,) = items(Pipeline(Nothing(), identify, options, StageTimes()), tmp_path)
    assert found.content is not None and found.content.vector is not None
    assert sorted(identify.calls, reverse=True) == calls


def test_what_has_been_decoded_makes_room_for_more(tmp_path: Path) -> None:
    """Twelve files, of which three at a time would be all that may be in memory."""
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (700, 700, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number:02}.png")
    size = (tmp_path / "00.png").stat().st_size
    enough = threading.Event()
    identify, options = Slow(enough), PipelineOptions(2, budget=3 * size)
    with Counted(enough) as decoders:
        pipeline = Pipeline(Nothing(), identify, options, StageTimes(), decoders)
        assert len(items(pipeline, tmp_path)) == 12
    assert pipeline._bytes == 0 and size > 8 * 224 * 224 * 3


def test_it_is_not_loaded_for_what_cannot_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.jpg").write_bytes(draw_photo(tmp_path / "a.jpg", 1).read_bytes()[:900])
    (tmp_path / "a.jpg").unlink()
    identify = Slow(threading.Event())
    found = items(Pipeline(Nothing(), identify, PipelineOptions(2), StageTimes()), tmp_path)
    assert len(found) == 2 and identify.loads == []


def test_damaged_tensors_end_the_pipeline_with_what_is_wrong(tmp_path: Path) -> None:
    whole = draw_checkpoint(SMALL)
    damaged = DeferredEmbedder(Checkpoint(whole.weights[:-64], whole.config, "here"), "cpu")
    photos = tmp_path / "photos"
    draw_photo(photos / "a.jpg", 1)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        items(Pipeline(Nothing(), EmbedOnly(damaged), PipelineOptions(2), StageTimes()), photos)
    with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
        DeferredEmbedder(Checkpoint(whole.weights, b"{", "here"), "cpu")
