"""Archives and mail, walked in place: against the standard library, and against hostile ones."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from code_forensics.engine.archives.kinds import HEAD, Kind, kind_of
from code_forensics.engine.archives.limits import ArchiveError, ArchiveLimits, LimitError, Spent
from code_forensics.engine.archives.walk import walk_archive
from code_forensics.engine.errors import InputError
from code_forensics.engine.files.discover import examine
from code_forensics.engine.files.read import read_file
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.engine.archive_samples import TEXT, mail_of, tar_of, walk, zip_of, zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd,
}  # fmt: skip


NAMES = st.text(
    st.characters(exclude_characters="/\\\0:", exclude_categories=("Cs", "Cc")),
    min_size=1,
    max_size=9,
).filter(lambda name: name not in (".", "..") and name.strip() == name)


MEMBERS = st.dictionaries(NAMES, st.binary(max_size=3000), max_size=6)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@settings(max_examples=25, deadline=None)
@given(members=MEMBERS)
def test_zip_members_are_those_that_were_written(method: int, members: dict[str, bytes]) -> None:
    members = {name: data for name, data in members.items() if kind_of(data, name) is None}
    _, error, read = walk(zip_of(members, method))
    assert error is None
    assert read == members


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(max_examples=25, deadline=None)
@given(members=MEMBERS.filter(len))
def test_tar_members_are_those_that_were_written(form: int, members: dict[str, bytes]) -> None:
    members = {name: data for name, data in members.items() if kind_of(data, name) is None}
    members["last"] = b"x"
    for pack in (bytes, gzip.compress):
        _, error, read = walk(pack(tar_of(members, form)))
        assert error is None
        assert read == members


@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_compressed_files_hold_a_tar_file_or_one_file(pack: Callable[[bytes], bytes]) -> None:
    assert walk(pack(tar_of({"dir/a": TEXT})), name="x.tgz")[2] == {"dir/a": TEXT}
    assert walk(pack(TEXT), name="note.txt.gz")[2] == {"note.txt": TEXT}
    assert walk(pack(TEXT) + pack(b"more"), name="n.gz")[2] == {"n": TEXT + b"more"}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_undecodable_names_of_tar(form: int) -> None:
    names = ["d" * 150 + "/" + "f" * 150, "\udcff\udcfe.jpg", "ü" * 90]
    assert list(walk(tar_of(dict.fromkeys(names, TEXT), form))[2]) == names
    assert os.fsencode(names[1]) == b"\xff\xfe.jpg"


def test_names_of_zip_give_their_bytes_back() -> None:
    data = zip_of({"plain": TEXT, "ü": TEXT})
    assert list(walk(data)[2]) == ["plain", "ü"]
    raw = zip_of({"abcd": TEXT}).replace(b"abcd", b"\x81\xff\x01z")  # no UTF-8: code page 437
    (name,) = walk(raw)[2]
    assert name.encode("cp437") == b"\x81\xff\x01z"
    flagged = bytearray(zip_of({"ab": TEXT, "ü": TEXT}).replace("ü".encode(), b"\xff\xfe"))
    assert len(walk(bytes(flagged))[2]) == 2  # zipfile refuses the whole archive for this name
    with pytest.raises(UnicodeDecodeError):
        zipfile.ZipFile(io.BytesIO(bytes(flagged)))


@pytest.mark.parametrize("name", ["../../etc/x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a\0b", "\x1b[31m"])
def test_no_name_leads_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    before = sorted(tmp_path.rglob("*"))
    archive = zip_of({"x" * len(name): TEXT}).replace(b"x" * len(name), name.encode())
    assert walk(archive)[2] == {name: TEXT}
    if "\0" not in name:
        assert walk(tar_of({name: TEXT}))[2] == {name: TEXT}
        assert walk(mail_of({name.replace("\x1b", ""): TEXT}))[1] is None
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_comes_twice_gets_a_number() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, name in enumerate(["a", "a", "a#2", "a", ""]):
            info = tarfile.TarInfo(name)
            info.size = 1
            archive.addfile(info, io.BytesIO(bytes([number])))
    read = walk(file.getvalue())[2]
    assert read == {"a": b"\0", "a#2": b"\1", "a#2#2": b"\2", "a#3": b"\3", "(no name)": b"\4"}


def test_paths_have_a_bearable_length_and_stay_apart() -> None:
    inner = zip_of({f"{n}.jpg": b"" for n in range(50)})
    outer = zip_of({"n" * 60_000 + ".zip": inner, "n" * 60_000 + ".jpg": TEXT, "a.jpg": TEXT})
    members, error, read = walk(outer)
    assert error is None
    assert len(read) == len(members) == 53
    assert max(len(member.path) for member in members) <= 4096
    for n in range(50):
        assert members[n].path.endswith(f".zip!/{n}.jpg")
    assert read[members[51].path] == read["a.jpg"] == TEXT
    assert (members[51].path[:2000], members[51].path[-4:]) == ("n" * 2000, ".jpg")
    assert [member.path for member in walk(outer)[0]] == [member.path for member in members]
    _, error, _ = walk(outer, ArchiveLimits(total=100_000))
    assert error is not None
    assert error.reason == "archive_bomb"  # 50 paths of 4 kB from an archive of 1 kB
    assert len(walk(tar_of({"d/" * 2048 + "x": TEXT}))[2]) == 1


def test_what_is_no_mail_is_not_taken_for_it() -> None:
    for text in (
        b"Title: a poem\nFrom: heaven\n\nhigh",
        b"From here to there\n",
        b"a,b,c\n1,2,3\n",
    ):
        assert kind_of(text, "a.txt") is None
    assert kind_of(b"Subject: x\n\n", "a.eml") is Kind.EML
    assert kind_of(bytes(600), "a.tar") is None
    for name in ("7z\xbc\xaf\x27\x1c", "Rar!\x1a\x07\0", "MSCF\0\0\0\0"):
        _, error, _ = walk(name.encode("latin-1") + bytes(99))
        assert error is not None
        assert error.reason == "unsupported"


@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "DDS", "ICNS", "PCX", "SGI"]
)  # fmt: skip
def test_a_picture_is_no_tar_file_whatever_its_header_sums_up_to(form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 260), (9, 99, 199)).save(file, form)
    block = file.getvalue()[:512].ljust(512, b"\0")
    for first, kind in ((block[:100], None), (b"a" * 100, Kind.TAR)):
        summed = first + block[100:148] + b" " * 8 + block[156:]
        stated = b"%06o\0 " % sum(summed)
        assert kind_of(summed[:148] + stated + summed[156:], "x") is kind


@pytest.mark.parametrize(
    "name", ["BMW-2020-07-108", "icns", "qoif", "8BPS", "DDS |", "P6 holiday.jpg", "II.jpg", "\x1b"]
)
def test_a_tar_file_may_begin_with_the_letters_of_a_picture(name: str) -> None:
    assert kind_of(tar_of({name: TEXT}, tarfile.USTAR_FORMAT), "x") is Kind.TAR


def test_nested_archives_come_before_themselves_down_to_the_depth() -> None:
    inner = zip_of({"c.jpg": TEXT})
    middle = gzip.compress(tar_of({"inner.zip": inner, "b.jpg": TEXT}))
    outer = zip_of({"middle.tgz": middle, "a.jpg": TEXT})
    members, error, read = walk(outer)
    assert error is None
    assert [member.path for member in members] == [
        "middle.tgz!/inner.zip!/c.jpg", "middle.tgz!/inner.zip", "middle.tgz!/b.jpg", "middle.tgz", "a.jpg"
    ]  # fmt: skip
    assert read["middle.tgz!/inner.zip!/c.jpg"] == TEXT
    assert members[1].sha256 == hashlib.sha256(inner).hexdigest()
    assert members[3].sha256 == hashlib.sha256(middle).hexdigest()
    assert walk(outer, ArchiveLimits(depth=2))[2] == {
        "middle.tgz!/inner.zip": "too_deep", "middle.tgz!/b.jpg": TEXT, "middle.tgz": "archive",
        "a.jpg": TEXT,
    }  # fmt: skip
    assert walk(outer, ArchiveLimits(depth=1))[2] == {"middle.tgz": "too_deep", "a.jpg": TEXT}


def test_links_and_devices_are_no_files() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (
            ("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("f", tarfile.FIFOTYPE), ("d", tarfile.CHRTYPE)
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert walk(file.getvalue())[2] == {
        "s": "symlink", "h": "hard_link", "f": "special_file", "d": "special_file"
    }  # fmt: skip
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert walk(file.getvalue())[2] == {"link": "symlink"}


def test_an_encrypted_member_costs_itself() -> None:
    data = bytearray(zip_of({"secret.jpg": TEXT, "open.jpg": TEXT}))
    data[6] |= 1
    at = data.index(b"PK\1\2")
    data[at + 8] |= 1
    assert walk(bytes(data))[2] == {"secret.jpg": "encrypted", "open.jpg": TEXT}


def test_a_damaged_member_costs_itself() -> None:
    members = {name: os.urandom(2000) for name in "abc"}
    data = bytearray(zip_of(members, zipfile.ZIP_STORED))
    data[data.index(members["b"]) + 1000] ^= 1
    assert walk(bytes(data))[2] == members | {"b": "corrupt"}
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(bytes(data))).read("b")


@pytest.mark.parametrize("fault", ["lzma", "offset"])
def test_an_entry_that_a_library_fails_on_costs_itself(fault: str) -> None:
    """Properties of LZMA that there are none of, and a member that begins at nearly 2^64."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in "abc":
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HHQ", 0x9999, 8, (1 << 64) - 5)
            archive.writestr(info, TEXT)
    data = bytearray(file.getvalue())
    entry = data.index(b"PK\1\2")
    if fault == "lzma":
        struct.pack_into("<H", data, entry + 10, 14)
        at = data.index(TEXT)
        data[at : at + 9] = b"\x09\x14\5\0\xff" + struct.pack("<I", 1 << 16)
    else:
        struct.pack_into("<H", data, entry + 46 + 1, 1)
        struct.pack_into("<I", data, entry + 42, 0xFFFFFFFF)
    _, error, read = walk(bytes(data))
    assert error is None
    assert read == {"a": "corrupt", "b": TEXT, "c": TEXT}


