"""Files at addresses: read through fsspec from servers on this machine, good ones and bad ones."""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from code_forensics.engine.errors import InputError
from code_forensics.engine.files import remote
from code_forensics.engine.files.addresses import (
    fault,
    is_address,
    is_prefix,
    suffix_of,
    without_password,
)
from code_forensics.engine.files.discover import WalkOptions, walk
from code_forensics.engine.files.found import FoundFile
from code_forensics.engine.files.lists import FileList, read_list
from code_forensics.engine.files.read import read_file
from code_forensics.engine.files.shard import Shard, place_in_walk

from tests.engine.http_server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "SILENCE", 0.3)
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    remote._system.cache_clear()
    with serving() as running:
        yield running
    remote._system.cache_clear()


def test_a_file_is_read_and_known_again(server: Server) -> None:
    server.files["a.jpg"] = b"picture" * 1000
    (file,) = walk([server.url("a.jpg")])
    assert (file.path, file.bytes, file.reason) == (server.url("a.jpg"), 7000, None)
    assert file.inode and file == remote.examine(file.path)
    read = read_file(file, 7000)
    assert read.data == server.files["a.jpg"]
    assert read.sha256 == hashlib.sha256(server.files["a.jpg"]).hexdigest()
    assert server.asked == {"HEAD a.jpg": 2, "GET a.jpg": 1}


def test_what_has_no_version_is_never_taken_for_unchanged(server: Server) -> None:
    server.files["plain.jpg"] = b"12345"
    (file,) = walk([server.url("plain.jpg")])
    assert (file.bytes, file.mtime_ns, file.inode) == (None, 0, 0)
    assert read_file(file, 100).data == b"12345"


@pytest.mark.parametrize(
    ("name", "reason", "words", "gets"),
    [
        ("missing", "vanished", "nothing at the address", 1),
        ("down", "unreadable", "500", remote.TRIES),
        ("forbidden", "unreadable", "403", 1),
        ("cut", "unreadable", "", remote.TRIES),
        ("hangs", "unreadable", "Timeout", remote.TRIES),
        ("grown", "changed", "6 bytes came where 5 were announced", 1),
        ("endless", "too_large", "limit of 100000 bytes", 1),
        ("to-file", "unreadable", "file:///etc/passwd", 1),
        ("to-loop", "unreadable", "Redirect", None),
        ("flaky", None, "", 3),
        ("no-head", None, "", 1),
        ("to-flaky", None, "", None),
    ],
)
def test_what_goes_wrong_is_a_reason(
    server: Server, name: str, reason: str | None, words: str, gets: int | None
) -> None:
    file = remote.examine(server.url(name))
    if file.reason is None:
        server.asked.clear()
        read = read_file(replace(file), 100_000)
        assert (read.data is None) == (reason is not None)
        file = read.file
        assert gets in (None, server.asked[f"GET {name}"])
    assert file.reason == reason
    assert words in (file.detail or "") and (file.detail or "").isprintable()


@pytest.mark.parametrize(("name", "most"), [("to-loop", 11), ("to-file", 1)])
def test_redirects_that_lead_nowhere_are_followed_once(
    server: Server, name: str, most: int
) -> None:
    """By each of the three questions: HEAD and GET for what there is, GET for its bytes."""
    file = remote.examine(server.url(name))
    assert read_file(file, 1000).file.reason == "unreadable"
    assert 0 < server.asked[f"HEAD {name}"] <= most
    assert 0 < server.asked[f"GET {name}"] <= 2 * most


def test_a_server_that_is_not_there_is_a_reason(server: Server) -> None:
    server.server_close()
    (file,) = walk([server.url("a.jpg")])
    assert file.reason is None  # whether it can be read is not settled yet
    read = read_file(file, 100)
    assert (read.data, read.file.reason) == (None, "unreadable")


def test_too_large_is_not_asked_for(server: Server) -> None:
    server.files["a.jpg"] = bytes(101)
    (file,) = walk([server.url("a.jpg")])
    assert read_file(file, 100).file.reason == "too_large"
    assert not server.asked["GET a.jpg"]


