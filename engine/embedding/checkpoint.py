"""Reading and writing encoders in the published layout: ``model.safetensors`` + ``config.json``.

Beside the published tensors ``projection.weight``, (D, D), may map the class token after the last
normalisation, as the embedded starter's does.
"""

import hashlib
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..errors import CheckpointError
from .encoder import Encoder, EncoderConfig

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

_REQUIRED = {
    "model_type": "vit",
    "hidden_act": "gelu",
    "num_channels": 3,
    "qkv_bias": True,
    "image_size": 224,
    "patch_size": 16,
}
_PROJECTION = "projection.weight"
_PREFIXES = ("", "vit.", "model.")  # ViTModel alone, inside a classifier, inside CoDE's wrapper


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An encoder's two files, read but not yet built.

    Attributes:
        weights: Bytes of ``model.safetensors``.
        config: Bytes of ``config.json``.
        origin: Where they came from, for people.
        revision: The hub's commit, where they came from a hub.
    """

    weights: bytes
    config: bytes
    origin: str
    revision: str = ""

    @property
    def sha256(self) -> str:
        """The encoder's identity: SHA-256 over the weights and what the config says of numerics."""
        digest = hashlib.sha256(self.weights)
        settings = parse_config(self.config, self.origin)
        numerics = {field.name: getattr(settings, field.name) for field in fields(settings)}
        digest.update(json.dumps(numerics, sort_keys=True).encode())
        return digest.hexdigest()


def read_checkpoint(weights: str | Path, revision: str | None = None) -> Checkpoint:
    """Read a checkpoint from a folder, a ``.safetensors`` file, or the Hugging Face Hub.

    Args:
        weights: A folder with ``model.safetensors`` and ``config.json``; a ``.safetensors`` file
            with ``config.json`` beside it; or a hub id such as ``aimagelab/CoDE``, optionally
            ``owner/name@revision``.
        revision: Hub revision (branch, tag or commit); overrides ``@revision``.

    Raises:
        CheckpointError: Nothing is there, or a file is missing.
    """
    path = Path(os.path.expanduser(weights))  # noqa: PTH111 - leaves what has no home as it is
    if path.is_dir():
        files = path / WEIGHTS_NAME, path / CONFIG_NAME
    elif path.is_file():
        files = path, path.with_name(CONFIG_NAME)
    elif _looks_like_hub_id(str(weights)):
        return _read_from_hub(str(weights), revision)
    else:
        raise CheckpointError(
            f"there is no checkpoint at {path}",
            f"name a folder that holds {WEIGHTS_NAME} and {CONFIG_NAME}, or a hub id (owner/name)",
        )
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"{file.parent} holds no {file.name}",
                f"a checkpoint is {WEIGHTS_NAME} with {CONFIG_NAME} beside it",
            )
    try:
        return Checkpoint(files[0].read_bytes(), files[1].read_bytes(), str(path.absolute()))
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error


def _looks_like_hub_id(text: str) -> bool:
    name = text.partition("@")[0]
    return name.count("/") == 1 and not text.startswith((".", "/", "~")) and "\\" not in text


def _read_from_hub(text: str, revision: str | None) -> Checkpoint:
    """Fetch a checkpoint by way of the hub library's cache, or in offline mode from that alone."""
    from huggingface_hub import errors, hf_hub_download

    repo, _, pinned = text.partition("@")
    try:
        wanted = revision or pinned or None
        folder = Path(hf_hub_download(repo, WEIGHTS_NAME, revision=wanted)).parent
        hf_hub_download(repo, CONFIG_NAME, revision=folder.name)  # of the same commit
    except (
        OSError, ValueError, KeyError, TypeError,
        errors.HTTPError,  # type: ignore[attr-defined]
    ) as error:  # fmt: skip
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise CheckpointError(
            f"cannot fetch {text} from the hub: {reason}",
            "check the name and the network, or give --weights a local folder",
        ) from error
    local = read_checkpoint(folder)
    for name, data in ((WEIGHTS_NAME, local.weights), (CONFIG_NAME, local.config)):
        if not _as_stated(folder / name, data):
            raise CheckpointError(
                f"{name} of {text} in {folder} is not what the hub stated",
                "delete that folder and fetch it again",
            )
    return Checkpoint(local.weights, local.config, repo, revision=folder.name)


def _as_stated(path: Path, data: bytes) -> bool:
    """Whether a file of the cache has the hash that the hub stated, which its link's target names.

    That is a SHA-256, or for small files git's SHA-1 of a blob. Where links are not allowed the
    cache does not say it, and the library's own check of the size is all there is.
    """
    stated = path.resolve().name if path.is_symlink() else ""
    if len(stated) == 64:
        return hashlib.sha256(data).hexdigest() == stated
    if len(stated) == 40:
        blob = b"blob %d\0" % len(data) + data
        return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == stated
    return True


