"""The training run: data, encoder, epochs of steps, probes, and the exported model."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..engine.embedding.encoder import Encoder
from ..engine.interrupt import interruptible
from .catalogue import Label
from .checkpoint import MODEL_FOLDER, Progress, Trained, export_model, load_state, save_state
from .config import TrainConfig
from .data import TrainingData, batches_of, prepare_data
from .distributed import Processes, processes
from .errors import TrainingError
from .loader import Batch
from .loss import code_loss, derangement, supervised_contrast
from .model import Trainee, start_encoder, whiten
from .probe import run_probes
from .record import EpochFigures, RunFolder, StepFigures
from .schedule import learning_rate, make_optimiser, set_learning_rate
from .views import View

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
Say = Callable[[str], None]


class Outcome(Enum):
    """How a run ended."""

    FINISHED = "finished"
    STOPPED_EARLY = "stopped early"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Result:
    """A run's end.

    Attributes:
        outcome: How it ended.
        model: The exported model's folder, if one was written.
        steps: Optimiser steps done.
    """

    outcome: Outcome
    model: Path | None
    steps: int


def train(
    data: str,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    say: Say = lambda _: None,
    encoder: Encoder | None = None,
) -> Result:
    """Train an encoder.

    Args:
        data: Shards, a folder tree or a CSV, see :func:`~.dataset.open_catalogue`.
        out: The run folder.
        config: All options.
        resume: Go on with the run in ``out``, exactly as if it had not been interrupted.
        say: Takes lines of progress for people.
        encoder: Trained instead of the one that ``config.init`` describes.

    Raises:
        DataError: The data cannot be used.
        CheckpointError: ``config.init`` cannot be used.
        TrainingError: The run folder cannot be used, or the loss is not a number any more.
    """
    with processes(config.runtime.device) as group:
        speak: Say = say if group.first else lambda _: None
        found = prepare_data(data, out, config, group, speak)
        encoder = encoder or start_encoder(config.init, config.seed, config.layers)
        encoder = (whiten(encoder) if config.whiten else encoder).to(group.device)
        model = Trainee(encoder, config.loss.head > 0, config.loss.patches > 0).to(group.device)
        trained = Trained(
            model,
            make_optimiser(model, config.schedule),
            _average(encoder, config.schedule.ema),
            torch.amp.GradScaler(group.device.type, enabled=config.precision == "float16"),
        )
        folder, progress = RunFolder(out), Progress()
        if resume:
            progress = load_state(out, trained, found.facts.digest, group.device)
            # Earlier versions marked every run that had come to its end, also without a stop.
            progress.finished &= 0 < config.probe.patience <= progress.stale
            if group.first:
                folder.go_on(config, progress.step)
        elif group.first:
            folder.begin(config, found.facts)
        group.wait()
        run = _Run(config, group, folder, trained, progress, found, speak, progress.step)
        try:
            return run.train()
        finally:
            folder.close()


def _average(encoder: Encoder, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    return AveragedModel(
        encoder,
        multi_avg_fn=get_ema_multi_avg_fn(decay),  # type: ignore[no-untyped-call]
    )


@dataclass(slots=True)
class _Run:
    """A run in progress in one process."""

    config: TrainConfig
    group: Processes
    folder: RunFolder
    trained: Trained
    progress: Progress
    data: TrainingData
    say: Say
    begun: int  # steps done before

    def train(self) -> Result:
        """Run epochs until the end, an early stop, or an interruption."""
        progress, schedule = self.progress, self.config.schedule
        with interruptible() as interrupted:
            model = self._distributed()
            if not self._ended():
                self._say_what_follows()
            while not self._ended():
                epoch = progress.step // schedule.steps
                stopped = self._train_epoch(epoch, model, interrupted)
                if progress.step == (epoch + 1) * schedule.steps:
                    self._end_epoch(epoch)
                self._save()
                if stopped and not self._ended():
                    return Result(Outcome.INTERRUPTED, self._model(), progress.step)
        if self.group.first and progress.best_epoch < 0:  # no probes: the last weights
            export_model(self.folder.path, self.trained.exported())
        self._save()
        self.group.wait()
        outcome = Outcome.STOPPED_EARLY if progress.finished else Outcome.FINISHED
        return Result(outcome, self._model(), progress.step)

    def _ended(self) -> bool:
        schedule, progress = self.config.schedule, self.progress
        return progress.finished or progress.step >= schedule.epochs * schedule.steps

    def _say_what_follows(self) -> None:
        """What is about to be done: until the first step is, there is nothing to be seen."""
        schedule, config = self.config.schedule, self.config
        each = 1 if config.data.resident else len(View)
        views = schedule.batch * schedule.accumulate * self.group.world * len(Label) * each
        runtime = config.runtime
        self.say(
            f"{schedule.epochs} epochs of {schedule.steps} steps, {views} views a step"
            f"{f', from step {self.begun + 1}' if self.begun else ''}; a line after the first step,"
            f" then each {runtime.log_every}, a checkpoint each {runtime.save_every}"
        )

    def _distributed(self) -> nn.Module:
        if self.group.world == 1:
            return self.trained.model
        ids = [self.group.device.index] if self.group.device.type == "cuda" else None
        return DistributedDataParallel(self.trained.model, device_ids=ids)

    def _train_epoch(self, epoch: int, model: nn.Module, interrupted: Callable[[], bool]) -> bool:
        """Run the epoch's remaining steps; whether the user interrupted."""
        schedule, progress, group = self.config.schedule, self.progress, self.group
        lr = learning_rate(epoch, schedule)
        set_learning_rate(self.trained.optimiser, lr)
        first, last = progress.step * schedule.accumulate, (epoch + 1) * schedule.steps
        loader = batches_of(self.data, self.config, first, last * schedule.accumulate, group)
        since, waited, views = time.perf_counter(), 0.0, 0
        coming: list[Batch] = []
        while progress.step < last:
            micro = coming or self._fetch(loader)
            losses = self._backward(model, micro)
            # What a GPU still computes is not waited for: the next views are made meanwhile.
            started = time.perf_counter()
            coming = self._fetch(loader) if progress.step + 1 < last else []
            waited += time.perf_counter() - started
            own = self._update(losses)
            loss, stop = group.total((own / group.world, float(interrupted())))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {progress.step} (epoch {epoch}, lr {lr:.2g})",
                    "go on from the last checkpoint with --resume and a lower --lr, or with"
                    " --set schedule.clip=1",
                )
            progress.step += 1
            progress.loss_sum += loss
            views += sum(batch.views.shape[:3].numel() for batch in micro) * group.world
            due = progress.step % self.config.runtime.log_every == 0 or progress.step in (1, last)
            if due or progress.step == self.begun + 1:
                elapsed = max(time.perf_counter() - since, 1e-9)
                figures = StepFigures(
                    progress.step, epoch, loss, lr, views / elapsed, waited / elapsed
                )
                if due:  # a run that goes on has the lines of one that was never interrupted
                    self._record(figures)
                self.say(
                    f"epoch {epoch} step {progress.step}: loss {loss:.4f}, lr {lr:.2g},"
                    f" {figures.views_per_second:.0f} views/s, loader {figures.loader_share:.0%}"
                )
                since, waited, views = time.perf_counter(), 0.0, 0
            if stop:
                return True
            if progress.step % self.config.runtime.save_every == 0 and progress.step < last:
                self._save()
        return False

    def _fetch(self, loader: Iterator[Batch]) -> list[Batch]:
        """The micro-batches of a step."""
        micro = [next(loader) for _ in range(self.config.schedule.accumulate)]
        if self.group.first:
            for batch in micro:
                self.folder.add_bad(batch.bad)
        return micro

    def _backward(self, model: nn.Module, micro: list[Batch]) -> list[Tensor]:
        """The gradient of a step; returns the losses of its micro-batches, perhaps to come."""
        losses, scaler = [], self.trained.scaler
        self.trained.optimiser.zero_grad(set_to_none=True)
        for place, batch in enumerate(micro):
            final = place == len(micro) - 1
            alone = isinstance(model, DistributedDataParallel) and not final
            with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
                loss = self._loss(model, batch, self.progress.step * len(micro) + place)
                scaler.scale(loss / len(micro)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses

    def _update(self, losses: list[Tensor]) -> float:
        """The optimiser's step; returns this process's mean loss, before it."""
        schedule, scaler = self.config.schedule, self.trained.scaler
        total = sum(loss.item() for loss in losses) / len(losses)
        if schedule.clip:
            scaler.unscale_(self.trained.optimiser)
            nn.utils.clip_grad_norm_(self.trained.model.parameters(), schedule.clip)
        if math.isfinite(total):  # weights are kept as they were where the loss is not a number
            scaler.step(self.trained.optimiser)
            scaler.update()
            if self.trained.average is not None:
                self.trained.average.update_parameters(self.trained.encoder)
        return total

    def _loss(self, model: nn.Module, batch: Batch, number: int) -> Tensor:
        """The loss of one micro-batch; ``number`` seeds its derangements."""
        options, group = self.config.loss, self.group
        kind = _AUTOCAST[self.config.precision]
        views = batch.views.to(group.device, non_blocking=True)  # (B, 2, V, 3, S, S)
        with torch.autocast(group.device.type, dtype=kind, enabled=kind is not None):
            flat = views.flatten(0, 2)
            features, logits = model(flat, batch.corner, self._kept(flat, number))
        features = features.float().unflatten(0, views.shape[:3])  # (B, 2, V, D)
        labels = torch.arange(2, device=group.device).view(1, 2, 1)  # as Label numbers them
        loss: Tensor = features.new_zeros(())
        if options.head:
            loss = options.head * self._head_loss(logits, labels.expand(views.shape[:3]))
        rank = group.rank
        if options.negatives == "gathered":
            features, rank = group.gather(features), 0
        if options.objective == "supervised":
            if options.contrast:
                classes = labels.expand(features.shape[:3]).flatten()
                contrast = supervised_contrast(
                    features.flatten(0, 2), classes, options.temperature
                )  # fmt: skip
                loss = loss + options.contrast * contrast
            return loss
        partners = None
        if options.positives == "class":
            rng = np.random.default_rng((self.config.seed, 4, number, rank))
            real, fake = (derangement(len(features), rng) for _ in range(2))
            partners = (
                torch.from_numpy(real).to(group.device), torch.from_numpy(fake).to(group.device)
            )  # fmt: skip
        return loss + options.contrast * code_loss(features, partners, options.temperature)

    def _kept(self, views: Tensor, number: int) -> Tensor | None:
        """Numbers of the patches of each view that are looked at, (B, K); None for all.

        Drawn for the joint micro-batch, of which each process takes its part.
        """
        keep = self.config.views.keep
        if keep == 1:
            return None
        patches = (views.shape[-1] // self.trained.encoder.config.patch_size) ** 2
        count = max(round(keep * patches), 1)
        rng = np.random.default_rng((self.config.seed, 8, number))
        drawn = rng.random((len(views) * self.group.world, patches), dtype=np.float32)
        own = drawn[len(views) * self.group.rank :][: len(views)]
        kept = np.argpartition(own, count - 1, axis=1)[:, :count]
        return torch.from_numpy(kept).to(views.device, non_blocking=True)

    def _head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross entropy of the class tokens, and of the patches by their weight."""
        targets = labels.flatten().float()[:, None].expand_as(logits)
        losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        loss: Tensor = losses[:, 0].mean()
        if logits.shape[1] > 1:
            loss = loss + self.config.loss.patches * losses[:, 1:].mean()
        return loss

    def _end_epoch(self, epoch: int) -> None:
        """Judge the encoder, keep the best, and decide whether to stop."""
        progress, probe = self.progress, self.config.probe
        mean_loss = progress.loss_sum / self.config.schedule.steps
        progress.loss_sum = 0.0
        figures = None
        if self.group.first and self.data.probes is not None:
            figures = run_probes(self.trained.exported(), self.data.probes, self.group.device)
            reached: float = getattr(figures, probe.stop_on)
            progress.stale += 1
            # Once pictures meet all that they are to, figures of gentler epochs count no more.
            ramped = math.ceil(self.config.equalise.ramp * self.config.schedule.epochs)
            if reached > progress.best or epoch == ramped > 0:
                progress.best, progress.best_epoch, progress.stale = reached, epoch, 0
                export_model(self.folder.path, self.trained.exported())
            progress.finished = 0 < probe.patience <= progress.stale
            self.say(
                f"epoch {epoch}: {probe.stop_on} {reached:.3f} on held-out sources,"
                f" best {progress.best:.3f} in epoch {progress.best_epoch}"
            )
        self._record(EpochFigures(progress.step, epoch, mean_loss, figures))
        if self.group.first:
            self.folder.draw_curves()
        (stop,) = self.group.total((float(progress.finished),))
        progress.finished = stop > 0

    def _record(self, figures: StepFigures | EpochFigures) -> None:
        if self.group.first:
            self.folder.add(figures)

    def _save(self) -> None:
        if self.group.first:
            save_state(self.folder.path, self.trained, self.progress, self.data.facts.digest)

    def _model(self) -> Path | None:
        folder = self.folder.path / MODEL_FOLDER
        return folder if folder.is_dir() else None