def test_a_size_that_no_file_has_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Liar:
        def info(self, address: str) -> dict[str, object]:
            return {
                "size": 1 << 63,
                "ETag": "one",
                "Last-Modified": "Fri, 01 Jan 2300 00:00:00 GMT",
            }

    monkeypatch.setattr(remote, "_system", lambda scheme: Liar())
    assert remote.examine("https://a.org/b.jpg").bytes is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("https://user:secret@example.org/a.jpg", "password"),
        ("file:///etc/passwd", "nothing is read from file:"),
        ("ftp://example.org/a.jpg", "nothing is read from ftp:"),
        ("simplecache::file:///etc/passwd", "nothing is read from simplecache:"),
        ("http://", "without a host"),
        ("http://[::1/a.jpg", ""),
        ("http://example.org:port/a.jpg", ""),
        ("http://example.org/a\x1b.jpg", "control"),
        ("s3:///key.jpg", "without a host or bucket"),
    ],
)
def test_addresses_that_are_not_read(address: str, words: str) -> None:
    assert words in (fault(address) or "never")
    with pytest.raises(InputError) as refused:
        walk([address])
    assert "secret" not in str(refused.value)
    (row,) = walk([], listed=[address])
    assert row.reason == "unreadable" and "secret" not in f"{row}"
    assert row.path == without_password(address)


@pytest.mark.parametrize("path", ["a.jpg", "C:/a.jpg", "./http://x", "a:b", "/s3://b", "s3:/b/k"])
def test_paths_are_no_addresses(path: str) -> None:
    assert not is_address(path) and fault(path) is None


def test_prefixes_end_with_a_slash() -> None:
    assert all(map(is_prefix, ["s3://b", "gs://b/", "S3://b/p/"]))
    assert not any(map(is_prefix, ["s3://b/p", "http://h/", "https://h"]))


def test_suffixes_are_not_those_of_queries() -> None:
    assert suffix_of("http://h/a.JPG?name=b.png#c.gif") == ".JPG"
    assert suffix_of("s3://b/odd?.png") == ".png"
    assert suffix_of("dir.x/a.tar.gz") == ".gz"


def test_lists_of_text_and_parquet(server: Server, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    entries = ["b.jpg", "# not a comment.jpg", " lead.jpg", server.url("x.jpg"), "caf\udce9.jpg"]
    text = tmp_path / "list.txt"
    text.write_bytes("\r\n".join(["", *entries, ""]).encode("utf-8", "surrogateescape"))
    assert read_list(str(text)).entries == tuple(entries)
    for column in ("path", "url"):
        table = pyarrow.table({"other": [1, 2], column: ["a.jpg", "s3://b/c.jpg"]})
        parquet.write_table(table, tmp_path / "list")
        assert read_list(str(tmp_path / "list")).entries == ("a.jpg", "s3://b/c.jpg")
    server.files["list"] = (tmp_path / "list").read_bytes()
    assert read_list(server.url("list")).entries == ("a.jpg", "s3://b/c.jpg")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\0\0", "is not a list"),
        (b"a\n" * 40_000 + b"\0b", "is not a list"),
        (b"PAR1 and no more", "damaged Parquet"),
        (b"", "empty"),
    ],
)
def test_what_is_no_list(data: bytes, words: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_list(str(tmp_path / "x"))


def test_names_separated_by_nul_are_taken_as_they_are(tmp_path: Path) -> None:
    names = ["a.jpg", "two\nlines\r.jpg", "caf\udce9.jpg"]
    data = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape")
    for written in (data, data[:-1]):
        (tmp_path / "list").write_bytes(written)
        assert read_list(str(tmp_path / "list")).entries == tuple(names)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_pipe_that_is_named_is_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read(data: bytes) -> FileList:
        writer = threading.Thread(target=pipe.write_bytes, args=[data])
        writer.start()
        try:
            return read_list(str(pipe))
        finally:
            writer.join()

    data = b"a.jpg\nb.jpg\n" * 20_000  # more than a pipe holds
    assert read(data).entries == ("a.jpg", "b.jpg") * 20_000
    assert read(data).sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="empty"):
        read(b"")
    monkeypatch.setattr("code_forensics.engine.files.lists.LIST_BYTES", 5)
    with pytest.raises(InputError, match="limit is 5 bytes"):
        read(b"a.jpg\n")


