"""Runs that were interrupted, killed or finished go on, exactly, and with nothing else's data."""

import errno
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from code_forensics.train import loop
from code_forensics.train.checkpoint import STATE_NAME
from code_forensics.train.errors import TrainingError
from code_forensics.train.loop import Outcome, train

from tests.train.runs import metrics, run_as, same, schedule, stop_after, weights

# torch's TensorBoard writer and matplotlib bring remarks of their own packages
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("way", "step"),  # seen within an epoch, at its end, at the run's
    [*product(("disk", "memory"), (1, 2, 5)), ("fresh", 1)],
)
def test_an_interrupted_run_resumes_exactly(
    way, step, tree, small, tiny_encoder, autoencoder, tmp_path, monkeypatch
):
    """Same loss curve and same weights, to the bit, as a run that was never interrupted."""
    config = replace(schedule(small, ema=0.5, accumulate=2, clip=1.0), seed=3)
    config = run_as(way, config, autoencoder)
    whole = train(str(tree), tmp_path / "whole", config, encoder=tiny_encoder())
    assert whole.outcome is Outcome.FINISHED
    assert whole.steps == 6

    with monkeypatch.context() as patch:
        stop_after(patch, step)
        broken = train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    assert broken.steps == step + 1  # the step in flight is finished
    assert broken.outcome is (Outcome.FINISHED if step == 5 else Outcome.INTERRUPTED)
    resumed = train(str(tree), tmp_path / "run", config, resume=True, encoder=tiny_encoder())
    assert resumed.outcome is Outcome.FINISHED
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert metrics(tmp_path / "run", "probes") == metrics(tmp_path / "whole", "probes")
    assert metrics(tmp_path / "run", "epoch_loss") == metrics(tmp_path / "whole", "epoch_loss")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_killed_run_resumes_from_its_last_checkpoint(tree, small, tiny_encoder, tmp_path):
    """As after kill -9: lines and weights past the checkpoint are dropped, then made again."""
    config = replace(small, runtime=replace(small.runtime, save_every=1))
    train(str(tree), tmp_path / "whole", config, encoder=tiny_encoder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "code_loss", _fails_at(4))
        with pytest.raises(ZeroDivisionError):
            train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "loss": 1}\n{"cut off')
    train(str(tree), tmp_path / "run", config, resume=True, encoder=tiny_encoder())
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_run_killed_before_its_first_checkpoint_resumes_from_its_beginning(
    tree, small, tiny_encoder, tmp_path
):
    train(str(tree), tmp_path / "whole", small, encoder=tiny_encoder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "code_loss", _fails_at(2))
        with pytest.raises(ZeroDivisionError):
            train(str(tree), tmp_path / "run", small, encoder=tiny_encoder())
    assert not (tmp_path / "run" / STATE_NAME).exists()
    (tree / "real" / "one" / "0.jpg").rename(tmp_path / "kept.jpg")
    with pytest.raises(TrainingError, match="other data"):
        train(str(tree), tmp_path / "run", small, resume=True, encoder=tiny_encoder())
    (tmp_path / "kept.jpg").rename(tree / "real" / "one" / "0.jpg")
    train(str(tree), tmp_path / "run", small, resume=True, encoder=tiny_encoder())
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


class _Full:
    """A file on a disk that takes a kilobyte."""

    def __init__(self, file):
        self._file, self._left = file, 1000

    def write(self, data):
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def flush(self):
        self._file.flush()


def test_a_run_on_a_full_disk_keeps_its_last_checkpoint(tree, small, tiny_encoder, tmp_path):
    config = replace(small, runtime=replace(small.runtime, save_every=1))
    train(str(tree), tmp_path / "whole", config, encoder=tiny_encoder())
    saved, save = [], torch.save

    def once(state, file):
        saved.append(1)
        save(state, file if len(saved) < 3 else _Full(file))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", once)
        with pytest.raises(TrainingError, match="cannot be written: No space left") as caught:
            train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    assert "--resume" in caught.value.hint
    assert not list((tmp_path / "run").glob("*.partial"))
    train(str(tree), tmp_path / "run", config, resume=True, encoder=tiny_encoder())
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def _fails_at(call):
    calls, real = [], loop.code_loss

    def failing(*args):
        calls.append(1)
        if len(calls) == call:
            raise ZeroDivisionError
        return real(*args)

    return failing


def test_a_folder_is_not_overwritten_and_other_data_do_not_resume(
    tree, small, tiny_encoder, tmp_path
):
    run = tmp_path / "run"
    train(str(tree), run, small, encoder=tiny_encoder())
    with pytest.raises(TrainingError, match="holds a run already"):
        train(str(tree), run, small, encoder=tiny_encoder())
    with pytest.raises(TrainingError, match="holds no run to resume"):
        train(str(tree), tmp_path / "none", small, resume=True, encoder=tiny_encoder())
    before = weights(run)
    again = train(str(tree), run, small, resume=True, encoder=tiny_encoder())
    assert again.steps == 6  # a finished run stays as it is
    assert same(weights(run), before)
    (tree / "real" / "one" / "0.jpg").unlink()
    with pytest.raises(TrainingError, match="other data"):
        train(str(tree), run, small, resume=True, encoder=tiny_encoder())
    (run / STATE_NAME).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(str(tree), run, small, resume=True, encoder=tiny_encoder())


def test_a_checkpoint_never_runs_code(tree, small, tiny_encoder, tmp_path):
    """A pickle that would create a file is refused, not executed."""
    run = tmp_path / "run"
    train(str(tree), run, small, encoder=tiny_encoder())

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"model": Hostile()}, run / STATE_NAME)
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train(str(tree), run, small, resume=True, encoder=tiny_encoder())
    assert not (tmp_path / "executed").exists()
