"""Shards merged: the scan that one run would have given, in one piece, once."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from code_forensics.index import merge
from code_forensics.index.workspace import Workspace

from tests.cli.in_process import run
from tests.conftest import draw_photo

SHARDS = 4
PAGE = Path(__file__).parents[2] / "index" / "SCALING.md"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with copies far apart, broken ones, and some that are left out."""
    folder = tmp_path_factory.mktemp("tree")
    for number in range(10):
        draw_photo(folder / "in" / f"{number % 3}" / f"{number}.png", number)
    for number in range(8):
        shutil.copy(folder / "in" / "0" / "0.png", folder / "in" / f"copy{number}.png")
        shutil.copy(folder / "in" / "1" / "4.png", folder / "in" / "2" / f"again{number}.jpg")
    photo = (folder / "in" / "1" / "1.png").read_bytes()
    for number in range(6):
        (folder / "in" / f"cut{number}.png").write_bytes(photo[:3000])
        (folder / "in" / f"left-out{number}.gif").touch()
    (folder / "in" / "empty.jpg").touch()
    (folder / "in" / "text.jpg").write_text("no picture " * 30)
    (folder / "in" / "dangling.jpg").symlink_to(folder / "nowhere")
    os.rename(draw_photo(folder / "x.png", 77), os.fsencode(folder) + b"/in/=a\xff\n.png")
    return folder / "in"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, labelled: Path, small_checkpoint: Path) -> Path:
    """A workspace with a gallery and nothing else."""
    folder = tmp_path_factory.mktemp("base") / "ws"
    run(
        *("code-index", "build", "mine", "--real", labelled / "real", "--fake", labelled / "fake"),
        *("--weights", small_checkpoint, "-q", "--workspace", folder),
    )
    return folder


def scan(tree: Path, space: Path, *more: str) -> None:
    run("code-scan", tree, "--exclude", "*.gif", "-q", *more, "--workspace", space)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, base: Path, tree: Path) -> list[Path]:
    """A workspace for each shard, restored from one backup."""
    folder = tmp_path_factory.mktemp("shards")
    run("code-index", "backup", folder / "base.zip", "--workspace", base)
    spaces = [folder / f"shard-{number}" for number in range(1, SHARDS + 1)]
    for number, space in enumerate(spaces, 1):
        run("code-index", "restore", folder / "base.zip", "--workspace", space)
        scan(tree, space, "--shard", f"{number}/{SHARDS}")
    return spaces


@pytest.fixture
def target(tmp_path: Path, base: Path) -> Path:
    """A copy of the base, to merge into."""
    return Path(shutil.copytree(base, tmp_path / "target"))


def export(space: Path, kind: str) -> bytes:
    file = space.parent / f"{space.name}.{kind}"
    run("code-report", "export", "latest", f"--{kind}", file, "--workspace", space)
    return file.read_bytes()


def test_four_shards_are_one_run(base: Path, tree: Path, shards: list[Path], target: Path) -> None:
    plain = target.with_name("plain")
    shutil.copytree(base, plain)
    scan(tree, plain)
    run("code-index", "merge", *shards[::-1], "--workspace", target)
    table = export(target, "csv")
    assert table == export(plain, "csv")
    assert table.count(b",duplicate,") == 16 and table.count(b",failed,truncated,") == 6
    one, other = (json.loads(export(space, "json")) for space in (plain, target))
    assert one["files"] == other["files"]
    assert one["summary"] == other["summary"]
    assert one["summary"]["results_sha256"] and one["summary"]["left_out"] == 6
    merged = other["run"].pop("merged")
    assert [part["shard"] for part in merged["shards"]] == ["4/4", "3/4", "2/4", "1/4"]
    times = {"id", "started", "finished"}
    assert all(one["run"][name] == other["run"][name] for name in one["run"].keys() - times)
    # Some copies lie in other shards than what they copy: each shard embedded them.
    alone = b"".join(export(space, "csv") for space in shards)
    assert alone.count(b",duplicate,") < 16
    run("code-report", "verify", "latest", "--workspace", target)


def test_a_shard_that_no_merge_could_put_in_order_is_refused(tree: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tree / 'empty.jpg'}\n")
    asked = ("--list", listed, "--no-recurse", "--shard", "1/4", "--workspace", tmp_path / "ws")
    said = run("code-scan", tree, *asked, code=2)
    assert "do not go together" in said.stderr and "list the files themselves" in said.stderr
    assert not (tmp_path / "ws").exists()


def test_what_the_shards_learnt_is_known_here(shards: list[Path], target: Path, tree: Path) -> None:
    run("code-index", "merge", *shards, "--workspace", target)
    scan(tree, target)
    again = json.loads(export(target, "json"))["summary"]["by_status"]
    assert again == {"cached": 27, "failed": 6, "skipped": 3}
    run("code-report", "rejudge", "1", "--workspace", target)


