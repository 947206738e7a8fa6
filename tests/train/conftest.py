"""Small pictures, folder trees and encoders for the training tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.train import reconstruct
from code_forensics.train.config import TrainConfig, from_toml
from code_forensics.train.model import initialise
from code_forensics.train.record import RunFolder
from PIL import Image
from safetensors.torch import save_file

TINY = EncoderConfig(
    hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_picture(seed: int, width: int = 240, height: int = 230) -> Image.Image:
    """Smooth colours with some noise, so that JPEG, blur and crops all leave a trace."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    return make_picture


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three real sources of four images; 'alpha' has fakes of the same names, 'beta' has not."""
    root = tmp_path / "tree"
    seed = 0
    for folder in ("real/one", "real/two", "real/three", "fake/alpha/one", "fake/alpha/two",
                   "fake/beta", "fake/gamma/x", "fake/gamma/y"):  # fmt: skip
        (root / folder).mkdir(parents=True)
        for number in range(4):
            seed += 1
            name = f"{number}.png" if folder.startswith("fake") else f"{number}.jpg"
            if folder in ("fake/beta", "fake/gamma/x", "fake/gamma/y"):
                name = f"u{number}.png"
            make_picture(seed).save(root / folder / name)
    return root


@pytest.fixture
def small() -> TrainConfig:
    """A run of two epochs of three steps that takes a second."""
    return from_toml(
        """
        [schedule]
        epochs = 2
        steps = 3
        batch = 2
        warmup_epochs = 1
        warmup_lr = 1e-4
        [probe]
        references = 4
        images = 4
        [runtime]
        device = "cpu"
        workers = 0
        log_every = 1
        """,
        "test",
    )


@pytest.fixture
def tiny_encoder() -> Callable[[], Encoder]:
    return lambda: initialise(Encoder(TINY), seed=5)


@pytest.fixture(autouse=True)
def _curves_once(request, monkeypatch):
    """Drawing takes longer than training here: one test does it for all."""
    if "run_folder" not in request.node.name:
        monkeypatch.setattr(RunFolder, "draw_curves", lambda _: None)


@pytest.fixture
def autoencoder(tmp_path):
    """A tiny autoencoder of random weights with the published layout, pooled like taef2."""
    torch.manual_seed(0)
    encoder, decoder = reconstruct.tiny_encoder(8, True), reconstruct.tiny_decoder(8, True)
    for part, model in (("encoder", encoder), ("decoder", decoder)):
        state = {k: v.half() for k, v in model.state_dict().items()}
        save_file(state, tmp_path / f"toy_{part}.safetensors")
    return str(tmp_path / "toy")
