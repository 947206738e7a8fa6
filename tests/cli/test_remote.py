"""``code-scan`` of addresses: rows, caches and reports are those of the same files on disk."""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_forensics.engine.files import remote

from tests.cli.in_process import run
from tests.conftest import draw_photo
from tests.engine.http_server import Server, serving
from tests.engine.test_archives import tar_of


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", folder / "smooth"),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    return folder / "ws"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    remote._system.cache_clear()
    with serving() as running:
        yield running
    remote._system.cache_clear()


@pytest.fixture
def photos(tmp_path: Path, server: Server) -> Path:
    """A folder that the server serves too: photos, a copy, a broken one, and a shard of two."""
    folder = tmp_path / "photos"
    for number in range(4):
        draw_photo(folder / f"{number}.jpg", 500 + number, smooth=1 + 15 * (number % 2))
    (folder / "copy.jpg").write_bytes((folder / "2.jpg").read_bytes())
    (folder / "cut.jpg").write_bytes((folder / "0.jpg").read_bytes()[:700])
    members = {f"{n:05}.{suffix}": draw_photo(tmp_path / f"{n}.{suffix}", 600 + n).read_bytes()
               for n in range(2) for suffix in ("jpg", "png")}  # fmt: skip
    (folder / "shard.tar").write_bytes(tar_of(members))
    server.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return folder


def scan(space: Path, *arguments: str | Path) -> list[dict[str, str]]:
    report = space.parent / "report.csv"
    run("code-scan", *arguments, "--csv", report, "-q", "--workspace", space)
    return list(csv.DictReader(io.StringIO(report.read_text(encoding="utf-8"), newline="")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_an_archive_without_room_costs_itself(
    space: Path, photos: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"

    def full(prefix: str) -> tuple[int, str]:
        spool.touch()
        return os.open("/dev/full", os.O_WRONLY), str(spool)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    rows = scan(space, server.url("shard.tar"), server.url("0.jpg"), "--archives", "--reembed")
    assert [row["reason"] for row in rows if not row["verdict"]] == ["unreadable"]
    assert [row["status"] for row in rows] == ["scanned", "failed"]
    shown = run("code-report", "show", "latest", "shard.tar", "--workspace", space).stdout
    assert "temporary files: No space left" in " ".join(shown.split())
    assert not spool.exists()


def test_addresses_give_the_rows_of_the_files(
    space: Path, photos: Path, server: Server, tmp_path: Path
) -> None:
    spools = set(Path(tempfile.gettempdir()).glob("code-forensics-*"))
    urls = [server.url(name) for name in sorted(server.files)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join([*urls[1:], server.url("gone.jpg")]))
    wanted = (urls[0], "--list", listed, "--archives", "--reembed")
    there = scan(space, *wanted)
    assert (there.pop(6)["reason"], len(there)) == ("vanished", 11)  # gone.jpg, after cut.jpg
    here = scan(space, photos, "--archives", "--reembed")
    base, local = server.url(""), f"{photos}/"
    for row, expected in zip(there, here, strict=True):
        assert {name: value.replace(base, local) for name, value in row.items()} == expected
    assert sum(row["container"] == server.url("shard.tar") for row in there) == 4
    assert spools == set(Path(tempfile.gettempdir()).glob("code-forensics-*"))

    server.asked.clear()
    again = scan(space, *wanted[:-1])
    assert {row["status"] for row in again if row["verdict"]} == {"cached"}
    assert {asked for asked in server.asked if asked.startswith("GET")} == {
        "GET gone.jpg",  # after HEAD, fsspec asks so too
        "GET shard.tar",  # archives are fetched again
    }
    run("code-report", "export", "latest", "--json", tmp_path / "r.json", "--workspace", space)
    record = json.loads((tmp_path / "r.json").read_text())["run"]["arguments"]
    assert record["paths"] == [urls[0]]
    assert [(one["path"], one["entries"]) for one in record["lists"]] == [(str(listed), 7)]

    server.asked.clear()
    run("code-report", "export", "latest", "--html", tmp_path / "r.html", "--workspace", space)
    assert not server.asked  # a report asks no server
    verified = run("code-report", "verify", "latest", "--jsonl", "-", "--workspace", space)
    outcomes = [json.loads(line)["outcome"] for line in verified.stdout.splitlines()]
    assert outcomes.count("reproduced") == 11 and set(outcomes) == {"reproduced", "unread"}


def test_a_query_is_no_suffix(space: Path, photos: Path, server: Server) -> None:
    (row,) = scan(space, server.url("0.jpg?name=a.png"))
    assert row["verdict"] and "suffix" not in row["provenance"]


def test_a_file_that_was_given_is_no_list(space: Path, photos: Path, server: Server) -> None:
    (photos / "urls.txt").write_text(server.url("0.jpg"))
    (row,) = scan(space, photos / "urls.txt")
    assert row["reason"] == "not_an_image" and not server.asked


@pytest.mark.skipif(os.name != "posix", reason="the shell's pipes")
def test_lists_come_through_pipes(space: Path, photos: Path) -> None:
    """Names from find(1), one with a line feed, on stdin and by process substitution."""
    odd = photos / "two\nlines.jpg"
    odd.write_bytes((photos / "0.jpg").read_bytes())
    program = Path(sys.executable).with_name("code-scan")
    scan = f"{program} --workspace {space} -q --csv -"
    for command, count in (
        (f"ls {photos}/[01].jpg | {scan} --list -", 2),
        (f"ls {photos}/[01].jpg | {scan} --list /dev/stdin", 2),
        (f"{scan} --list <(find {photos} -name '[0t]*.jpg' -print0)", 2),
    ):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
        assert len(rows) == count and {row["verdict"] != "" for row in rows} == {True}
    odd.unlink()


def test_a_list_that_is_none_is_said(space: Path, photos: Path) -> None:
    for wrong, words in ((photos / "0.jpg", "is not a list"), (photos / "x", "cannot be read")):
        ran = run("code-scan", "--list", wrong, "--workspace", space, code=2)
        assert words in ran.stderr
    assert "no PATH is given" in run("code-scan", "--workspace", space, code=2).stderr


def test_an_address_of_another_kind_is_named_as_it_was_given(space: Path) -> None:
    done = run("code-scan", "ftp://x.org/y.jpg", "--workspace", space, code=2)
    assert "'ftp://x.org/y.jpg' is not read" in done.stderr
    assert "only from s3, gs, http, https addresses" in done.stderr
