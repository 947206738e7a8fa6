"""The tensors of a checkpoint, read and checked, without PyTorch."""

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .checkpoint import CONFIG_NAME, WEIGHTS_NAME, Checkpoint
from .config import EncoderConfig

PROJECTION = "projection.weight"
QKV = ("query", "key", "value")

Tensors = dict[str, NDArray[np.float32]]
"""Under the published names without a prefix."""

_PREFIXES = ("", "vit.", "model.")  # ViTModel alone, inside a classifier, inside CoDE's wrapper
_FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
_BFLOAT16 = "BF16"  # the upper half of a float32, which numpy has no name for


def read_tensors(checkpoint: Checkpoint, config: EncoderConfig) -> Tensors:
    """Read an encoder's tensors as float32.

    Args:
        checkpoint: The files.
        config: From its configuration; says which shapes belong there.

    Returns:
        All tensors that the encoder has, in the published layout; ``projection.weight`` among them
        where the file holds one.

    Raises:
        CheckpointError: The file is damaged, or lacks a tensor, or one has another shape, is not of
            floating-point numbers, or holds some that are not finite.
    """
    from safetensors import SafetensorError, deserialize

    origin = checkpoint.origin
    try:
        stored = dict(deserialize(checkpoint.weights))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{origin}: {WEIGHTS_NAME} is damaged: {error}", "copy or download the file again"
        ) from error
    prefix = next((p for p in _PREFIXES if f"{p}embeddings.cls_token" in stored), "")
    expected = _expected_shapes(config)
    if prefix + PROJECTION in stored:
        expected[PROJECTION] = (config.hidden_size, config.hidden_size)
    tensors = {}
    for name, shape in expected.items():
        found = stored.get(prefix + name)
        if found is None:
            raise CheckpointError(
                f"{origin}: {WEIGHTS_NAME} lacks {prefix + name}, expected of shape {shape}",
                "expected the key layout of Hugging Face's ViTModel",
            )
        if tuple(found["shape"]) != shape:
            raise CheckpointError(
                f"{origin}: {prefix + name} has shape {tuple(found['shape'])}, expected {shape}",
                f"is this {CONFIG_NAME} the one that belongs to these weights?",
            )
        values = _float32(found["dtype"], found["data"])
        if values is None:
            raise CheckpointError(
                f"{origin}: {prefix + name} holds {found['dtype']}, not floating-point numbers",
                "store the weights as float32, float16 or bfloat16",
            )
        if not np.isfinite(values).all():
            raise CheckpointError(f"{origin}: {prefix + name} holds values that are not finite")
        tensors[name] = values.reshape(shape)
    return tensors


def _float32(kind: str, data: bytes) -> NDArray[np.float32] | None:
    """Numbers of a stored type; None of those that are no floating-point numbers."""
    if kind == _BFLOAT16:
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    if kind not in _FLOATS:
        return None
    with np.errstate(over="ignore"):  # of float64; it is found by not being finite
        return np.frombuffer(data, _FLOATS[kind]).astype(np.float32)


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
            *((f"attention.attention.{name}", width, width) for name in QKV),
            ("attention.output.dense", width, width),
            ("intermediate.dense", hidden, width),
            ("output.dense", width, hidden),
        ):
            shapes[f"{base}.{part}.weight"] = (out, into)
            shapes[f"{base}.{part}.bias"] = (out,)
        for norm in ("layernorm_before", "layernorm_after"):
            shapes[f"{base}.{norm}.weight"] = shapes[f"{base}.{norm}.bias"] = (width,)
    return shapes
