"""From a checkpoint's files to an encoder, and back; see :mod:`.checkpoint` for their layout."""

import json
from dataclasses import fields

import torch
from safetensors.torch import save as save_tensors

from .checkpoint import Checkpoint, parse_config
from .config import EncoderConfig
from .encoder import Encoder
from .tensors import PROJECTION, QKV, read_tensors


def build_encoder(checkpoint: Checkpoint) -> Encoder:
    """Build the encoder of a checkpoint, in float32 on the CPU, for normalised input.

    Raises:
        CheckpointError: The files are damaged or do not describe a CoDE encoder.
    """
    config = parse_config(checkpoint.config, checkpoint.origin)
    tensors = read_tensors(checkpoint, config)
    published = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
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
                [published[f"{theirs}.attention.attention.{p}.{kind}"] for p in QKV]
            )
            for mine, published_name in _PARTS.items():
                state[f"{ours}.{mine}.{kind}"] = published[f"{theirs}.{published_name}.{kind}"]
    if PROJECTION in published:
        state[PROJECTION] = published[PROJECTION]
    with torch.device("meta"):  # no random initialisation of weights that are replaced at once
        encoder = Encoder(config, projected=PROJECTION in state)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False)


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
        tensors[PROJECTION] = state[PROJECTION]
    for layer in range(encoder.config.num_hidden_layers):
        theirs, ours = f"encoder.layer.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            stacked = state[f"{ours}.qkv.{kind}"].chunk(3)
            for part, tensor in zip(QKV, stacked, strict=True):
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
