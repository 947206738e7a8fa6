"""Messages between two processes: JSON, then raw bytes; nothing is executed.

A message is the length of its JSON (4 bytes, big-endian), the length of its raw part (8 bytes), the
JSON, and the raw part.
"""

import json
import struct
from typing import IO, Any

MAX_JSON = 1 << 20
"""Most bytes of JSON in a message."""

_LENGTHS = struct.Struct(">IQ")


class BrokenMessageError(Exception):
    """The other end is gone, or does not keep to the protocol."""


def send(stream: IO[bytes], header: dict[str, Any], *raw: bytes | memoryview) -> None:
    """Write one message; raw parts are bytes, or views of bytes."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), sum(map(len, raw))) + text)
    for part in raw:
        stream.write(part)
    stream.flush()


def receive(stream: IO[bytes], max_raw: int) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Args:
        stream: Where from.
        max_raw: Most raw bytes that may follow.

    Raises:
        BrokenMessageError: It ends early, is too large, or is no message.
    """
    text_length, raw_length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if text_length > MAX_JSON or raw_length > max_raw:
        raise BrokenMessageError("too large")
    try:
        header = json.loads(_exactly(stream, text_length))
    except (ValueError, RecursionError) as error:
        raise BrokenMessageError("not JSON") from error
    if not isinstance(header, dict):
        raise BrokenMessageError("not an object")
    return header, _exactly(stream, raw_length)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise BrokenMessageError("the other end is gone")
    return data
