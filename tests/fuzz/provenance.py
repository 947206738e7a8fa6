"""Fuzzes the provenance readers, by hand: ``python -m tests.fuzz.provenance --seconds 300``.

Every input gives findings, each of short printable words that come back the same the second time;
nothing is imported, opened or executed, and C2PA manifests are not validated: that is native code,
which runs in processes of its own.
"""

import json
import struct
import sys

from code_forensics.engine.provenance import blocks, generators, read, tags
from code_forensics.engine.provenance.read import read_provenance

from tests.engine.test_provenance_hostile import seeds
from tests.fuzz.guided import Target, fuzz

TOKENS = [
    *(b"Exif\0\0", b"II*\0", b"MM\0*", b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0", b"8BIM"),
    *(b"<x:xmpmeta", b"</x:xmpmeta>", b"<!ENTITY a 'b'>", b"Iptc4xmpExt:DigitalSourceType=", b"&a;"),
    *(b"tEXt", b"iTXt", b"zTXt", b"eXIf", b"IDAT", b"IEND", b"parameters\0", b"prompt\0", b"workflow\0"),
    *(b"JP\0\0", b"jumb", b"jumd", b"c2pa", b"uuid", b"ftyp", b"meta", b"iloc", b"RIFF", b"WEBP", b"XMP "),
    *(b"\xff\xe1", b"\xff\xeb", b"\xff\xed", b"\xff\xda", b"{\"class_type\":", b"Steps: 1, Sampler: x"),
    *(struct.pack(">H", n) for n in (0, 1, 2, 271, 272, 305, 0x8769, 0xFFFF)),
    *(struct.pack(">I", n) for n in (0, 1, 8, 0x7FFFFFFF, 0xFFFFFFFF)),
]  # fmt: skip


def check(data: bytes) -> None:
    """One input: findings that can be reported."""
    found = read_provenance(data, check_signatures=False).as_dict()
    if read_provenance(data, check_signatures=False).as_dict() != found:
        raise AssertionError("another answer the second time")
    text = json.dumps(found, allow_nan=False)
    if len(text) > 1 << 16:
        raise AssertionError(f"{len(text)} characters of findings")
    for finding in found["findings"]:
        for word in finding.values():
            if (
                not isinstance(word, str)
                or len(word) > 1000
                or "\ud800" <= max(word, default="") <= "\udfff"
            ):
                raise AssertionError(f"unfit word {word!r}")


def target() -> Target:
    """The provenance readers."""
    return Target(check, seeds(), (blocks, generators, read, tags), TOKENS, memory=64 << 20)


if __name__ == "__main__":
    sys.exit(fuzz(target(), __doc__ or ""))
