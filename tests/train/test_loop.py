"""Whole runs with a small encoder: distribution, precision, and what is left behind."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.checkpoint import read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.weights import build_encoder, export_checkpoint
from code_forensics.train import loop
from code_forensics.train.checkpoint import STATE_NAME
from code_forensics.train.config import to_toml
from code_forensics.train.errors import TrainingError
from code_forensics.train.loop import Outcome, train
from code_forensics.train.prepare import prepare

from tests.train.runs import (
    WAYS,
    in_memory,
    metrics,
    run_as,
    same,
    schedule,
    stop_after,
    weights,
)

# torch's TensorBoard writer and matplotlib bring remarks of their own packages
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("resident", [False, True])
def test_shards_train_as_folders_do(resident, tree, small, tiny_encoder, tmp_path):
    """Same losses and same weights, to the bit."""
    config = in_memory(small) if resident else small
    prepare(str(tree), tmp_path / "shards", per_shard=5)
    for name, data in (("folders", tree), ("shards", tmp_path / "shards")):
        train(str(data), tmp_path / name, config, encoder=tiny_encoder())
    assert metrics(tmp_path / "shards") == metrics(tmp_path / "folders")
    assert same(weights(tmp_path / "shards"), weights(tmp_path / "folders"))


def test_worker_processes_change_nothing(tree, small, tiny_encoder, tmp_path):
    train(str(tree), tmp_path / "none", small, encoder=tiny_encoder())
    two = replace(small, runtime=replace(small.runtime, workers=2))
    train(str(tree), tmp_path / "two", two, encoder=tiny_encoder())
    assert metrics(tmp_path / "none") == metrics(tmp_path / "two")


def test_the_seed_decides(tree, small, tiny_encoder, tmp_path):
    for seed in (0, 1):
        config = replace(small, seed=seed)
        train(str(tree), tmp_path / str(seed), config, encoder=tiny_encoder())
    assert metrics(tmp_path / "0") != metrics(tmp_path / "1")


def run_processes(count, tree, run, config, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / f"{run.name}.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    script = Path(__file__).with_name("distributed_run.py")
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(tree), str(run), str(path)],
            env={**os.environ, "WORLD_SIZE": str(count), "RANK": str(rank),
                 "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        )
        for rank in range(count)
    ]  # fmt: skip
    for process in started:
        assert process.wait(timeout=120) == 0


@pytest.mark.parametrize("way", WAYS)
def test_two_gathering_processes_equal_one(way, tree, small, tiny_encoder, autoencoder, tmp_path):
    """Loss, gradients and so the weights are those of one process with the joint batch."""
    config = replace(run_as(way, small, autoencoder), probe=replace(small.probe, images=0))
    config = replace(config, loss=replace(config.loss, negatives="gathered"))
    run_processes(2, tree, tmp_path / "two", schedule(config, batch=2), tmp_path)
    train(str(tree), tmp_path / "one", schedule(config, batch=4), encoder=tiny_encoder())
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [step for step, _ in one] == [step for step, _ in two]
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], rel=1e-5)
    # Adam divides by the gradients' size: a gradient wrong by a factor would hide in the weights
    moments = [
        torch.load(tmp_path / run / STATE_NAME, weights_only=True)["optimiser"]["state"]
        for run in ("one", "two")
    ]
    for key in moments[0]:
        a, b = (m[key]["exp_avg"] for m in moments)
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6 * float(a.abs().max() + 1))
    for name, tensor in weights(tmp_path / "one").items():
        assert torch.allclose(tensor, weights(tmp_path / "two")[name], atol=2e-4)


def test_by_default_negatives_are_the_processes_own(tree, small, tiny_encoder, tmp_path):
    """Fewer negatives: the first loss is the mean of the processes' own, not the gathered one."""
    config = replace(small, loss=replace(small.loss, positives="instance"))
    config = schedule(replace(config, probe=replace(config.probe, images=0)), epochs=1, steps=1)
    run_processes(2, tree, tmp_path / "two", config, tmp_path)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        real = loop.code_loss
        patch.setattr(loop, "code_loss", lambda f, *rest: seen.append(f.detach()) or real(f, *rest))
        train(str(tree), tmp_path / "one", schedule(config, batch=4), encoder=tiny_encoder())
    halves = [float(real(part, None, 0.1)) for part in seen[0].split(2)]
    [(_, loss)] = metrics(tmp_path / "two")
    assert loss == pytest.approx(np.mean(halves), rel=1e-5)
    assert loss < metrics(tmp_path / "one")[0][1]


