"""The encoder against transformers' ViTModel and against stored vectors."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import IMAGENET_MEAN, IMAGENET_STD, EncoderConfig
from code_forensics.engine.embedding.contracts import Embeds
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.embed_native import NativeEmbedder, can_embed
from code_forensics.engine.embedding.encoder import fold_normalisation, normalise
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.embedding.weights import build_encoder, export_checkpoint
from code_forensics.engine.errors import CheckpointError, DeviceError
from safetensors.torch import load, save

from tests.conftest import SHARED, SMALL, draw_checkpoint
from tests.index.hub_server import Hub, serve

GOLDEN = Path(__file__).parent / "golden" / "small_encoder.npy"
TOLERANCE = 1e-5


def _crops(count: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def _published(folder: Path, crops: np.ndarray) -> np.ndarray:
    """The published embedding: numpy normalisation, transformers, the CLS token."""
    from transformers import ViTModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = ViTModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    pixels = ((crops.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return model(torch.from_numpy(pixels.copy())).last_hidden_state[:, 0].numpy()


def _all_that_embed(checkpoint: Checkpoint) -> list[Embeds]:
    return [Embedder(checkpoint, "cpu"), *([NativeEmbedder(checkpoint)] if can_embed() else [])]


def test_equals_transformers_on_a_random_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(draw_checkpoint(EncoderConfig(layer_norm_eps=1e-6)), tmp_path)
    crops = _crops(3)
    published = _published(tmp_path, crops)
    for embedder in _all_that_embed(read_checkpoint(tmp_path)):
        assert np.abs(embedder.embed(crops) - published).max() <= TOLERANCE


def test_equals_transformers_on_deit(deit: Path) -> None:
    from PIL import Image

    files = sorted((SHARED / "data" / "train").glob("*/*/0000.jpg"))[:16]
    crops = np.stack(
        [np.asarray(Image.open(f).convert("RGB").crop((0, 0, 224, 224))) for f in files]
    )
    published = _published(deit, crops)
    checkpoint = read_checkpoint(deit)
    for embedder in (Embedder(checkpoint, "cpu"), load_embedder(checkpoint, "cpu")):
        assert np.abs(embedder.embed(crops) - published).max() <= TOLERANCE


def test_equals_the_golden_vectors() -> None:
    for embedder in _all_that_embed(draw_checkpoint(SMALL)):
        assert np.abs(embedder.embed(_crops(4)) - np.load(GOLDEN)).max() <= TOLERANCE


def test_normalise_equals_numpy_bit_by_bit() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    expected = ((ramp.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert np.array_equal(normalise(torch.from_numpy(ramp).permute(0, 3, 1, 2)).numpy(), expected)


def test_companions_never_change_a_vector() -> None:
    embedder = Embedder(draw_checkpoint(SMALL), "cpu")
    crops = _crops(embedder.batch + 3)
    together = embedder.embed(crops)
    assert np.array_equal(together, embedder.embed(crops[::-1])[::-1])
    assert np.array_equal(together[[5]], embedder.embed(crops[[5]]))


def test_bfloat16_points_the_same_way() -> None:
    checkpoint = draw_checkpoint(SMALL)
    crops = _crops(4)
    exact = Embedder(checkpoint, "cpu").embed(crops).astype(np.float64)
    reduced = Embedder(checkpoint, "cpu", "bfloat16").embed(crops).astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(reduced, axis=1)
    assert ((exact * reduced).sum(axis=1) / lengths).min() > 0.999


def test_folding_is_the_same_function() -> None:
    encoder = build_encoder(draw_checkpoint(SMALL)).double()
    crops = torch.from_numpy(_crops(2)).permute(0, 3, 1, 2)
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = encoder((crops.double() / 255 - mean) / std)
        folded = fold_normalisation(encoder)(crops.double() - 128)
    assert (expected - folded).abs().max() < 1e-12


def test_export_round_trip() -> None:
    checkpoint = draw_checkpoint(SMALL)
    assert export_checkpoint(build_encoder(checkpoint)).weights == checkpoint.weights


def test_a_projection_maps_the_class_token_in_every_precision_and_is_kept() -> None:
    plain = build_encoder(draw_checkpoint(SMALL))
    width = plain.config.hidden_size
    matrix = torch.eye(width) + 0.1 * torch.randn((width, width), generator=torch.manual_seed(3))
    projected = build_encoder(draw_checkpoint(SMALL))
    projected.projection = torch.nn.Linear(width, width, bias=False)
    projected.projection.weight = torch.nn.Parameter(matrix)
    checkpoint = export_checkpoint(projected)
    again = build_encoder(checkpoint)
    assert again.projection is not None and torch.equal(again.projection.weight, matrix)
    assert checkpoint.sha256 != export_checkpoint(plain).sha256
    crops = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    own = Embedder(export_checkpoint(plain), "cpu").embed(crops)
    mapped = Embedder(checkpoint, "cpu").embed(crops)
    np.testing.assert_allclose(mapped, own @ matrix.numpy().T, atol=1e-5)
    reduced = Embedder(checkpoint, "cpu", "bfloat16").embed(crops)  # fused where there are products
    cosines = (reduced * mapped).sum(1) / np.linalg.norm(reduced, axis=1)
    assert (cosines / np.linalg.norm(mapped, axis=1)).min() > 0.999
    tensors = load(checkpoint.weights)
    tensors["projection.weight"] = tensors["projection.weight"][:, 1:].contiguous()
    with pytest.raises(CheckpointError, match=r"projection.weight has shape"):
        build_encoder(replace(checkpoint, weights=save(tensors)))


def test_identity_covers_weights_and_numerics() -> None:
    checkpoint = draw_checkpoint(SMALL)
    settings = json.loads(checkpoint.config)
    other = Checkpoint(
        checkpoint.weights, json.dumps({**settings, "layer_norm_eps": 1e-6}).encode(), ""
    )
    same = Checkpoint(
        checkpoint.weights, json.dumps({**settings, "dropout": 0.5}).encode(), "elsewhere"
    )
    assert checkpoint.sha256 == same.sha256
    assert checkpoint.sha256 != other.sha256
    assert checkpoint.sha256 != draw_checkpoint(SMALL, seed=1).sha256


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no weights", "holds no model.safetensors"),
        ("no config", "holds no config.json"),
        ("cut", "is damaged"),
        ("garbage config", "config.json is damaged"),
        ("nested config", "config.json is damaged"),
        ("another shape", "has shape"),
        ("missing layer", "lacks encoder.layer.2"),
        ("another architecture", "patch_size=32"),
        ("nowhere", "there is no checkpoint"),
    ],
)
def test_a_bad_checkpoint_gets_one_clear_line(
    small_checkpoint: Path, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(small_checkpoint, folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    settings = json.loads(config.read_text())
    if damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        config.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "garbage config":
        config.write_text("{")
    elif damage == "nested config":
        config.write_text("[" * 100_000)
    elif damage == "another shape":
        config.write_text(json.dumps({**settings, "hidden_size": 48}))
    elif damage == "missing layer":
        config.write_text(json.dumps({**settings, "num_hidden_layers": 3}))
    elif damage == "another architecture":
        config.write_text(json.dumps({**settings, "patch_size": 32}))
    else:
        folder = tmp_path / "nowhere"
    with pytest.raises(CheckpointError) as caught:
        build_encoder(read_checkpoint(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="cannot fetch nobody/nothing"):
        read_checkpoint("nobody/nothing")


def hub_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    template = "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(template, url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that refuses, and a cache of the test's own; to wait for another try is an error."""
    hub_at(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: 1 / 0)


def test_a_hub_that_refuses_is_asked_once_and_in_silence(
    unreachable: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="cannot fetch nobody/nothing") as caught:
        read_checkpoint("nobody/nothing")
    assert "refused" in str(caught.value) and "code-index pull" in caught.value.hint
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 120
    assert capfd.readouterr() == ("", "")


def test_what_a_hub_gave_before_serves_where_it_cannot_be_reached(
    unreachable: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    drawn = draw_checkpoint(SMALL)
    files = {"c" * 40: {"model.safetensors": drawn.weights, "config.json": drawn.config}}
    with (
        serve(Hub("owner/model", files, {"main": "c" * 40})) as hub,
        monkeypatch.context() as there,
    ):
        hub_at(there, hub.url)
        fetched = read_checkpoint("owner/model")
    assert (fetched.sha256, fetched.revision) == (drawn.sha256, "c" * 40)
    assert read_checkpoint("owner/model") == fetched
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no CUDA device"):
        Embedder(draw_checkpoint(SMALL), "cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    checkpoint, crops = draw_checkpoint(SMALL), _crops(5)
    gap = Embedder(checkpoint, "cuda").embed(crops) - Embedder(checkpoint, "cpu").embed(crops)
    assert np.abs(gap).max() <= TOLERANCE