def test_merging_again_changes_nothing(shards: list[Path], target: Path) -> None:
    run("code-index", "merge", *shards, "--workspace", target)
    before = export(target, "csv")
    said = run("code-index", "merge", *shards[::-1], "--workspace", target)
    assert "merged before: scan 1" in said.stdout + said.stderr
    with Workspace(target) as space:
        assert len(space.scans.all()) == 1
    assert export(target, "csv") == before


def test_a_shard_that_was_judged_again_says_so_of_itself(
    shards: list[Path], target: Path, tmp_path: Path
) -> None:
    again = Path(shutil.copytree(shards[0], tmp_path / "again"))
    run("code-report", "rejudge", "1", "--workspace", again)
    run("code-index", "merge", again, *shards[1:], "--workspace", target)
    with Workspace(target) as space:
        record = space.scans.info("1").run
    assert "rejudged" not in record
    said = [part.get("rejudged", {}).get("scan") for part in record["merged"]["shards"]]
    assert said == [1, None, None, None]


def test_shards_of_which_a_path_was_purged_are_merged(
    base: Path, target: Path, tmp_path: Path
) -> None:
    for number in range(4):
        draw_photo(tmp_path / "in" / f"{number}.png", number)
    draw_photo(tmp_path / "seized.png", 9)
    spaces = [tmp_path / f"{number}" for number in (1, 2)]
    for number, space in enumerate(spaces, 1):
        shutil.copytree(base, space)
        asked = (tmp_path / "seized.png", tmp_path / "in", "--shard", f"{number}/2")
        run("code-scan", *asked, "-q", "--workspace", space)
    for merged, purged in (("one", spaces[:1]), ("both", spaces[1:])):
        for space in purged:
            named = ("--path", tmp_path / "seized.png", "--yes")
            run("code-index", "purge", *named, "--workspace", space)
        into = Path(shutil.copytree(target, tmp_path / merged))
        run("code-index", "merge", *spaces, "--workspace", into)
        with Workspace(into) as there:
            paths = there.scans.info("1").run["arguments"]["paths"]
        seized = "(purged)" if merged == "both" else str(tmp_path / "seized.png")
        assert paths == [seized, str(tmp_path / "in")]


def test_shards_of_other_paths_are_none_though_one_of_them_forgot_its_own(
    base: Path, target: Path, tmp_path: Path
) -> None:
    names = ("seized.png", "seized.png", "other.png")
    for number, name in enumerate(names):
        draw_photo(tmp_path / name, number)
    draw_photo(tmp_path / "in" / "0.png", 5)
    spaces = [tmp_path / f"{number}" for number in (1, 2, 3)]
    for number, (space, name) in enumerate(zip(spaces, names, strict=True), 1):
        shutil.copytree(base, space)
        asked = (tmp_path / name, tmp_path / "in", "--shard", f"{number}/3")
        run("code-scan", *asked, "-q", "--workspace", space)
    named = ("--path", tmp_path / "seized.png", "--yes")
    run("code-index", "purge", *named, "--workspace", spaces[0])
    refused = run("code-index", "merge", *spaces, "--workspace", target, code=2)
    assert "differ in their arguments (paths)" in refused.stderr


@pytest.mark.parametrize("moment", ["_bring_contents", "_stage", "_copy", "_finish"])
def test_an_interrupted_merge_leaves_no_scan_and_goes_on(
    shards: list[Path], target: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(merge.Merger, moment)
    calls = []

    def failing(*arguments: object) -> object:
        calls.append(moment)
        if len(calls) == (1 if moment == "_finish" else 3):
            raise merge.Stopped
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(merge.Merger, moment, failing)
        patch.setattr("code_forensics.cli.running._leave_at_once", lambda: None)
        run("code-index", "merge", *shards, "--workspace", target, code=130)
    with Workspace(target) as space:
        assert space.scans.all() == []
    run("code-index", "merge", *shards, "--workspace", target)
    assert export(target, "csv").count(b",duplicate,") == 16


def test_a_killed_merge_leaves_no_scan(shards: list[Path], target: Path) -> None:
    program = (
        "import sys, time\n"
        "from code_forensics.index import merge\n"
        "from code_forensics.cli.index import main\n"
        "merge.Merger._finish = lambda *_: (print('there', flush=True), time.sleep(60))\n"
        "sys.argv = ['code-index', 'merge', *sys.argv[1:]]\n"
        "main()\n"
    )
    arguments = [*map(str, shards), "--workspace", str(target)]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.1)
    with Workspace(target) as space:
        assert space.scans.all() == []
    run("code-index", "merge", *shards, "--workspace", target)
    assert export(target, "csv").count(b",duplicate,") == 16


