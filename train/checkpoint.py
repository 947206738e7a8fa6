"""The state of a run on disk, enough to go on exactly, and the exported model."""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..engine.embedding.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from ..engine.embedding.encoder import Encoder
from ..engine.embedding.weights import export_checkpoint
from .config import CONFIG_FILE, RUN_FILE
from .errors import TrainingError
from .files import write_atomically
from .model import Trainee, plain

STATE_NAME = "checkpoint.pt"
MODEL_FOLDER = "model"


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: Optimiser steps done.
        loss_sum: Sum of the losses of this epoch's steps so far.
        best: The best figure of the probes so far.
        best_epoch: Its epoch; -1 before the first.
        stale: Epochs since then.
        finished: Whether the run has stopped early.
    """

    step: int = 0
    loss_sum: float = 0.0
    best: float = -1.0
    best_epoch: int = -1
    stale: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Trained:
    """What changes with each step: weights, optimiser, their average, the loss's scale."""

    model: Trainee
    optimiser: Optimizer
    average: AveragedModel | None
    scaler: torch.amp.GradScaler

    @property
    def encoder(self) -> Encoder:
        """The encoder as it is trained."""
        return self.model.encoder

    def exported(self) -> Encoder:
        """The encoder that is judged and exported: the moving average where there is one."""
        if self.average is None:
            return plain(self.encoder)
        module = self.average.module
        assert isinstance(module, Encoder)
        return plain(module)


def save_state(run: Path, trained: Trained, progress: Progress, data_digest: str) -> None:
    """Write the state of a run, atomically; there is no random state beyond the draws' numbers.

    Raises:
        TrainingError: The disk takes no more; what was written last is still there.
    """
    state = {
        "model": trained.model.state_dict(),
        "optimiser": trained.optimiser.state_dict(),
        "average": None if trained.average is None else trained.average.state_dict(),
        "scaler": trained.scaler.state_dict(),
        "progress": asdict(progress),
        "data_digest": data_digest,
    }
    try:
        write_atomically(run / STATE_NAME, lambda file: torch.save(state, file))
    except (OSError, RuntimeError) as error:  # torch's own, raised while it handles the disk's
        fault = error if isinstance(error, OSError) else error.__context__
        if not isinstance(fault, OSError):
            raise
        raise TrainingError(
            f"{run / STATE_NAME} cannot be written: {fault.strerror}",
            "make room; --resume goes on from the last checkpoint",
        ) from error


def load_state(run: Path, trained: Trained, data_digest: str, device: torch.device) -> Progress:
    """Read the state of a run into its parts; one that ended before its first is at its beginning.

    Raises:
        TrainingError: There is no run, its state is damaged or belongs to other data or options.
    """
    path = run / STATE_NAME
    if not path.is_file():
        if not (run / CONFIG_FILE).is_file():
            raise TrainingError(f"{run} holds no run to resume", "drop --resume")
        _require_same_data(run, json.loads((run / RUN_FILE).read_bytes())["digest"], data_digest)
        return Progress()
    try:
        # tensors and plain values only: a checkpoint is data, it never runs code
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        _require_same_data(run, state["data_digest"], data_digest)
        trained.model.load_state_dict(state["model"])
        trained.optimiser.load_state_dict(state["optimiser"])
        trained.scaler.load_state_dict(state["scaler"])
        if trained.average is not None:
            trained.average.load_state_dict(state["average"])
        return Progress(**state["progress"])
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.PickleError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(f"{path} cannot be resumed: {reason}") from error


def _require_same_data(run: Path, begun_with: str, given: str) -> None:
    if begun_with != given:
        raise TrainingError(
            f"{run} was trained on other data", "resume it on the same, or choose another --out"
        )


def export_model(run: Path, encoder: Encoder) -> Path:
    """Write ``RUN/model/`` in the published layout, each file whole or not there."""
    checkpoint = export_checkpoint(encoder)
    folder = run / MODEL_FOLDER
    write_atomically(folder / WEIGHTS_NAME, lambda file: file.write(checkpoint.weights))
    write_atomically(folder / CONFIG_NAME, lambda file: file.write(checkpoint.config))
    return folder