def test_accumulated_gradients_are_the_mean_of_the_micro_batches(
    tree, small, tiny_encoder, tmp_path
):
    config = replace(small, probe=replace(small.probe, images=0))
    losses, gradients = [], []
    with pytest.MonkeyPatch.context() as patch:
        real = loop._Run._loss

        def noted(self, *args):
            loss = real(self, *args)
            weight = self.trained.encoder.patch.weight
            gradients.append(torch.autograd.grad(loss, weight, retain_graph=True)[0])
            losses.append(loss.item())
            return loss

        patch.setattr(loop._Run, "_loss", noted)
        once = schedule(config, accumulate=2, epochs=1, steps=1)
        train(str(tree), tmp_path / "run", once, encoder=tiny_encoder())
    assert losses[0] != losses[1]
    assert metrics(tmp_path / "run") == [(1, pytest.approx(np.mean(losses)))]
    state = torch.load(tmp_path / "run" / STATE_NAME, weights_only=True)["optimiser"]["state"]
    [moment] = [m["exp_avg"] for m in state.values() if m["exp_avg"].ndim == 4]
    expected = 0.1 * (gradients[0] + gradients[1]) / 2  # Adam's first moment after one step
    assert torch.allclose(moment, expected, rtol=1e-4, atol=1e-8)


def test_the_average_follows_its_definition(tree, small, tiny_encoder, tmp_path):
    config = replace(schedule(small, ema=0.75), probe=replace(small.probe, images=0))
    history = []
    with pytest.MonkeyPatch.context() as patch:
        step = loop._Run._update

        def noted(self, *args):
            loss = step(self, *args)
            history.append(self.trained.encoder.cls_token.detach().clone())
            return loss

        patch.setattr(loop._Run, "_update", noted)
        train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    average = history[0]
    for token in history[1:]:
        average = 0.75 * average + 0.25 * token
    assert torch.allclose(weights(tmp_path / "run")["embeddings.cls_token"], average, atol=1e-7)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_trains(precision, tree, small, tiny_encoder, tmp_path):
    config = replace(small, precision=precision, probe=replace(small.probe, images=0))
    config = schedule(config, epochs=1, steps=2)
    train(str(tree), tmp_path / precision, config, encoder=tiny_encoder())
    train(
        str(tree), tmp_path / "full", replace(config, precision="float32"), encoder=tiny_encoder()
    )
    reduced, full = ([x for _, x in metrics(tmp_path / r)] for r in (precision, "full"))
    assert reduced[0] == pytest.approx(full[0], abs=0.05)
    assert reduced != full


def test_not_a_number_stops_with_a_clear_line(tree, small, tiny_encoder, tmp_path):
    config = replace(small, runtime=replace(small.runtime, save_every=1))
    with pytest.MonkeyPatch.context() as patch:
        real, calls = loop.code_loss, []

        def broken(*args):
            calls.append(1)
            return real(*args) * (float("nan") if len(calls) == 3 else 1)

        patch.setattr(loop, "code_loss", broken)
        with pytest.raises(TrainingError, match=r"the loss became nan at step 2 \(epoch 0"):
            train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    state = torch.load(tmp_path / "run" / STATE_NAME, weights_only=True)
    assert state["progress"]["step"] == 2
    assert all(torch.isfinite(t).all() for t in state["model"].values())


def test_it_stops_early_and_keeps_the_best_encoder(tree, small, tiny_encoder, tmp_path):
    figures = iter([0.6, 0.9, 0.5, 0.7, 0.8])
    config = schedule(replace(small, probe=replace(small.probe, patience=2)), epochs=9, steps=1)
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        run_probes = loop.run_probes

        def scripted(encoder, *args):
            kept.append({k: v.clone() for k, v in encoder.state_dict().items()})
            return replace(run_probes(encoder, *args), logistic_accuracy=next(figures))

        patch.setattr(loop, "run_probes", scripted)
        result = train(str(tree), tmp_path / "run", config, encoder=tiny_encoder())
    assert result.outcome is Outcome.STOPPED_EARLY
    assert result.steps == 4
    best = build_encoder(read_checkpoint(tmp_path / "run" / "model")).state_dict()
    assert same(best, kept[1])
    assert not same(best, kept[3])