def test_what_is_not_wanted_of_a_tar_file_is_not_read() -> None:
    class File(io.BytesIO):
        given = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.given += len(data)
            return data

    data = tar_of({"a": TEXT, "video": bytes(8 << 20), "b": TEXT})
    for whole in (True, False):
        file = File(data if whole else data[: 4 << 20])
        found = walk_archive(file, Kind.TAR, "a", Spent(ArchiveLimits(), len(data)), 1 << 20)
        names = [next(found).path, next(found).path]
        if whole:
            assert [*names, *(member.path for member in found)] == ["a", "video", "b"]
        else:
            with pytest.raises(ArchiveError, match="truncated"):
                next(found)
        assert file.given < 100_000


def test_every_truncation_of_every_kind_is_noticed() -> None:
    members = {f"{n}.bin": os.urandom(700) for n in range(4)}
    archives = [
        zip_of(members),
        tar_of(members),
        *(pack(tar_of(members)) for pack in PACKERS.values()),
    ]
    for data in archives:
        for cut in range(600, len(data) - 100, 97):
            part = data[: max(cut, HEAD // 8)]
            if kind_of(part[:HEAD], "a") is None:
                continue
            _, error, read = walk(part)
            whole = {name: got for name, got in read.items() if isinstance(got, bytes)}
            assert all(members[name] == got for name, got in whole.items())
            missing = len(whole) < len(members)
            complained = error is not None or any(isinstance(got, str) for got in read.values())
            assert complained or not missing, cut


def test_damage_in_a_tar_file_is_not_its_end() -> None:
    data = bytearray(tar_of({"a": TEXT, "b": TEXT}, tarfile.USTAR_FORMAT))
    data[data.index(b"b\0") + 120] ^= 0xFF
    _, error, read = walk(bytes(data))
    assert read == {"a": TEXT}
    assert error is not None
    assert error.reason == "corrupt"
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        assert archive.getnames() == ["a"]  # without a word
    both = tar_of({"a": TEXT}, tarfile.USTAR_FORMAT) + tar_of({"b": TEXT}, tarfile.USTAR_FORMAT)
    assert list(walk(both)[2]) == ["a", "b"]


def test_bombs_stop_at_their_limits() -> None:
    flat = zip_of({"a": bytes(3 << 20), "b": TEXT})
    assert walk(flat, most=1 << 20)[2] == {"a": "too_large", "b": TEXT}
    _, error, _ = walk(flat, ArchiveLimits(total=1 << 20), most=8 << 20)
    assert isinstance(error, LimitError)
    assert error.reason == "archive_bomb"
    _, error, read = walk(zip_of({"a": bytes(3 << 20)}), ArchiveLimits(total=1 << 20), most=8 << 20)
    assert (read, error and error.reason) == ({"a": "archive_bomb"}, "archive_bomb")
    many = zip_of({str(n): b"" for n in range(30)})
    members, error, _ = walk(many, ArchiveLimits(members=20))
    assert len(members) == 20
    assert error is not None
    assert error.reason == "too_many_members"


def test_members_that_overlap_are_counted_again_and_again() -> None:
    """Fifield's construction: a thousand entries that share one stream."""
    body = zip_of({"a": bytes(1 << 20)})
    at = body.index(b"PK\1\2")
    end = body.index(b"PK\5\6")
    entry = body[at:end]
    directory = b"".join(
        entry[:28] + struct.pack("<H", 4) + entry[30:46] + f"{n:04}".encode() for n in range(1000)
    )
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(directory), at, 0)
    members, error, _ = walk(body[:at] + directory + tail, most=2 << 20)
    assert error is not None
    assert error.reason == "archive_bomb"
    assert len(members) < 300


@pytest.mark.parametrize("kind", ["pax", "gnu", "sparse"])
def test_headers_that_announce_too_much(kind: str) -> None:
    info = tarfile.TarInfo("x")
    info.size = 1 << 40
    info.type = {"pax": b"x", "gnu": b"L", "sparse": b"S"}[kind]
    _, error, read = walk(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert error is not None
    assert error.reason in ("corrupt", "truncated")
    assert read in ({}, {"x": "unsupported"})


def test_a_dictionary_that_needs_too_much_memory() -> None:
    """Found by fuzzing: four bytes of an LZMA header asked for 3.5 GB."""
    data = bytearray(zip_of({"a": TEXT}, zipfile.ZIP_LZMA))
    at = data.index(b"\5\0\x5d")
    data[at + 3 : at + 7] = b"\xff\xff\xff\xd0"
    assert walk(bytes(data))[2] == {"a": "too_large"}
    packed = lzma.LZMACompressor(lzma.FORMAT_XZ)
    stream = bytearray(packed.compress(TEXT) + packed.flush())
    header = stream.index(b"\x21\x01") + 2  # filter, size of its properties, the dictionary's code
    stream[header] = 40  # 4 GiB
    block = (stream[12] + 1) * 4
    stream[12 + block - 4 : 12 + block] = struct.pack("<I", zlib.crc32(stream[12 : 12 + block - 4]))
    _, error, read = walk(bytes(stream), name="a.xz")
    assert read == {}
    assert error is not None
    assert error.reason == "too_large"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="sparse files are not told apart there")
def test_an_archive_on_disk_is_bounded_before_it_is_hashed(tmp_path: Path) -> None:
    sparse, whole = tmp_path / "0.zip", tmp_path / "1.zip"
    sparse.write_bytes(b"PK\3\4")
    os.truncate(sparse, 15 << 40)
    whole.write_bytes(zip_of({"a": os.urandom(5 << 20)}))
    limits = ArchiveLimits(packed=16 << 40)
    read = read_file(examine(str(sparse)), 1 << 20, limits)
    assert (read.file.reason, read.sha256) == ("archive_bomb", "")
    assert "of which the disk holds" in (read.file.detail or "")
    read = read_file(examine(str(sparse)), 1 << 20, ArchiveLimits())
    assert (read.file.reason, read.file.detail) == (
        "too_large",
        f"{15 << 40} bytes, the limit is {1 << 40}",
    )
    read = read_file(examine(str(whole)), 1 << 20, limits)
    assert read.sha256 == hashlib.sha256(whole.read_bytes()).hexdigest()
    looks = iter((False, False, True))
    read = read_file(examine(str(whole)), 1 << 20, limits, lambda: next(looks))
    assert (read.file.reason, read.sha256) == ("unreadable", "")  # not asked again after that


def test_limits_are_read_from_a_line() -> None:
    assert ArchiveLimits.parse("") == ArchiveLimits()
    assert ArchiveLimits.parse("depth=5, ratio=1000") == ArchiveLimits(depth=5, ratio=1000)
    for text in ("depth", "depth=0", "depth=-1", "size=3", "ratio=1e3"):
        with pytest.raises(InputError, match="is not a limit on archives"):
            ArchiveLimits.parse(text)
