"""Archives walked in a process that may be lost."""

import io
import os
from pathlib import Path

import pytest
from code_forensics.engine.archives import worker
from code_forensics.engine.archives.kinds import HEAD, kind_of
from code_forensics.engine.archives.limits import ArchiveLimits
from code_forensics.engine.archives.walker import ArchiveFile, FoundMember, Refused, Walker
from code_forensics.engine.isolation.framing import receive, send

from tests.engine.archive_samples import ROOT, TEXT, tar_of, zip_of


def archive_file(path: Path, name: str = "a") -> ArchiveFile:
    return seen_as(path, path.read_bytes()[:HEAD], name)


def seen_as(path: Path, head: bytes, name: str = "a") -> ArchiveFile:
    """As :func:`archive_file`, of a file that is not opened for it."""
    status, kind = path.stat(), kind_of(head, name)
    assert kind is not None
    return ArchiveFile(
        str(path), kind, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
    )


def drain(walker: Walker, file: ArchiveFile) -> tuple[dict[str, bytes | Refused], Refused]:
    found, read = walker.open(file), {}
    while isinstance(found, FoundMember):
        read[found.path] = Refused(found.reason, found.detail) if found.reason else walker.read()
        found = walker.next()
    return read, found


def test_the_process_says_what_this_one_would(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of({"a.jpg": TEXT, "n.tar": tar_of({"\udcff": TEXT})}))
    walker = Walker(ArchiveLimits(), 1 << 20, 60)
    for _ in range(2):
        read, end = drain(walker, archive_file(path))
        assert end == Refused(None)
        assert read == {
            "a.jpg": TEXT, "n.tar!/\udcff": TEXT, "n.tar": Refused("archive")
        }  # fmt: skip
    old = archive_file(path)
    path.write_bytes(zip_of({"b.jpg": TEXT}))
    assert drain(walker, old)[1].reason == "changed"
    path.unlink()
    assert drain(walker, old)[1].reason == "unreadable"
    walker.close()


@pytest.mark.skipif(not hasattr(os, "O_NOATIME"), reason="Linux keeps access times")
def test_an_archive_keeps_its_access_time(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    content = zip_of({"a.jpg": TEXT})
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    walker = Walker(ArchiveLimits(), 1 << 20, 60)
    read, _ = drain(walker, seen_as(path, content[:HEAD]))
    walker.close()
    assert read == {"a.jpg": TEXT}
    assert path.stat().st_atime_ns == 0


def test_a_path_that_no_message_holds_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"\U0001f600" * 100_000: TEXT, "b": TEXT}))
    walker = Walker(ArchiveLimits(), 1 << 20, 60)
    read, end = drain(walker, archive_file(path))
    walker.close()
    assert end == Refused(None)
    assert list(read.values()) == [TEXT, TEXT]


def test_every_read_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what comes to no member, such as zeros between two tar files."""
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"a": TEXT}) + bytes(1 << 20) + tar_of({"b": TEXT}))
    file = archive_file(path)
    stat = [file.size, file.mtime_ns, file.inode, file.device]
    requests, answers = io.BytesIO(), io.BytesIO()
    request = {"open": file.path, "kind": "TAR", "stat": stat, "limits": {}, "max_bytes": 1 << 20}
    send(requests, request | {"timeout": 60.0})
    send(requests, {"next": True})
    requests.seek(0)
    monkeypatch.setattr(worker, "ALIVE_SECONDS", -1.0)
    monkeypatch.setattr(worker, "alarm", lambda seconds: None)
    served = worker._Worker(requests, answers)
    served.serve()
    assert served._file is not None
    served._file.close()
    answers.seek(0)
    said = []
    while (answer := receive(answers, 0)[0]).get("path") != "b":
        said.append(answer.get("path") or next(iter(answer)))
    assert said[said.index("a") + 1 :].count("alive") > 16


@pytest.mark.parametrize(
    ("word", "reason", "said"),
    [
        ("CRASH", "decoder_crashed", "SIGSEGV"),
        ("HANG", "decode_timeout", "no sign of life for 3 s"),
    ],
)
def test_what_happens_to_the_process_costs_one_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, reason: str, said: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    bad, good = tmp_path / "bad.zip", tmp_path / "good.zip"
    bad.write_bytes(zip_of({"a": TEXT, word: TEXT, "b": TEXT}))
    good.write_bytes(zip_of({"a": TEXT}))
    walker = Walker(ArchiveLimits(), 1 << 20, 3.0, "tests.engine.bad_archive_worker")
    read, end = drain(walker, archive_file(bad))
    assert read == {"a": TEXT}
    assert (end.reason, said in end.detail) == (reason, True)
    assert drain(walker, archive_file(good)) == ({"a": TEXT}, Refused(None))
    walker.close()
    assert drain(walker, archive_file(good))[1].reason == "unreadable"  # nothing starts again


def test_the_process_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of({"WRITE": TEXT}))
    walker = Walker(ArchiveLimits(), 1 << 20, 60.0, "tests.engine.bad_archive_worker")
    _, end = drain(walker, archive_file(path))
    walker.close()
    if os.name == "posix":
        assert end.reason in ("unreadable", "decoder_crashed")
        assert [p.stat().st_size for p in tmp_path.iterdir() if p != path] == [0]
