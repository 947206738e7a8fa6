"""What a worker of a cluster does: read, decode and embed some files, as one machine would."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..decoding.decode import decoder_versions
from ..embedding.checkpoint import Checkpoint
from ..embedding.config import Device
from ..embedding.contracts import Embeds
from ..embedding.deferred import DeferredEmbedder
from ..errors import InputError
from ..files.found import FoundFile, FreshContent
from ..isolation.decoders import Decoders
from ..pipeline.identify import EmbedOnly
from ..pipeline.memory import Unknowing
from ..pipeline.options import PipelineOptions, StageTimes
from ..pipeline.pipeline import Pipeline
from ..run import package_versions
from .lending import Borrowed

CPU_PART = 32
"""Files that a worker without a GPU takes at a time: half a second's work, or a few seconds'."""

CUDA_PART = 256
"""The same of one with a GPU."""

PIECE = 256
"""Files from which on an answer is given in pieces."""


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a worker has to know; picklable.

    Attributes:
        checkpoint: The encoder; None where the worker borrows one.
        device: Where it runs, ``cpu`` or ``cuda``.
        options: How the worker's own pipeline runs.
        versions: Of everything that a crop and a vector depend on, where the scan is recorded.
        sharing: Workers on this machine, which share its memory.
    """

    checkpoint: Checkpoint | None
    device: Device
    options: PipelineOptions
    versions: Mapping[str, str]
    sharing: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker found in some files.

    Attributes:
        found: Each file as it was when it was read, and what its bytes are; an archive after its
            members, further frames after their picture. None is the content of what could not
            be read.
        times: What that took.
        arithmetic: What the rounding of the vectors depends on; empty where there was none yet.
    """

    found: tuple[tuple[FoundFile, FreshContent | None], ...]
    times: StageTimes
    arithmetic: str


def versions() -> dict[str, str]:
    """Versions of everything here that a crop and a vector depend on."""
    packages = package_versions()
    searching = {"faiss-cpu", "faiss-gpu"}  # which is not the workers' work
    return {**{n: v for n, v in packages.items() if n not in searching}, **decoder_versions()}


class FileWorker:
    """Reads, decodes and embeds; nothing that it learnt of earlier files changes an answer."""

    def __init__(self, setup: Setup, borrowed: Borrowed | None = None) -> None:
        """Take the encoder; it is loaded with the first files.

        Args:
            setup: See there.
            borrowed: The encoder, where the setup has none.

        Raises:
            InputError: Other versions are installed here.
            DeviceError: The device is not there.
        """
        here = versions()
        if differing := [
            f"{name} {here.get(name, 'missing')} instead of {setup.versions.get(name, 'none')}"
            for name in sorted({*here, *setup.versions})
            if here.get(name) != setup.versions.get(name)
        ]:
            raise InputError(
                f"the worker on {platform.node()} has other versions: {', '.join(differing)}",
                "install the same packages on every node",
            )
        self._embedder: Embeds
        if setup.checkpoint is not None:
            self._embedder = DeferredEmbedder(setup.checkpoint, setup.device)
        else:
            assert borrowed is not None
            self._embedder = borrowed
        self._options = setup.options
        self._decoders = Decoders(setup.options.decode, sharing=setup.sharing)

    def __call__(self, files: Sequence[FoundFile]) -> Part:
        """Work on some files."""
        *before, last = self.pieces(files)
        return replace(last, found=tuple(chain(*(part.found for part in before), last.found)))

    def pieces(self, files: Sequence[FoundFile]) -> Iterator[Part]:
        """Work on some files; what is found in a large archive comes as it is found.

        The last piece, which may be empty, has the times of all.
        """
        times = StageTimes()
        pipeline = Pipeline(
            Unknowing(), EmbedOnly(self._embedder), self._options, times, self._decoders
        )
        found: list[tuple[FoundFile, FreshContent | None]] = []
        for burst in pipeline.run(files, lambda: False):
            for item in burst:
                assert item.content is None or isinstance(item.content, FreshContent)
                found.append((item.file, item.content))
            if len(found) >= PIECE:
                yield Part(tuple(found), StageTimes(), self._embedder.arithmetic)
                found = []
        yield Part(tuple(found), times, self._embedder.arithmetic)

    def close(self) -> None:
        """End the decoding processes; they end with the worker's own process, too."""
        self._decoders.close()