def test_what_is_no_whole_is_refused(
    shards: list[Path], target: Path, tree: Path, labelled: Path, tmp_path: Path, base: Path
) -> None:
    def refused(*spaces: Path, into: Path = target) -> str:
        return run("code-index", "merge", *spaces, "--workspace", into, code=2).stderr

    assert "2 of 4 shards are missing: 2, 4" in refused(shards[0], shards[2])
    assert "shard 1/4 is there twice" in refused(*shards, shards[0])
    assert "no workspace at" in refused(*shards[:3], tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert "holds no shard" in refused(base)
    assert "is the workspace to merge into" in refused(*shards, into=shards[0])
    other = Path(shutil.copytree(shards[3], tmp_path / "other"))
    scan(tree, other, "--shard", "4/4", "-k", "3")
    assert "differ in k" in refused(*shards[:3], other)
    scan(tree, other, "--shard", "4/4", "--prior", "0.2")
    assert "differ in judging" in refused(*shards[:3], other)
    scan(tree / "1", other, "--shard", "4/4")
    assert "their arguments (paths)" in refused(*shards[:3], other)
    scan(tree, other, "--shard", "2/3")
    assert "one of 4 shards" in refused(*shards[:3], other)
    with sqlite3.connect(other / "workspace.sqlite") as connection:
        connection.execute("UPDATE scans SET state = 'interrupted'")
    connection.close()
    assert "shard 2/3 in" in refused(*shards[:3], other)
    run(
        "code-index",
        "add",
        "mine",
        "--fake",
        f"new={labelled / 'photos'}",
        "-q",
        "--workspace",
        target,
    )
    run("code-index", "merge", *shards, "--workspace", target)  # the gallery as it was is there
    run(
        *(
            "code-index",
            "build",
            "mine",
            "--real",
            labelled / "real",
            "--fake",
            labelled / "photos",
        ),
        *("--weights", base / "encoders" / os.listdir(base / "encoders")[0]),
        *("-q", "--workspace", tmp_path / "stranger"),
    )
    assert "holds no gallery mine with the hash" in refused(*shards, into=tmp_path / "stranger")


SCAN = """#!{python}
import os, signal, sqlite3, sys
folder = sys.argv[sys.argv.index("--workspace") + 1]
database = sqlite3.connect(folder + "/workspace.sqlite", isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, said TEXT)")
for _ in range(10):
    database.execute("INSERT INTO rows (said) VALUES (?)", ("x" * 1000,))
if "OOM" in os.environ:
    os.kill(os.getpid(), signal.SIGKILL)
database.close()
"""
RESTORE = """#!/bin/sh
mkdir -p "$4" && : > "$4/workspace.sqlite"
"""
STEP = """#!/bin/sh
echo {name} >> "$STEPS"
test "$(wc -l < "$STEPS")" != "$KILLED_AT" || {{ kill -9 $PPID; exit; }}
exec {program} "$@"
"""


class Job:
    """The page's array job with its paths below a folder, and programs that take no second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        for name in ("programs", "data", "scratch"):
            (folder / name).mkdir()
        (script,) = re.findall(r"```sh\n(#!/bin/sh\n#SBATCH.*?)```", PAGE.read_text(), re.DOTALL)
        for name in ("data", "scratch"):
            script = re.sub(rf"(?<![\w.])/{name}/", f"{folder / name}/", script)
        self.script = script
        self.put("code-scan", SCAN.format(python=sys.executable))
        self.put("code-index", RESTORE)
        for name in ("cp", "mv", "rm", "mkdir", "sync"):
            program = shutil.which(name if name != "sync" else "true")  # the others' disk is slow
            self.put(name, STEP.format(name=name, program=program))

    def put(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def run(self, killed_at: int = 0, **more: str) -> int:
        steps = self.folder / "steps"
        steps.unlink(missing_ok=True)
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": "1",
            "STEPS": str(steps),
            "KILLED_AT": str(killed_at),
            **more,
        }
        return subprocess.run(["sh", "-c", self.script], env=environment, check=False).returncode

    def rows(self) -> int:
        """Rows of what is kept, looked at in a copy, as each opening changes what lies there."""
        shards = self.folder / "data" / "shards"
        whole = [path for path in (shards / ".next-1", shards / "1") if path.exists()]
        if not whole:
            return 0
        copy = self.folder / "looked-at"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole[0], copy)
        with sqlite3.connect(copy / "workspace.sqlite") as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (count,) = database.execute("SELECT COUNT(*) FROM rows").fetchone()
        database.close()
        return int(count)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_the_pages_job_keeps_a_shard_whose_scan_was_killed_before(job: Job) -> None:
    assert job.run(OOM="1") == 137
    assert job.rows() == 10
    assert (job.folder / "data" / "shards" / "1" / "workspace.sqlite-wal").stat().st_size
    assert job.run() == 0
    assert job.rows() == 20
    assert [path.name for path in (job.folder / "data" / "shards").iterdir()] == ["1"]
    assert list((job.folder / "scratch").iterdir()) == []


def test_the_pages_job_may_be_killed_anywhere(job: Job) -> None:
    assert job.run(OOM="1") == 137
    kept = job.rows()
    for step in range(1, 100):
        code = job.run(killed_at=step)
        assert job.rows() in (kept, kept + 10)
        kept = job.rows()
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 5
    assert job.run() == 0
    assert job.rows() == kept + 10