def test_parquet_needs_a_column_of_text(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for table in ({"file": ["a"]}, {"path": [1]}, {"path": ["a", None]}):
        parquet.write_table(pyarrow.table(table), tmp_path / "x")
        with pytest.raises(InputError):
            read_list(str(tmp_path / "x"))


def test_listed_files_come_in_order_each_once(server: Server, tmp_path: Path) -> None:
    for name in ("d/1.jpg", "d/2.jpg", "a.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        server.files[name] = b"x"
    urls = [server.url(f"{n}.jpg") for n in "cab"]
    listed = [str(tmp_path / "z.jpg"), *urls, *urls, str(tmp_path / "gone"), str(tmp_path / "d")]
    found = list(walk([tmp_path / "d" / "1.jpg"], listed=listed))
    assert [(file.path, file.reason) for file in found] == [
        (str(tmp_path / "d" / "1.jpg"), None),
        (str(tmp_path / "d" / "2.jpg"), None),
        (str(tmp_path / "gone"), "vanished"),
        (str(tmp_path / "z.jpg"), None),
        (server.url("a.jpg"), None),
        (server.url("b.jpg"), "vanished"),
        (server.url("c.jpg"), "vanished"),
    ]
    parts = [
        [f.path for f in walk([], WalkOptions(shard=Shard(n, 2)), [str(tmp_path), *urls])]
        for n in (1, 2)
    ]
    whole = [f.path for f in walk([], None, [str(tmp_path), *urls])]
    assert all(parts) and sorted(parts[0] + parts[1], key=place_in_walk([], True)) == whole
    jpgs = WalkOptions(include=("a.*",), exclude=("d",))
    assert [f.path for f in walk([tmp_path], jpgs, urls)] == [str(tmp_path / "a.jpg"), urls[1]]


def test_counting_asks_no_server(server: Server) -> None:
    server.files["a.jpg"] = b"x"
    files = replace(walk([server.url("a.jpg"), server.url("b.jpg")]), look=False)
    assert [file.reason for file in files] == [None, None]
    assert not server.asked


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of a bucket in an S3 server on this machine."""
    pytest.importorskip("s3fs")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        remote._system.cache_clear()
        system = remote._system("s3")
        system.mkdir("evidence")
        for key in ("a/2.jpg", "a/10.jpg", "a-b/1.jpg", "a/sub/x.jpg", "top.jpg", "odd//1.jpg"):
            system.pipe_file(f"evidence/{key}", key.encode())
        yield "s3://evidence"
    remote._system.cache_clear()
    server.stop()


def test_a_bucket_is_walked_as_a_folder(bucket: str) -> None:
    found = list(walk([f"{bucket}/"]))
    assert [file.path.removeprefix(bucket) for file in found] == [
        *("/a/10.jpg", "/a/2.jpg", "/a/sub/x.jpg", "/a-b/1.jpg", "/odd/", "/top.jpg"),
    ]
    refused = found.pop(4)
    assert refused.reason == "unreadable_directory" and "empty part" in (refused.detail or "")
    for file in found:
        assert file.mtime_ns and file.inode and file.reason is None
        assert file == replace(remote.examine(file.path, file.root), mtime_ns=file.mtime_ns)
        assert read_file(file, 100).data == file.path.removeprefix(f"{bucket}/").encode()
    below = WalkOptions(recurse=False)
    assert [f.path for f in walk([bucket], below)] == [f"{bucket}/top.jpg"]
    without = WalkOptions(exclude=("sub", "a-*", "odd"))
    assert len(list(walk([bucket, f"{bucket}/a/2.jpg"], without))) == 3


def test_what_is_not_in_a_bucket_is_a_reason(bucket: str) -> None:
    rows = walk([f"{bucket}/none.jpg", f"{bucket}/a", "s3://no-such-bucket/"])
    assert [(row.reason, bool(row.detail)) for row in rows] == [
        ("vanished", True),
        ("vanished", True),
        ("unreadable_directory", True),
    ]
    assert read_file(FoundFile(f"{bucket}/none.jpg"), 9).file.reason == "vanished"
    assert read_file(FoundFile(f"{bucket}/top.jpg"), 5).file.reason == "too_large"


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    remote._system.cache_clear()
    with pytest.raises(InputError) as refused:
        walk(["s3://bucket/a.jpg"])
    assert "code-forensics[remote]" in refused.value.hint
