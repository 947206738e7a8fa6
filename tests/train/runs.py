"""What tests of whole runs share: their records, their weights, and Ctrl-C in the middle."""

import json
import signal
from dataclasses import replace

import torch
from code_forensics.train import loop
from code_forensics.train.record import StepFigures
from safetensors.torch import load_file


def metrics(run, name="loss"):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[name]) for line in lines if name in line]


def weights(run):
    return load_file(run / "model" / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def schedule(config, **changes):
    return replace(config, schedule=replace(config.schedule, **changes))


def stop_after(monkeypatch, step):
    """Press Ctrl-C while the figures of a step are recorded."""
    add = loop.RunFolder.add

    def pressed(self, figures):
        add(self, figures)
        if isinstance(figures, StepFigures) and figures.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.RunFolder, "add", pressed)


def in_memory(config, **loss):
    """Small views of images in the device's memory, with an auxiliary head."""
    return replace(
        config,
        whiten=True,
        data=replace(config.data, resident=240, group=2, balance="root"),
        views=replace(config.views, sides=(32,)),
        loss=replace(config.loss, objective="supervised", head=1.0, **loss),
    )


WAYS = ("disk", "memory", "fresh")
"""Views by worker processes, of images in memory, and with fakes made for them there."""


def run_as(way, config, autoencoder):
    """A configuration, run in one of the ways."""
    if way == "disk":
        return config
    config = in_memory(config)
    if way == "memory":  # and of a part of the patches
        return replace(config, views=replace(config.views, keep=0.5))
    options = replace(config.reconstruct, fresh=True, autoencoders=(str(autoencoder),), share=0.6)
    return replace(config, reconstruct=options)
