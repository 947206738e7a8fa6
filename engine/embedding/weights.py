"""From a checkpoint's files to an encoder, and back; see :mod:`.checkpoint` for their layout."""

import json
from dataclasses import fields

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ..errors import CheckpointError
from .checkpoint import CONFIG_NAME, WEIGHTS_NAME, Checkpoint, parse_config
from .config import EncoderConfig
from .encoder import Encoder

_PROJECTION = "projection.weight"
_PREFIXES = ("", "vit.", "model.")  # ViTModel alone, inside a classifier, inside CoDE's wrapper


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
