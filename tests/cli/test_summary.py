"""What ``code-scan`` says at its end."""

import csv
import gzip
import re
from pathlib import Path

from tests.cli.in_process import run
from tests.conftest import draw_photo
from tests.engine.test_archives import mail_of, tar_of, zip_of


def test_a_scan_of_nothing_says_why(space: Path, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    draw_photo(tmp_path / "dir" / "sub" / "a.jpg", 1)
    (tmp_path / "empty").mkdir()
    for arguments, why in (
        ((tmp_path / "empty",), "the folder holds no file"),
        ((tmp_path / "dir", "--include", "*.JPG"), "1 left out by --include (case counts)"),
        ((tmp_path / "dir", "--exclude", "sub"), "there is none but for what --exclude"),
        ((tmp_path / "dir", "--no-recurse"), "--no-recurse"),
    ):
        said = run("code-scan", *arguments, "--workspace", space).stdout
        assert "no file was scanned: " in said and why in said
        assert "0 files" not in said and "left out by --include and" not in said


def test_the_summary_names_what_failed(space: Path, broken: Path) -> None:
    said = run("code-scan", broken, "--workspace", space).stdout
    failed = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1 and "cut.jpg (truncated: " in failed[0]
    assert "more failed" not in said and "\x1b" not in said
    for number in range(6):
        (broken / f"{number}.jpg").write_bytes((broken / "b.jpg").read_bytes()[: 500 + number])
    said = run("code-scan", broken, "--workspace", space).stdout
    failed = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert [Path(line.split(" (")[0]).name for line in failed] == [f"{n}.jpg" for n in range(5)]
    assert re.search(r"and 2 more failed: code-report export \d+ --csv -", said)


def test_a_scan_of_few_files_shows_each(space: Path, broken: Path) -> None:
    names = ("b.jpg", "cut.jpg", "text.jpg")
    said = run("code-scan", *(broken / name for name in names), "--workspace", space).stdout
    found = dict(re.findall(r"^(?:failed|skipped|inconclusive) .*seized/(\S+) \((\w+)", said, re.M))
    assert found == {
        "b.jpg": "uncalibrated", "cut.jpg": "truncated", "text.jpg": "not_an_image",
    }  # fmt: skip
    assert "failed: " not in said


def test_closed_archives_are_counted(space: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    picture = draw_photo(photos / "a.jpg", 7).read_bytes()
    (photos / "b.docx").write_bytes(zip_of({"a.jpg": picture}))
    (photos / "c").write_bytes(tar_of({"a.jpg": picture}))
    (photos / "d.eml").write_bytes(mail_of({"a.jpg": picture}))
    (photos / "e.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50))  # which nothing here opens
    (photos / "f.txt").write_text("a text")
    scan = ("code-scan", photos, "--workspace", space)
    said = "of 5 not_an_image 3 are archives or mail: code-scan --archives scans what they hold"
    for again in ((), ("--isolate", "all"), ("--rehash", "--retry-failed"), ("--processes", "2")):
        assert said in run(*scan, *again).stdout.splitlines(), again
    run(*scan, "--csv", tmp_path / "r.csv")
    rows = csv.DictReader((tmp_path / "r.csv").read_text("utf-8").splitlines())
    assert [row["format"] for row in rows] == ["JPEG", "ZIP", "TAR", "EML", "7Z", ""]
    quiet = run(*scan, "-q")
    assert not quiet.stdout and not quiet.stderr
    assert "--archives" not in run(*scan, "--archives").stdout
    assert said in run(*scan).stdout.splitlines()


def test_one_closed_archive_is_one(space: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a text"))
    said = run("code-scan", tmp_path / "a.gz", "--workspace", space).stdout
    assert "of 1 not_an_image 1 is an archive or mail: " in said
