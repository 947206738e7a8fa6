"""Finds the attachments of mail: single messages (RFC 5322) and mailboxes (mbox)."""

import email
import email.header
import email.message
import email.policy
from collections.abc import Iterator
from dataclasses import dataclass

from .limits import ArchiveError
from .streams import BLOCK, Source

MESSAGE = 1 << 27
"""Largest message that is looked at, in bytes; servers rarely allow a quarter of it."""

_PARTS = 10_000
_DEPTH = 30  # of parts within parts, each of which looks at every line below it
_HEADER = 4096  # characters of a header that are read
_PARAMETERS = 100  # of a header that are read: names in pieces (RFC 2231) take some forty
_SUFFIXES = {"jpeg": "jpg", "svg+xml": "svg", "tiff": "tif"}


class _Bounded(email.policy.Compat32):
    """Reads the beginning of long headers: the library takes parameters apart in quadratic time."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, ";".join(value[:_HEADER].split(";", _PARAMETERS)[:_PARAMETERS])


class _Part(email.message.Message):
    """A message, or a part of one: refuses parts within parts as soon as they are too deep."""

    depth = 0

    def attach(self, payload: email.message.Message) -> None:  # type: ignore[override]
        """Called for each part before it is read.

        Raises:
            ArchiveError: It lies too deep.
        """
        assert isinstance(payload, _Part)
        payload.depth = self.depth + 1
        if payload.depth > _DEPTH:
            raise ArchiveError("corrupt", f"more than {_DEPTH} parts in each other")
        super().attach(payload)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One part of a message.

    Attributes:
        name: As the message says, else one made from the part's number and type.
        data: Its bytes, decoded.
    """

    name: str
    data: bytes


def attachments(message: bytes) -> Iterator[Attachment]:
    """The parts of a message that are files: all but its own text.

    Raises:
        ArchiveError: The message is too large, or of too many parts or too deep ones.
    """
    if len(message) > MESSAGE:
        raise ArchiveError("too_large", f"a message of {len(message)} bytes, at most {MESSAGE}")
    whole = email.message_from_bytes(message, _Part, policy=_Bounded())
    for number, part in enumerate(whole.walk(), 1):
        if number > _PARTS:
            raise ArchiveError("corrupt", f"more than {_PARTS} parts")
        if part.is_multipart():
            continue
        name = _name(part)
        if name or part.get_content_maintype() != "text":
            data = part.get_payload(decode=True)
            if isinstance(data, bytes):
                kind = part.get_content_subtype()
                suffix = _SUFFIXES.get(kind, kind if kind.isalnum() else "bin")
                yield Attachment(name or f"part{number}.{suffix}", data)


def messages(stream: Source) -> Iterator[tuple[int, bytes | None]]:
    """The messages of a mailbox with their numbers from 1; None for one that is too large.

    A message begins at a line "From ..." that is the first or follows an empty one.
    """
    number, size = 0, 0
    parts: list[bytes] = []
    blank = True
    for line in _lines(stream):
        if blank and line.startswith(b"From "):
            if number:
                yield number, b"".join(parts) if size <= MESSAGE else None
            number, size, parts = number + 1, 0, []
        else:
            size += len(line)
            if size <= MESSAGE:
                parts.append(line)
            else:
                parts = []
        blank = line in (b"\n", b"\r\n")
    if number:
        yield number, b"".join(parts) if size <= MESSAGE else None


def _lines(stream: Source) -> Iterator[bytes]:
    """Lines with their ends; one without an end for long comes in pieces."""
    rest = b""
    while data := stream.read(BLOCK):
        rest += data
        *whole, rest = _split(rest)
        yield from whole
        if len(rest) > BLOCK:
            yield rest
            rest = b""
    if rest:
        yield rest


def _split(data: bytes) -> list[bytes]:
    """Lines that end with a line feed; a carriage return alone ends none."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines


def _name(part: email.message.Message) -> str:
    try:
        name = part.get_filename() or ""
        if "=?" in name:
            name = str(email.header.make_header(email.header.decode_header(name)))
    except Exception:  # the library raises several kinds on odd encodings
        return ""
    return name
