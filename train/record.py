"""The run folder: what was run, on what, and how it went."""

import json
import logging
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .config import CONFIG_FILE, RUN_FILE, TrainConfig, to_toml
from .errors import TrainingError
from .files import write_atomically
from .loader import BadImage
from .probe import Figures

_LOG = logging.getLogger(__name__)
METRICS_FILE = "metrics.jsonl"
_PACKAGES = ("code-forensics", "torch", "numpy", "pillow", "scikit-learn", "safetensors")


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One line of ``metrics.jsonl`` about training."""

    step: int
    epoch: int
    loss: float
    lr: float
    views_per_second: float
    loader_share: float  # of the time, spent waiting for the loader


@dataclass(frozen=True, slots=True)
class EpochFigures:
    """One line of ``metrics.jsonl`` about an epoch; ``probes`` is None where none ran."""

    step: int
    epoch: int
    epoch_loss: float
    probes: Figures | None


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a run was trained on."""

    data: str
    digest: str
    training_images: int
    held_out_images: int
    held_out_sources: tuple[str, ...]


class RunFolder:
    """Writes a run's records; one process of a run holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known_bad: set[str] = set()
        self._board: Any = None

    def begin(self, config: TrainConfig, facts: DataFacts) -> None:
        """Record a new run's options, data and versions.

        Raises:
            TrainingError: The folder holds a run already.
        """
        if (self.path / CONFIG_FILE).exists():
            raise TrainingError(
                f"{self.path} holds a run already", "go on with --resume, or choose another --out"
            )
        self._write(RUN_FILE, json.dumps({**asdict(facts), **_machine()}, indent=1) + "\n")
        self._write(CONFIG_FILE, to_toml(config))  # the last: with it there is a run

    def go_on(self, config: TrainConfig, step: int) -> None:
        """Take a run up again, by what may have changed of its options.

        What was recorded after the checkpoint's step is dropped.
        """
        self._write(CONFIG_FILE, to_toml(config))
        kept = [line for line in self._lines(METRICS_FILE) if json.loads(line)["step"] <= step]
        self._write(METRICS_FILE, "".join(f"{line}\n" for line in kept))
        self._known_bad = {json.loads(line)["place"] for line in self._lines("bad_images.jsonl")}

    def add(self, figures: StepFigures | EpochFigures) -> None:
        """Record a line of figures, and on TensorBoard where it is installed."""
        self._append(METRICS_FILE, asdict(figures))
        if self._board is None:
            self._board = _open_board(self.path)
        if self._board:
            flat = {**asdict(figures), **(asdict(figures).get("probes") or {})}
            for name, value in flat.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, figures.step)

    def add_bad(self, images: tuple[BadImage, ...]) -> None:
        """Record images that were passed over, each once."""
        for image in images:
            if image.place not in self._known_bad:
                self._known_bad.add(image.place)
                self._append("bad_images.jsonl", asdict(image))
                _LOG.warning("passed over %s: %s", image.place, image.reason)

    def draw_curves(self) -> None:
        """Draw ``curves.png`` of loss and probes where matplotlib is installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return
        lines = [json.loads(line) for line in self._lines(METRICS_FILE)]
        figure = Figure(figsize=(8, 6), layout="constrained")
        loss, probes = figure.subplots(2, 1, sharex=True)
        steps = [line for line in lines if "loss" in line]
        loss.plot([line["step"] for line in steps], [line["loss"] for line in steps])
        loss.set(ylabel="loss")
        judged = [line for line in lines if line.get("probes")]
        for name in Figures.__dataclass_fields__:
            values = [line["probes"][name] for line in judged]
            probes.plot([line["step"] for line in judged], values, marker=".", label=name)
        probes.set(xlabel="step", ylabel="held-out sources", ylim=(0, 1))
        probes.legend(fontsize="small")
        write_atomically(self.path / "curves.png", partial(figure.savefig, format="png", dpi=120))

    def close(self) -> None:
        """Flush what is still in memory."""
        if self._board:
            self._board.close()

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self, name: str) -> list[str]:
        """Complete lines; the last may have been cut off by a crash."""
        path = self.path / name
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return text[: text.rfind("\n") + 1].splitlines()


def _machine() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _open_board(path: Path) -> Any:
    """A TensorBoard writer, or False where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    writer: Callable[..., Any] = SummaryWriter
    return writer(str(path / "tensorboard"))
