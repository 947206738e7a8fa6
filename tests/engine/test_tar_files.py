"""Extended headers of tar files: read once, and not without end."""

import tarfile

from code_forensics.engine.archives import tar_files

from tests.engine.archive_samples import TEXT, tar_of, walk


class Cut(bytes):
    """Bytes that count what is cut out of them."""

    copied = 0

    def __getitem__(self, place: slice) -> bytes:
        piece = super().__getitem__(place)
        self.copied += len(piece)
        return piece


def test_extended_headers_are_read_once_and_have_not_too_many_records() -> None:
    records = Cut(b"5 a=\n" * 9_999 + b"12 path=new\n")
    assert tar_files._pax(records) == {"a": "", "path": "new"}
    assert records.copied < 2 * len(records)
    for more, name in ((b"", "new"), (b"5 a=\n", None)):
        extended = tarfile.TarInfo("x")
        extended.type, extended.size = tarfile.XHDTYPE, len(records + more)
        header = extended.tobuf(tarfile.USTAR_FORMAT) + records + more
        _, error, read = walk(header + bytes(-len(header) % 512) + tar_of({"old": TEXT}))
        assert (read, error and error.reason) == (({name: TEXT}, None) if name else ({}, "corrupt"))
