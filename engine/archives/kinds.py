"""Knows archives and mail by their first bytes."""

import re
from enum import StrEnum
from pathlib import PurePath

HEAD = 4096
"""Bytes that are enough to know a kind."""

_BLOCK = 512


class Kind(StrEnum):
    """What an archive is; the value is its format's name in reports."""

    ZIP = "ZIP"
    TAR = "TAR"
    GZIP = "GZIP"
    BZIP2 = "BZIP2"
    XZ = "XZ"
    ZSTD = "ZSTD"
    EML = "EML"
    MBOX = "MBOX"
    SEVEN_ZIP = "7Z"
    RAR = "RAR"
    CAB = "CAB"


UNOPENED = frozenset((Kind.SEVEN_ZIP, Kind.RAR, Kind.CAB))
"""Kinds that are told apart and not opened."""

_SIGNATURES = (
    (b"PK\3\4", Kind.ZIP),
    (b"PK\5\6", Kind.ZIP),  # one without members
    (b"\x1f\x8b\x08", Kind.GZIP),
    (b"BZh", Kind.BZIP2),
    (b"\xfd7zXZ\0", Kind.XZ),
    (b"\x28\xb5\x2f\xfd", Kind.ZSTD),
    (b"7z\xbc\xaf\x27\x1c", Kind.SEVEN_ZIP),
    (b"Rar!\x1a\x07", Kind.RAR),
    (b"MSCF\0\0\0\0", Kind.CAB),
)

_PICTURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|\xff\x4f\xff\x51"
    rb"|\xff\x0a|8BPS\0[\x01\x02]|qoif\0\0(?!\0\0)|icns\0(?!\0{3})|DDS \x7c\0{3}(?!\0{4})"
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}(?!\0{4})|P[1-7]\s+\d+\s+\d+\s"
    rb"|\n[\x00-\x05]\x01|\x01\xda[\x00\x01][\x01\x02]|\x59\xa6\x6a\x95",
    re.DOTALL,
)
"""Heads of pictures that could as well be those of a tar file, which begins with a member's name.

Where letters are all that a format begins with, what follows them is more than a name and zeros.
"""

_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,60}):[ \t]?[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*")
_POSTMARK = re.compile(rb"From [^\r\n]{1,300}\d{4}[^\r\n]{0,40}\r?\n")
_OF_MAIL = frozenset((
    b"arc-seal", b"cc", b"content-type", b"date", b"delivered-to", b"dkim-signature", b"from",
    b"message-id", b"mime-version", b"received", b"reply-to", b"return-path", b"sender",
    b"subject", b"to", b"x-mailer",
))  # fmt: skip


def kind_of(head: bytes, name: str) -> Kind | None:
    """Name the kind of archive that some bytes begin, by content; None for anything else.

    Mail has no signature: it is known by its header lines, fewer of which are enough where the
    name's suffix says the same.

    What begins as a picture is none, whatever else it may be read as.

    Args:
        head: The first 4096 bytes, or the whole of a shorter file.
        name: Of the file.
    """
    if _PICTURE.match(head):
        return None
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if _is_tar(head):
        return Kind.TAR
    suffix = PurePath(name).suffix.lower()
    postmark = _POSTMARK.match(head)
    if postmark is not None and _mail_headers(head[postmark.end() :]) >= 1:
        return Kind.MBOX
    if _mail_headers(head) >= (1 if suffix in (".eml", ".mht", ".mhtml") else 3):
        return Kind.EML
    return None


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a tar header, of any dialect: its checksum says so."""
    block = head[:_BLOCK]
    if len(block) < _BLOCK or not block[0]:
        return False
    stated = block[148:156].strip(b" \0")
    if not stated.isdigit():
        return False
    plain = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in plain)
    try:
        return int(stated, 8) in (sum(plain), signed)
    except ValueError:
        return False


def _mail_headers(head: bytes) -> int:
    """How many of the lines at the beginning are header lines that mail has."""
    found, at = 0, 0
    while (match := _HEADER.match(head, at)) is not None:
        found += match[1].lower() in _OF_MAIL
        at = match.end()
    return found
