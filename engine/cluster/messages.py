"""What this machine and the workers of a cluster say to each other: JSON, then float32 vectors.

Data alone: nothing that comes from a worker is executed, and all of it is checked against what it
has to be. A message is the length of its JSON (8 bytes, big-endian), the JSON, and the vectors of
its contents, one after the other.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..archives.limits import ArchiveLimits
from ..decoding.decode import Isolation
from ..embedding.checkpoint import Checkpoint
from ..errors import EngineError
from ..files.found import FoundFile, FreshContent
from ..isolation.messages import Request, Work
from ..pipeline.options import PipelineOptions, StageTimes
from .worker import Part, Setup

_LENGTH = struct.Struct(">Q")
_ARRAYS = frozenset({"vector", "views"})  # of a content: its first vector, and its further ones

T = TypeVar("T")


def pack_files(files: Sequence[FoundFile]) -> bytes:
    """Files that a worker is asked for; paths are surrogate-escaped, as everywhere."""
    return _pack({"files": [asdict(file) for file in files]})


def unpack_files(message: bytes) -> list[FoundFile]:
    """From :func:`pack_files`."""
    header, _ = _unpack(message)
    return [_of(FoundFile, file) for file in header["files"]]


def pack_answer(answer: Part | EngineError) -> bytes:
    """What a worker found, or why it cannot work."""
    if isinstance(answer, EngineError):
        return _pack({"error": str(answer), "hint": answer.hint})
    vectors: list[NDArray[np.float32]] = []
    found = []
    for file, content in answer.found:
        own = [] if content is None or content.vector is None else [content.vector[None]]
        if own and content is not None and content.views is not None:
            own.append(content.views)
        vectors += own
        said = None
        if content is not None:
            said = {f.name: getattr(content, f.name) for f in fields(content)}
            said = {n: v for n, v in said.items() if n not in _ARRAYS}
        found.append([asdict(file), said, sum(map(len, own))])
    header = {"found": found, "times": asdict(answer.times), "arithmetic": answer.arithmetic}
    return _pack(header, np.concatenate(vectors) if vectors else np.empty((0, 0), np.float32))


def unpack_answer(message: bytes) -> Part | EngineError:
    """From :func:`pack_answer`.

    Raises:
        EngineError: It is anything else.
    """
    try:
        header, vectors = _unpack(message)
        if "error" in header:
            return EngineError(str(header["error"]), str(header["hint"]))
        found: list[tuple[FoundFile, FreshContent | None]] = []
        at = 0
        for file, said, count in header["found"]:
            own = vectors[at : at + count]
            if len(own) != count:
                raise ValueError("fewer vectors than stated")
            at += count
            content = None if said is None else _of(FreshContent, said)
            if content is not None and count:
                content.vector = own[0]
                content.views = own[1:] if count > 1 else None
            found.append((_of(FoundFile, file), content))
        if at != len(vectors):
            raise ValueError("more vectors than stated")
        return Part(tuple(found), _of(StageTimes, header["times"]), str(header["arithmetic"]))
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError) as error:
        raise EngineError(
            f"a worker's answer makes no sense ({type(error).__name__}: {error})",
            "install the same version of code-forensics on every node",
        ) from error


def pack_setup(setup: Setup) -> tuple[dict[str, Any], bytes]:
    """What a process of this machine has to know, and the weights behind it."""
    options, checkpoint = setup.options, setup.checkpoint
    encoder = checkpoint and {
        "config": checkpoint.config.decode("latin-1"),
        "origin": checkpoint.origin,
        "revision": checkpoint.revision,
    }
    archives = None if options.archives is None else asdict(options.archives)
    header = {
        "device": setup.device,
        "sharing": setup.sharing,
        "versions": dict(setup.versions),
        "encoder": encoder,
        "workers": options.workers,
        "window": options.window,
        "budget": options.budget,
        "frames": options.frames,
        "provenance": options.provenance,
        "archives": archives,
        "decode": Request(Work.DECODE, options.decode).header(),
        "isolation": options.decode.isolation.value,
        "region": options.decode.region,
    }
    return header, checkpoint.weights if checkpoint else b""


def unpack_setup(said: dict[str, Any], weights: bytes) -> Setup:
    """From :func:`pack_setup`."""
    decode = replace(
        Request.of(said["decode"]).options,
        isolation=Isolation(said["isolation"]),
        region=said["region"],
    )
    options = PipelineOptions(
        said["workers"],
        said["window"],
        said["budget"],
        decode,
        None if said["archives"] is None else ArchiveLimits(**said["archives"]),
        said["frames"],
        said["provenance"],
    )
    checkpoint = None
    if encoder := said["encoder"]:
        config = encoder["config"].encode("latin-1")
        checkpoint = Checkpoint(weights, config, encoder["origin"], encoder["revision"])
    return Setup(checkpoint, said["device"], options, said["versions"], said["sharing"])


def _pack(header: dict[str, Any], vectors: NDArray[np.float32] | None = None) -> bytes:
    if vectors is None:
        vectors = np.empty((0, 0), np.float32)
    text = json.dumps({**header, "shape": vectors.shape}).encode()
    return _LENGTH.pack(len(text)) + text + vectors.astype("<f4").tobytes()


def _unpack(message: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    (length,) = _LENGTH.unpack_from(message)
    start = _LENGTH.size + length
    header = json.loads(message[_LENGTH.size : start])
    count, dimension = header["shape"]
    vectors = np.frombuffer(message[start:], "<f4").astype(np.float32).reshape(count, dimension)
    return header, vectors


def _of(kind: type[T], said: Mapping[str, Any]) -> T:
    """A record whose every field is of its type."""
    wanted = _WANTED[kind]
    for name, value in said.items():
        if not isinstance(value, wanted[name]):
            raise TypeError(f"{name} of a {kind.__name__}")
    return kind(**said)


def _types(kind: type) -> dict[str, Any]:
    """What :func:`isinstance` takes for each field of a record but arrays."""
    hints = get_type_hints(kind)
    return {
        name: Mapping if get_origin(hint) is Mapping else hint
        for name, hint in hints.items()
        if name not in _ARRAYS
    }


_WANTED: dict[type, dict[str, Any]] = {
    kind: _types(kind) for kind in (FoundFile, FreshContent, StageTimes)
}
