"""A Ray cluster that embeds files: Ray Data's ``map_batches`` over a pool of actors."""

import logging
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any

from ..embedding.checkpoint import Checkpoint
from ..embedding.config import Device
from ..embedding.load import TORCH
from ..errors import EngineError, InputError
from ..files.found import FoundFile
from ..pipeline.options import PipelineOptions
from ..pipeline.pipeline import HEARTBEAT
from .messages import pack_answer, pack_files, unpack_answer, unpack_files
from .pipeline import Finish, Session, Workers
from .rounds import Rounds
from .worker import CPU_PART, CUDA_PART, FileWorker, Part, Setup, versions

LOCAL = "local"
"""The address of a cluster that is started on this machine, for this run."""

TRIES = 4
"""Workers that may be lost over the same files before a run gives up."""

NODE_LOST = 90.0
"""Seconds within which a cluster notices that a node of several is gone."""

_READY = 64  # parts that wait for this machine, at most
_STORE = 512 << 20  # bytes of a local cluster's shared memory
_SOCKETS = 32  # characters of a folder below which Ray's sockets still have names short enough
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that it will be so
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which cluster, and what of it.

    Attributes:
        address: ``local`` starts one on this machine, ``auto`` takes the one that this machine
            belongs to, anything else is where one is: ``HOST:PORT``.
        workers: Fewest and most workers, between which Ray scales; None for as many as there is
            room for at the beginning.
        gpus: GPUs of each worker, or a fraction of one; 0 computes on CPUs.
    """

    address: str = LOCAL
    workers: tuple[int, int] | None = None
    gpus: float = 0.0

    @staticmethod
    def parse_workers(text: str) -> tuple[int, int]:
        """Read ``N`` or ``MIN:MAX``.

        Raises:
            InputError: It is something else, or MAX is less than MIN.
        """
        least, colon, most = text.partition(":")
        if least.isdecimal() and (most.isdecimal() if colon else not most):
            numbers = int(least), int(most or least)
            if 1 <= numbers[0] <= numbers[1]:
                return numbers
        raise InputError(
            f"{text!r} is no number of workers", "write N or MIN:MAX, such as --ray-workers 2:16"
        )

    @property
    def device(self) -> Device:
        """Where workers compute."""
        return "cuda" if self.gpus else "cpu"

    @property
    def backend(self) -> str:
        """Which code embeds, for run records: that follows from the processor."""
        return TORCH if self.gpus else "each node's own"


class RayCluster:
    """A connection to Ray; a context manager, and a cluster of its own ends with it.

    Ray says nothing on the terminal: what goes wrong is an error of this run.

    Attributes:
        options: Which cluster, and what of it.
        name: Under which a run record speaks of it.
    """

    name = "ray"

    def __init__(self, options: RayOptions) -> None:
        """Prepare; nothing is started yet."""
        self.options = options
        self._ray: Any = None
        self._folder = ""

    def __enter__(self) -> "RayCluster":
        """Start the cluster, or connect to it.

        Raises:
            InputError: Ray is not installed, or there is no cluster at the address.
        """
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise InputError(
                "a cluster needs the package ray", "pip install 'code-forensics[ray]'"
            ) from error
        warnings.filterwarnings("ignore", module=r"ray(\.|$)")
        # The bound on retries has no other way in yet than the one that is to go.
        warnings.filterwarnings("ignore", category=ray.util.annotations.RayDeprecationWarning)
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.options.address == LOCAL:
            most = self.options.workers[1] if self.options.workers else 0
            settings["num_cpus"] = max(os.cpu_count() or 1, most)
            settings |= {"include_dashboard": False, "object_store_memory": _STORE}
            self._folder = tempfile.mkdtemp(prefix="ray-")  # its logs end with the run
            if len(self._folder) <= _SOCKETS:
                settings["_temp_dir"] = self._folder
        try:
            ray.init(address=self.options.address, **settings)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            self._forget()
            raise self._unreachable(error) from error
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # As Ray's debugger does: else stdout, perhaps a report, is told of each lost worker.
        ray._private.worker._worker_logs_enabled = False
        self._ray = ray
        return self

    def _unreachable(self, error: Exception) -> InputError:
        where = f"no Ray cluster at {self.options.address!r}"
        if "InvalidAuthToken" in f"{error} {error.__cause__}":
            return InputError(
                f"{where} that takes us: it wants a token",
                "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as it has",
            )
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return InputError(
            f"{where} ({first})",
            "name one as HOST:PORT, auto for the one that this machine belongs to, or local",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the cluster; one that was started for this run ends."""
        self._ray.shutdown()
        self._forget()

    def _forget(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def workers(self, checkpoint: Checkpoint) -> "RayWorkers":
        """What embeds by an encoder."""
        return RayWorkers(self, self._ray, checkpoint)

    def record(self) -> dict[str, Any]:
        """What a run record says of it."""
        return {"version": self._ray.__version__, **asdict(self.options)}


class RayWorkers(Workers):
    """Workers of a cluster with an encoder.

    A worker that is lost is replaced, and its files are given to another one.
    """

    def __init__(self, cluster: RayCluster, ray: Any, checkpoint: Checkpoint) -> None:
        self._options = cluster.options
        self._ray = ray
        self._checkpoint = checkpoint

    def session(self, options: PipelineOptions, finish: Finish) -> Session:
        """Begin a run."""
        part = CUDA_PART if self._options.gpus else CPU_PART
        return Rounds(partial(self.embed, options=options), finish, part)

    def embed(
        self, parts: Sequence[Sequence[FoundFile]], options: PipelineOptions
    ) -> Generator[Part | None]:
        """Have workers read, decode and embed files.

        Yields:
            The answers in order, and None several times a second while there are none.

        Raises:
            EngineError: Workers cannot start, or are lost again and again over the same files.
        """
        threads = options.workers or 1
        setup = Setup(
            self._checkpoint,
            self._options.device,
            replace(options, workers=threads),
            versions(),
        )
        answers: Queue[Part | EngineError | _End] = Queue(_READY)
        ended = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(parts, setup, answers, ended), name="ray-reader", daemon=True
        )
        reader.start()
        try:
            while True:
                try:
                    answer = answers.get(timeout=HEARTBEAT)
                except Empty:
                    yield None
                    continue
                if isinstance(answer, _End):
                    if answer.error is not None:
                        raise answer.error
                    return
                if isinstance(answer, EngineError):
                    raise answer
                yield answer
        finally:
            ended.set()

    def _read(
        self,
        parts: Sequence[Sequence[FoundFile]],
        setup: Setup,
        answers: "Queue[Part | EngineError | _End]",
        ended: threading.Event,
    ) -> None:
        """Hand over what comes back, from a thread of its own: Ray's iterators just block."""
        end, done = _End(), 0
        try:
            while done < len(parts):
                nodes = self._nodes()
                try:
                    for answer in self._answers(parts[done:], setup):
                        _put(answers, answer, ended)
                        done += 1
                        if ended.is_set():
                            return
                    break
                except self._ray.exceptions.RayError as error:
                    if not self._lost_node(error, nodes, ended):
                        raise
        except Exception as error:
            end = _End(_explained(error, self._ray))
        _put(answers, end, ended)

    def _answers(self, parts: Sequence[Sequence[FoundFile]], setup: Setup) -> Iterator[Any]:
        # Without reading ahead: it would hold each answer back until the next one is there.
        batches = self._dataset(parts, setup).iter_batches(batch_size=None, prefetch_batches=0)
        for answer in chain.from_iterable(batch["answer"] for batch in batches):
            yield unpack_answer(answer)

    def _nodes(self) -> frozenset[str]:
        return frozenset(node["NodeID"] for node in self._ray.nodes() if node["Alive"])

    def _lost_node(self, error: Exception, nodes: frozenset[str], ended: threading.Event) -> bool:
        """Whether a node went down, which Ray notices later than that its workers are gone.

        It has used up its tries on them by then. Each node is lost once, so this ends.
        """
        if isinstance(error, self._ray.exceptions.RayTaskError) or len(nodes) < 2:
            return False
        until = time.monotonic() + NODE_LOST
        while nodes <= self._nodes():
            if ended.wait(HEARTBEAT) or time.monotonic() > until:
                return False
        return True

    def _dataset(self, parts: Sequence[Sequence[FoundFile]], setup: Setup) -> Any:
        ray = self._ray
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = True
        context.execution_no_progress_timeout_s = -1  # a large archive takes its time
        threads, (least, most) = setup.options.workers, self._pool(setup.options.workers)
        rows = [{"files": pack_files(part)} for part in parts]
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(ray.put(setup),),
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(
                min_size=min(least, len(rows)), max_size=min(most, len(rows))
            ),
            num_cpus=threads,
            num_gpus=self._options.gpus or None,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )

    def _pool(self, threads: int) -> tuple[int, int]:
        """Fewest and most workers."""
        if self._options.workers is not None:
            return self._options.workers
        there = self._ray.cluster_resources()
        room = int(there.get("CPU", 0) // threads)
        if self._options.gpus:
            room = min(room, int(there.get("GPU", 0) / self._options.gpus + 1e-9))
        if room < 1:
            wanted = f"{threads} CPUs and {self._options.gpus:g} GPUs"
            raise InputError(
                f"the cluster has no room for a worker of {wanted}",
                "ask for less with --workers and --ray-gpus, or say how many workers a cluster"
                " that grows shall get with --ray-workers",
            )
        return room, room


@dataclass(frozen=True, slots=True)
class _End:
    """There is nothing more, because of an error where there was one."""

    error: Exception | None = None


class _Actor:
    """Ray's own view of a worker: bytes in, bytes out."""

    def __init__(self, setup: Any) -> None:
        import ray

        self._work: FileWorker | EngineError
        try:
            self._work = FileWorker(ray.get(setup))
        except EngineError as error:  # Ray would try again, and lose the words
            self._work = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"answer": [self._answer(files) for files in batch["files"]]}

    def _answer(self, files: bytes) -> bytes:
        if isinstance(self._work, EngineError):
            return pack_answer(self._work)
        return pack_answer(self._work(unpack_files(files)))


def _put(answers: "Queue[Any]", answer: object, ended: threading.Event) -> None:
    """Wait for room, as long as somebody wants what comes."""
    while not ended.is_set():
        with suppress(Full):
            answers.put(answer, timeout=HEARTBEAT)
            return


def _explained(error: Exception, ray: Any) -> Exception:
    """What a user can do about an error of Ray's; a bug in a worker stays one."""
    lost = isinstance(error, ray.exceptions.RayError)
    if not lost or isinstance(error, ray.exceptions.RayTaskError):
        return error
    said = (str(error).splitlines() or [""])[0]
    return EngineError(
        f"the cluster has lost the work {TRIES} times ({type(error).__name__}: {said})",
        "what was done is kept: run the same command again, without --ray if a file brings"
        " workers down",
    )
