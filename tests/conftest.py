"""Fixtures that several rooms share."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.engine.embedding.weights import export_checkpoint
from PIL import Image

for name in ("COLUMNS", "LINES"):  # which the processes of pytest-xdist are told
    os.environ.pop(name, None)

SHARED = Path(__file__).parents[1].parent / "shared"
SMALL = EncoderConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48
)


def draw_checkpoint(config: EncoderConfig, seed: int = 0) -> Checkpoint:
    """A checkpoint whose weights numpy draws, so that they are the same everywhere."""
    rng = np.random.default_rng(seed)
    encoder = Encoder(config)
    with torch.no_grad():
        for name, parameter in sorted(encoder.state_dict().items()):
            values = rng.normal(0.0, 0.1, tuple(parameter.shape)).astype(np.float32)
            if "norm" in name and name.endswith("weight"):
                values += 1
            parameter.copy_(torch.from_numpy(values))
    return export_checkpoint(encoder)


def draw_photo(path: Path, seed: int, size: tuple[int, int] = (260, 240), smooth: int = 1) -> Path:
    """A drawn picture; the smoother ones stand for one class, the rougher ones for the other."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size[1] // smooth + 1, size[0] // smooth + 1, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small checkpoint in the published layout."""
    folder = tmp_path_factory.mktemp("encoder")
    write_checkpoint(draw_checkpoint(SMALL), folder)
    return folder


@pytest.fixture(scope="session")
def deit() -> Path:
    """The DeiT-tiny checkpoint in the published layout."""
    folder = SHARED / "data" / "deit_tiny"
    if not folder.is_dir():
        pytest.skip("the DeiT-tiny checkpoint of ../shared is not here")
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree real/, fake/GENERATOR/ of drawn pictures, and photos/: the same pixels in other files."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(6):
        draw_photo(folder / "real" / f"{number}.jpg", number, smooth=1)
        generator = "alpha" if number % 2 else "beta"
        draw_photo(folder / "fake" / generator / f"{number}.png", 100 + number, smooth=16)
    (folder / "photos" / "sub").mkdir(parents=True)
    for number in range(5):
        generator = "alpha" if number % 2 else "beta"
        with Image.open(folder / "real" / f"{number}.jpg") as image:
            image.save(folder / "photos" / f"rough{number}.png")
        with Image.open(folder / "fake" / generator / f"{number}.png") as image:
            image.save(folder / "photos" / "sub" / f"smooth{number}.bmp")
    return folder


__all__ = ["SHARED", "SMALL", "draw_checkpoint", "draw_photo", "read_checkpoint"]
