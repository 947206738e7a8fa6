"""Reading and writing encoders in the published layout: ``model.safetensors`` + ``config.json``.

Beside the published tensors ``projection.weight``, (D, D), may map the class token after the last
normalisation, as the embedded starter's does.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .config import EncoderConfig

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

_PATIENCE = 10.0
"""Seconds that a hub has to answer."""

_REQUIRED = {
    "model_type": "vit",
    "hidden_act": "gelu",
    "num_channels": 3,
    "qkv_bias": True,
    "image_size": 224,
    "patch_size": 16,
}


@dataclass(frozen=True)
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

    @cached_property  # several ask for it, and the weights are megabytes
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
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    failures: tuple[type[Exception], ...] = (
        OSError, ValueError, KeyError, TypeError,
        errors.HTTPError,  # type: ignore[attr-defined]
    )  # fmt: skip
    repo, _, pinned = text.partition("@")
    wanted = revision or pinned or None
    failure: Exception | None = None
    with _hub_in_silence():
        try:  # once: the library tries to reach a hub for half a minute
            get_hf_file_metadata(hf_hub_url(repo, WEIGHTS_NAME, revision=wanted), timeout=_PATIENCE)
        except failures as error:
            failure = error
        try:
            kept = failure is not None
            weights = hf_hub_download(repo, WEIGHTS_NAME, revision=wanted, local_files_only=kept)
            folder = Path(weights).parent
            # Of the same commit.
            hf_hub_download(repo, CONFIG_NAME, revision=folder.name, local_files_only=kept)
        except failures as error:
            words = str(failure or error).strip().splitlines()
            reason = words[0].rstrip(".") if words else type(failure or error).__name__
            raise CheckpointError(
                f"cannot fetch {text} from the hub: {reason}",
                "check the name and the network, or give --weights a local folder; code-index pull"
                " fetches the published encoder",
            ) from error
    local = read_checkpoint(folder)
    for name, data in ((WEIGHTS_NAME, local.weights), (CONFIG_NAME, local.config)):
        if not _as_stated(folder / name, data):
            raise CheckpointError(
                f"{name} of {text} in {folder} is not what the hub stated",
                "delete that folder and fetch it again",
            )
    return Checkpoint(local.weights, local.config, repo, revision=folder.name)


@contextmanager
def _hub_in_silence() -> Iterator[None]:
    """Within it, the hub library logs nothing and draws no progress."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub")
    level, drawn = logger.level, not are_progress_bars_disabled()
    ours = drawn and constants.HF_HUB_DISABLE_PROGRESS_BARS is None  # else the user's word stands
    logger.setLevel(logging.CRITICAL)
    if ours:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if ours:
            enable_progress_bars()


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


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the two files of a checkpoint into a folder, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(checkpoint.weights)
    (folder / CONFIG_NAME).write_bytes(checkpoint.config)
