"""Fuzzes the archive walker, by hand: ``python -m tests.fuzz.archives --seconds 300``.

Every input that looks like an archive is walked, and every member read: each member has a path of
its own and bytes or a reason, an archive ends in order or with a reason, what is unpacked stays
within the limits, and nothing is opened, executed or written.
"""

import bz2
import email.message
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
import zlib

from code_forensics.engine.archives import kinds, mail, streams, tar_files, walk, zip_files
from code_forensics.engine.archives.kinds import HEAD, kind_of
from code_forensics.engine.archives.limits import ArchiveError, ArchiveLimits, Spent

from tests.fuzz.guided import Target, fuzz

LIMITS = ArchiveLimits(depth=3, members=200, total=8 << 20, nested=1 << 20)
MAX_BYTES = 1 << 20
REASONS = frozenset((
    "archive", "archive_bomb", "corrupt", "encrypted", "hard_link", "no_memory", "special_file",
    "symlink", "too_deep", "too_large", "too_many_members", "truncated", "unsupported",
))  # fmt: skip
TOKENS = [
    *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\1\0\x10\0", b"../", b"!/", b"\0"),
    *(b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"ustar\0" + b"00", b"\xff"),
    *(
        b"From a Mon Jan  1 00:00:00 2024\n",
        b"\n\n",
        b"Content-Type: multipart/mixed; boundary=b\n",
    ),
    *(
        b"--b\n",
        b"--b--\n",
        b"Content-Transfer-Encoding: base64\n",
        b"=?utf-8?q?=00?=",
        b"filename=",
    ),
    *(b"12 size=999\n", b"30 path=\xff\xfe\n", b"22 GNU.sparse.major=1\n", b"x", b"g", b"L", b"S"),
    *(struct.pack("<H", n) for n in (0, 1, 8, 12, 14, 93, 95, 99, 0xFFFF)),
    *(struct.pack("<I", n) for n in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)),
    *(struct.pack("<Q", n) for n in (0, 1 << 31, 1 << 62, (1 << 64) - 1)),
]


def _zip(method: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _tar(form: int, **members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name * (40 if form == tarfile.GNU_FORMAT else 1))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a"
        archive.addfile(link)
    return file.getvalue()


def seeds() -> list[bytes]:
    """An archive of each kind, some within others."""
    text, small = b"some bytes " * 20, b"\x89PNG\r\n\x1a\n" + bytes(40)
    zips = [
        _zip(method, a=text, b=small)
        for method in (
            zipfile.ZIP_STORED,
            zipfile.ZIP_DEFLATED,
            zipfile.ZIP_BZIP2,
            zipfile.ZIP_LZMA,
        )
    ]
    tars = [
        _tar(form, a=text, ü=small)
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    ]
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.c", "d@e.f", "s"
    message["Date"] = "Mon, 1 Jan 2024 00:00:00 +0000"
    message.set_content("text")
    message.add_attachment(small, maintype="image", subtype="png", filename="ü.png")
    message.add_attachment(zips[1], maintype="application", subtype="zip", filename="z.zip")
    mail_bytes = bytes(message)
    box = (b"From a Mon Jan  1 00:00:00 2024\n" + mail_bytes + b"\n") * 2
    packed = [pack(tars[2]) for pack in (gzip.compress, bz2.compress, lzma.compress)]
    try:
        import zstandard
    except ImportError:
        pass
    else:
        packed.append(zstandard.compress(tars[0]))
    nested = [_zip(zipfile.ZIP_DEFLATED, n=zips[1]), _tar(tarfile.PAX_FORMAT, n=packed[0])]
    return [*zips, *tars, mail_bytes, box, *packed, gzip.compress(text), *nested]


def check(data: bytes) -> None:
    """One input: walked to its end, or to the reason why not."""
    kind = kind_of(data[:HEAD], "a.eml")
    if kind is None:
        return
    spent = Spent(LIMITS, len(data))
    paths = set()
    read = 0
    try:
        for member in walk.walk_archive(io.BytesIO(data), kind, "a", spent, MAX_BYTES):
            if not member.path or member.path in paths:
                raise AssertionError(f"a path that is empty or comes twice: {member.path!r}")
            paths.add(member.path)
            if member.read is None:
                _expect(member.reason)
                continue
            try:
                read += len(member.read())
            except ArchiveError as error:
                _expect(error.reason, error.detail)
    except ArchiveError as error:
        _expect(error.reason, error.detail)
    if len(paths) > LIMITS.members or spent.unpacked > LIMITS.total + streams.BLOCK + mail.MESSAGE:
        raise AssertionError("more than the limits")


def _expect(reason: str | None, detail: str = "") -> None:
    if reason not in REASONS:
        raise AssertionError(f"reason {reason}: {detail}")
    if not detail.isprintable() or len(detail) > 200:
        raise AssertionError(f"unfit detail of {len(detail)} characters")


def target() -> Target:
    """The archive walker."""
    return Target(
        check,
        seeds(),
        (kinds, mail, streams, tar_files, walk, zip_files),
        TOKENS,
        wrap=lambda data: b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + _raw(data),
        memory=streams.MEMORY + (64 << 20),
    )


def _raw(data: bytes) -> bytes:
    packed = zlib.compressobj(1, zlib.DEFLATED, -15)
    trailer = struct.pack("<2I", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return packed.compress(data) + packed.flush() + trailer


if __name__ == "__main__":
    sys.exit(fuzz(target(), __doc__ or ""))
