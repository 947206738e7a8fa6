"""What ``code-scan`` says at its end."""

import re
from pathlib import Path

from tests.cli.in_process import run
from tests.conftest import draw_photo


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