def test_epochs_of_gentler_pictures_are_not_the_best(tree, small, tiny_encoder, tmp_path):
    figures = iter([0.9, 0.8, 0.6, 0.7, 0.5])
    config = schedule(in_memory(small), epochs=5, steps=1)
    config = replace(config, equalise=replace(config.equalise, ramp=0.3))  # of 1.5 epochs
    said = []
    with pytest.MonkeyPatch.context() as patch:
        run_probes = loop.run_probes

        def scripted(encoder, *args):
            return replace(run_probes(encoder, *args), logistic_accuracy=next(figures))

        patch.setattr(loop, "run_probes", scripted)
        train(str(tree), tmp_path / "run", config, encoder=tiny_encoder(), say=said.append)
    assert [line.split("best ")[1] for line in said if "best " in line] == [
        "0.900 in epoch 0", "0.900 in epoch 0", "0.600 in epoch 2", "0.700 in epoch 3",
        "0.700 in epoch 3",
    ]  # fmt: skip


def test_the_run_folder_tells_what_was_run(tree, small, tiny_encoder, tmp_path):
    (tree / "real" / "one" / "0.jpg").write_bytes(b"broken")
    run, config = tmp_path / "run", schedule(small, epochs=3, steps=8)
    said = []
    train(str(tree), run, config, say=said.append, encoder=tiny_encoder())
    assert (run / "config.toml").read_text(encoding="utf-8") == to_toml(config)
    facts = json.loads((run / "run.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert len(facts["digest"]) == 64
    assert facts["training_images"] + facts["held_out_images"] == 32
    assert facts["held_out_sources"]
    bad = [json.loads(x)["place"] for x in (run / "bad_images.jsonl").read_text().splitlines()]
    assert bad == [str(tree / "real" / "one" / "0.jpg")]  # met often, recorded once
    assert [step for step, _ in metrics(run)] == list(range(1, 25))
    assert all(0 <= share <= 1 for _, share in metrics(run, "loader_share"))
    assert len(metrics(run, "probes")) == 3
    assert any("held-out sources" in line for line in said)
    pytest.importorskip("matplotlib")
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_what_follows_is_said_and_the_first_step_always(tree, small, tiny_encoder, tmp_path):
    config = schedule(small, epochs=1, steps=5, accumulate=2)
    config = replace(config, runtime=replace(config.runtime, log_every=4))
    said = []
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        train(str(tree), tmp_path / "run", config, encoder=tiny_encoder(), say=said.append)
    assert said[-2].startswith("1 epochs of 5 steps, 32 views a step; ")  # 2 x 2 pairs
    assert said[-1].startswith("epoch 0 step 1: ")
    said.clear()
    train(str(tree), tmp_path / "run", config, resume=True, encoder=tiny_encoder(), say=said.append)
    assert any("32 views a step, from step 3;" in line for line in said)
    assert [line.split(":")[0] for line in said if line.startswith("epoch 0 step")] == [
        "epoch 0 step 3", "epoch 0 step 4", "epoch 0 step 5",
    ]  # fmt: skip
    assert [step for step, _ in metrics(tmp_path / "run")] == [1, 4, 5]


def test_tensorboard_gets_the_same_figures(tree, small, tiny_encoder, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(str(tree), tmp_path / "run", small, encoder=tiny_encoder())
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    board.Reload()
    assert [(e.step, pytest.approx(e.value)) for e in board.Scalars("loss")] == metrics(
        tmp_path / "run"
    )


def test_transformers_loads_the_trained_encoder(tree, small, tmp_path):
    """The published layout: ViTModel gives the same CLS embeddings from RUN/model."""
    from code_forensics.engine.embedding.encoder import normalise
    from transformers import ViTModel

    config = schedule(replace(small, probe=replace(small.probe, images=0)), epochs=1, steps=2)
    result = train(str(tree), tmp_path / "run", config)
    theirs = ViTModel.from_pretrained(str(result.model), add_pooling_layer=False).eval()
    ours = build_encoder(read_checkpoint(result.model))
    crops = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        expected = theirs(normalise(crops)).last_hidden_state[:, 0]
        assert torch.allclose(ours(normalise(crops)), expected, atol=1e-5)
    from code_forensics.train.model import start_encoder

    assert not torch.equal(ours.positions, start_encoder("", config.seed).positions)
    projected = build_encoder(read_checkpoint(result.model))  # as a starter's is
    width = projected.config.hidden_size
    projected.projection = torch.nn.Linear(width, width, bias=False)
    write_checkpoint(export_checkpoint(projected), tmp_path / "projected")
    assert build_encoder(read_checkpoint(tmp_path / "projected")).projection is not None
    assert start_encoder(str(tmp_path / "projected"), 0).projection is None
    resumed = start_encoder(str(result.model), 0)
    assert all(p.requires_grad for p in resumed.parameters())
