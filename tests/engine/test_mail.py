"""Messages and mailboxes: their attachments are members."""

import mailbox
import re
from pathlib import Path

from code_forensics.engine.archives.limits import ArchiveLimits

from tests.engine.archive_samples import TEXT, mail_of, walk, zip_of


def test_mail() -> None:
    photo = {"holiday.jpg": TEXT, "strand-ü.jpg": TEXT[::-1]}
    inner = zip_of({"z.jpg": TEXT})
    assert walk(mail_of(photo))[2] == photo
    read = walk(mail_of({"album.zip": inner}))[2]
    assert read == {"album.zip!/z.jpg": TEXT, "album.zip": "archive"}


def test_long_headers_of_mail_take_no_time() -> None:
    """The library's own parser of parameters takes minutes for these."""
    long = b'; x="' + b'\\";' * 300_000
    mail = mail_of({"a.jpg": TEXT})
    for usual in (rb'filename="a.jpg"', rb'boundary="[^"]+"'):
        longer, count = re.subn(usual, lambda found: found[0] + long, mail)
        assert count == 1
        assert walk(longer)[2] == {"a.jpg": TEXT}


def test_a_name_in_pieces_is_read_whole() -> None:
    name = "ein sehr langer Name, größer als üblich " * 6 + ".jpg"
    assert walk(mail_of({name: TEXT}))[2] == {name: TEXT}


def test_a_mailbox_has_the_messages_that_the_standard_library_sees(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box")
    for number in range(3):
        box.add(mail_of({f"{number}.jpg": bytes([number]) * 500}))
    box.close()
    read = walk((tmp_path / "box").read_bytes())[2]
    assert read == {f"{n + 1}/{n}.jpg": bytes([n]) * 500 for n in range(3)}


def nested(depth: int) -> bytes:
    """A message with an attachment so many parts deep."""
    head = b"From: a\nTo: b\nSubject: c\nDate: d\nMIME-Version: 1.0\n"
    parts = [
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(depth)
    ]
    return head + b"".join(parts) + b"Content-Type: image/jpeg; name=a.jpg\n\n" + TEXT


def test_parts_within_parts_have_an_end() -> None:
    assert walk(nested(30))[2] == {"a.jpg": TEXT}
    for depth in (31, 900):
        _, error, read = walk(nested(depth))
        assert (read, error and error.detail) == ({}, "more than 30 parts in each other")
    box = b"".join(
        b"From x Thu Jan  1 00:00:00 2020\n" + message + b"\n\n"
        for message in (nested(31), mail_of({"b.jpg": TEXT}))
    )
    assert walk(box)[2] == {"1": "corrupt", "2/b.jpg": TEXT}  # the next message is read


def test_messages_without_attachments_count_as_members() -> None:
    box = b"From a Thu Jan  1 00:00:00 2020\nFrom: a\n\n" * 30
    assert walk(box)[:2] == ([], None)
    _, error, _ = walk(box, ArchiveLimits(members=29))
    assert error is not None
    assert error.reason == "too_many_members"
