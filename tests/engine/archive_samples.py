"""Archives of every kind, made in memory."""

import email.message
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from code_forensics.engine.archives.kinds import HEAD, kind_of
from code_forensics.engine.archives.limits import ArchiveError, ArchiveLimits, Spent
from code_forensics.engine.archives.walk import Member, walk_archive

ROOT = Path(__file__).parents[2]


LIMITS = ArchiveLimits()


TEXT = b"some bytes that are no picture " * 30


def walk(
    data: bytes, limits: ArchiveLimits = LIMITS, name: str = "a", most: int = 1 << 20
) -> tuple[list[Member], ArchiveError | None, dict[str, bytes | str]]:
    """Members, the reason of an early end, and each member's bytes or the reason why not."""
    kind = kind_of(data[:HEAD], name)
    assert kind is not None
    members, read = [], {}
    try:
        for member in walk_archive(io.BytesIO(data), kind, name, Spent(limits, len(data)), most):
            members.append(member)
            if member.read is None:
                read[member.path] = str(member.reason)
                continue
            try:
                read[member.path] = member.read()
            except ArchiveError as error:
                read[member.path] = error.reason
    except ArchiveError as error:
        return members, error, read
    return members, None, read


def zip_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tar_of(members: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def mail_of(attachments: dict[str, bytes]) -> bytes:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "s"
    message["Date"] = "Mon, 1 Jan 2024 00:00:00 +0000"
    message.set_content("the message itself is no file")
    for name, data in attachments.items():
        message.add_attachment(data, maintype="image", subtype="jpeg", filename=name)
    return bytes(message)


def zstd(data: bytes) -> bytes:
    packed: bytes = pytest.importorskip("zstandard").compress(data)
    return packed