def parse_config(data: bytes, origin: str) -> EncoderConfig:
    """Read the published ``config.json``.

    Raises:
        CheckpointError: It is not JSON, or describes another architecture.
    """
    try:
        settings: dict[str, Any] = json.loads(data)
        if not isinstance(settings, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{origin}: {CONFIG_NAME} is damaged: {error}") from error
    for name, expected in _REQUIRED.items():
        if settings.get(name, expected) != expected:
            raise CheckpointError(
                f"{origin}: {CONFIG_NAME} says {name}={settings[name]!r}, expected {expected!r}",
                "CoDE's encoder is a ViT-Tiny/16 at 224 pixels with exact GELU",
            )
    known = {field.name for field in fields(EncoderConfig)}
    chosen = {name: value for name, value in settings.items() if name in known}
    for name, value in chosen.items():
        wanted = (int, float) if name == "layer_norm_eps" else int
        if isinstance(value, bool) or not isinstance(value, wanted) or not value > 0:
            raise CheckpointError(f"{origin}: {CONFIG_NAME} says {name}={value!r}, not a size")
    config = EncoderConfig(**chosen)
    if config.hidden_size % config.num_attention_heads:
        raise CheckpointError(
            f"{origin}: hidden_size {config.hidden_size} is not a multiple of"
            f" num_attention_heads {config.num_attention_heads}"
        )
    return config


def _expected_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    width, hidden, patch = config.hidden_size, config.intermediate_size, config.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, config.tokens, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
    }
    for layer in range(config.num_hidden_layers):
        base = f"encoder.layer.{layer}"
        for part, out, into in (
            ("attention.attention.query", width, width),
            ("attention.attention.key", width, width),
            ("attention.attention.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", hidden, width),
            ("output.dense", width, hidden),
        ):
            shapes[f"{base}.{part}.weight"] = (out, into)
            shapes[f"{base}.{part}.bias"] = (out,)
        for norm in ("layernorm_before", "layernorm_after"):
            shapes[f"{base}.{norm}.weight"] = shapes[f"{base}.{norm}.bias"] = (width,)
    return shapes


def _published_tensors(checkpoint: Checkpoint, config: EncoderConfig) -> dict[str, Tensor]:
    """Read and check the tensors, float32, under the published names without a prefix."""
    origin = checkpoint.origin
    try:
        tensors = load_tensors(checkpoint.weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{origin}: {WEIGHTS_NAME} is damaged: {error}", "copy or download the file again"
        ) from error
    prefix = next((p for p in _PREFIXES if f"{p}embeddings.cls_token" in tensors), "")
    checked = {}
    expected = _expected_shapes(config)
    if prefix + _PROJECTION in tensors:
        expected[_PROJECTION] = (config.hidden_size, config.hidden_size)
    for name, shape in expected.items():
        tensor = tensors.get(prefix + name)
        if tensor is None:
            raise CheckpointError(
                f"{origin}: {WEIGHTS_NAME} lacks {prefix + name}, expected of shape {shape}",
                "expected the key layout of Hugging Face's ViTModel",
            )
        if tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{origin}: {prefix + name} has shape {tuple(tensor.shape)}, expected {shape}",
                f"is this {CONFIG_NAME} the one that belongs to these weights?",
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise CheckpointError(f"{origin}: {prefix + name} holds values that are not finite")
        checked[name] = tensor.float()
    return checked


def build_encoder(checkpoint: Checkpoint) -> Encoder:
    """Build the encoder of a checkpoint, in float32 on the CPU, for normalised input.

    Raises:
        CheckpointError: The files are damaged or do not describe a CoDE encoder.
    """
    config = parse_config(checkpoint.config, checkpoint.origin)
    published = _published_tensors(checkpoint, config)
    state = {
        "cls_token": published["embeddings.cls_token"],
        "positions": published["embeddings.position_embeddings"],
        "patch.weight": published["embeddings.patch_embeddings.projection.weight"],
        "patch.bias": published["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": published["layernorm.weight"],
        "norm.bias": published["layernorm.bias"],
    }
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"encoder.layer.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            state[f"{ours}.qkv.{kind}"] = torch.cat(
                [published[f"{theirs}.attention.attention.{p}.{kind}"] for p in _QKV]
            )
            for mine, published_name in _PARTS.items():
                state[f"{ours}.{mine}.{kind}"] = published[f"{theirs}.{published_name}.{kind}"]
    if _PROJECTION in published:
        state[_PROJECTION] = published[_PROJECTION]
    with torch.device("meta"):  # no random initialisation of weights that are replaced at once
        encoder = Encoder(config, projected=_PROJECTION in state)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False)


_QKV = ("query", "key", "value")
_PARTS = {
    "proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}


def export_checkpoint(encoder: Encoder, dtype: torch.dtype = torch.float32) -> Checkpoint:
    """Serialise an encoder for normalised input in the published layout.

    Args:
        encoder: The encoder, its normalisation not folded.
        dtype: Type of the stored numbers.
    """
    state = encoder.state_dict()
    tensors = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["positions"],
        "embeddings.patch_embeddings.projection.weight": state["patch.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    if encoder.projection is not None:
        tensors[_PROJECTION] = state[_PROJECTION]
    for layer in range(encoder.config.num_hidden_layers):
        theirs, ours = f"encoder.layer.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            stacked = state[f"{ours}.qkv.{kind}"].chunk(3)
            for part, tensor in zip(_QKV, stacked, strict=True):
                tensors[f"{theirs}.attention.attention.{part}.{kind}"] = tensor
            for mine, published_name in _PARTS.items():
                tensors[f"{theirs}.{published_name}.{kind}"] = state[f"{ours}.{mine}.{kind}"]
    weights = save_tensors(
        {name: tensor.to("cpu", dtype).contiguous() for name, tensor in tensors.items()},
        metadata={"format": "pt"},
    )
    sizes = {field.name: getattr(encoder.config, field.name) for field in fields(EncoderConfig)}
    settings = {
        "architectures": ["ViTModel"],
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "model_type": "vit",
        "num_channels": 3,
        "qkv_bias": True,
        **sizes,
    }
    return Checkpoint(weights, json.dumps(settings, indent=1, sort_keys=True).encode(), "exported")


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the two files of a checkpoint into a folder, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(checkpoint.weights)
    (folder / CONFIG_NAME).write_bytes(checkpoint.config)
