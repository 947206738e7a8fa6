"""``code-train`` as a process: what it prints, what it leaves, and its exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from code_forensics.cli.train import train_command
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.index.workspace import Workspace
from code_forensics.train import loop
from code_forensics.train.config import read_config
from code_forensics.train.loop import Outcome, Result
from PIL import Image

# a Ctrl-C test must not wait for threads that wait for each other on a busy machine
ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
COMMAND = (sys.executable, "-m", "code_forensics.cli.train")
QUICK = ("--device", "cpu", "--workers", "0", "--batch", "2", "--set", "probe.images=0",
         "--set", "runtime.log_every=1")  # fmt: skip


def code_train(*arguments, cwd=None):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd,
        check=False, capture_output=True, text=True, timeout=120,
        env=ENVIRONMENT,
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for folder in ("real", "fake/gen"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (230, 230, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{number}.png")
    return tmp_path / "data"


def test_help_names_both_commands_and_loads_nothing_heavy():
    done = code_train("--help")
    assert done.returncode == 0
    for word in ("--out", "--resume", "--reconstruct", "prepare"):
        assert word in done.stdout
    assert "--per-shard" in code_train("prepare", "--help").stdout
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, code_forensics.cli.train; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {"torch", "numpy", "PIL", "sklearn", "faiss"} & set(loaded)


@pytest.mark.parametrize("name", ["starter", "starter-cpu-1", "starter-cpu-2"])
def test_shipped_recipes_are_known_by_name(name, tmp_path):
    done = code_train("--config", name, "--print-config", "--init", "x", cwd=tmp_path)
    options = tomllib.loads(done.stdout)
    assert options["init"] == "x"
    assert options["loss"]["objective"] == "supervised"
    assert {"bsds500", "picsum"} <= set(options["data"]["holdout"])
    free = {"ffhq-1024", "imagenet-sample"} <= set(options["data"]["exclude"])
    assert free is (name != "starter")  # the shipped one is for non-commercial use


def test_print_config_gives_every_option_as_chosen():
    done = code_train("--print-config", "--lr", "0.01", "--equalise", "--reconstruct", "a/b,c",
                      "--set", 'loss.positives="instance"')  # fmt: skip
    options = tomllib.loads(done.stdout)
    assert options["schedule"]["lr"] == 0.01
    assert options["schedule"]["epochs"] == 150
    assert options["equalise"]["enabled"] is True
    assert options["reconstruct"]["autoencoders"] == ["a/b", "c"]
    assert options["loss"]["positives"] == "instance"
    assert options["loss"]["objective"] == "code"


def test_a_configuration_file_is_read_and_overridden(tmp_path):
    (tmp_path / "c.toml").write_text("[schedule]\nlr = 0.5\nepochs = 7\n", encoding="utf-8")
    done = code_train("--config", tmp_path / "c.toml", "--lr", "0.25", "--print-config")
    schedule = tomllib.loads(done.stdout)["schedule"]
    assert (schedule["lr"], schedule["epochs"], schedule["steps"]) == (0.25, 7, 1700)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "DATA and --out RUN are needed"),
        (("nowhere", "--out", "run"), "no training data at nowhere"),
        (("nowhere", "--out", "run", "--resume"), "holds no run to resume"),
        (("x", "--out", "run", "--set", "loss.positiv=1"), "unknown option 'positiv'"),
        (("x", "--out", "run", "--set", "nonsense"), "is not TOML"),
        (("x", "--out", "run", "--config", "none.toml"), "no such file or recipe: none.toml"),
        (("x", "--out", "run", "--config", "startr"), "startr; recipes: starter, starter-cpu-1"),
        (("x", "--out", "run", "--device", "mars"), "cannot use the device 'mars'"),
        (("prepare", "nowhere", "--out", "shards"), "no training data at nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, says, tmp_path):
    done = code_train(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_shards_are_made_and_trained_on_and_a_run_keeps_its_options(tree, tmp_path):
    done = code_train("prepare", tree, "--out", tmp_path / "shards")
    assert done.returncode == 0
    assert "1 shard in" in done.stderr
    run = tmp_path / "run"
    done = code_train(tmp_path / "shards", "--out", run, "--epochs", "1", "--steps", "2", *QUICK)
    assert done.returncode == 0, done.stderr
    assert f"the encoder is in {run / 'model'}" in done.stderr
    assert (run / "model" / "config.json").is_file()
    refused = code_train(tmp_path / "shards", "--out", run, "--resume", "--seed", "5")
    assert refused.returncode == 2
    assert "keeps the options" in refused.stderr
    slower = ("--epochs", "2", "--lr", "1e-5", "--set", "schedule.clip=1", *QUICK)
    longer = code_train(tmp_path / "shards", "--out", run, "--resume", *slower)
    assert longer.returncode == 0, longer.stderr
    assert "finished after 4 steps" in longer.stderr
    said = [line for line in longer.stderr.splitlines() if line.startswith("note: ")]
    assert said == ["note: epochs 1 -> 2", "note: lr 0.002 -> 1e-05", "note: clip 0.0 -> 1.0"]
    kept = read_config(run / "config.toml").schedule  # what the next --resume begins with
    assert (kept.epochs, kept.lr, kept.clip) == (2, 1e-5, 1)


def test_data_without_fakes_are_said_to_have_none(tree, tmp_path):
    shutil.rmtree(tree / "fake")
    done = code_train(tree, "--out", tmp_path / "run", *QUICK)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tree} holds no fakes at all; put them under")


def test_of_several_processes_the_first_speaks(tree, tmp_path, monkeypatch, capsys):
    result = Result(Outcome.FINISHED, tmp_path / "model", 7)
    monkeypatch.setattr(loop, "train", lambda *args, **options: result)
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        train_command(str(tree), out=tmp_path / "run", references=1)
        assert ("finished after 7 steps" in capsys.readouterr().err) is (rank == "0")


def test_a_gallery_is_built_from_the_images_that_trained(tree, tmp_path):
    code_train("prepare", tree, "--out", tmp_path / "shards")
    space = ("--workspace", tmp_path / "ws")
    for name, data in (("shards", tmp_path / "shards"), ("folders", tree)):
        done = code_train(data, "--out", tmp_path / name, "--epochs", "1", "--steps", "1", *QUICK,
                          "--gallery", name, "--references", "2", *space)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"built the gallery {name} of 2 real and 2 fake references" in done.stderr
    taken = code_train(tree, "--out", tmp_path / "other", "--gallery", "shards", *space)
    assert taken.returncode == 2
    assert not (tmp_path / "other").exists()
    with Workspace(tmp_path / "ws") as ws:
        info = ws.galleries.info("folders")
        stored = {(r.label, r.generator): v for r, v in ws.galleries.references(info)}
        assert set(stored) == {("real", ""), ("fake", "gen")}
        assert info.encoder_sha256 == read_checkpoint(tmp_path / "folders" / "model").sha256
    scanned = subprocess.run(
        [str(Path(sys.executable).parent / "code-scan"), str(tree / "real"), "--json", "-",
         "--gallery", "folders", "--workspace", str(tmp_path / "ws"), "-q"],
        capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=120,
    )  # fmt: skip
    rows = json.loads(scanned.stdout)["files"]
    assert sum(r["real_similarity"] == pytest.approx(1, abs=1e-6) for r in rows) == 2


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_saves_and_exits_130_then_resumes(tree, tmp_path):
    run = tmp_path / "run"
    arguments = [*COMMAND, str(tree), "--out", str(run), "--epochs", "1", "--steps", "3000", *QUICK]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        until = time.monotonic() + 60
        while not (run / "metrics.jsonl").is_file() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "go on with --resume" in errors
    assert (run / "checkpoint.pt").is_file()
    resumed = subprocess.Popen([*COMMAND, str(tree), "--out", str(run), "--resume"],
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)  # fmt: skip
    before = len((run / "metrics.jsonl").read_text().splitlines())
    while len((run / "metrics.jsonl").read_text().splitlines()) <= before:
        assert resumed.poll() is None
        time.sleep(0.05)
    resumed.send_signal(signal.SIGINT)
    resumed.communicate(timeout=60)
    assert resumed.returncode == 130


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_a_termination_of_every_process_saves_and_exits_130(tree, tmp_path):
    """As ``timeout`` and cluster schedulers send it: to the workers too, and perhaps twice."""
    run = tmp_path / "run"
    arguments = [*COMMAND, str(tree), "--out", str(run), "--epochs", "1", "--steps", "3000",
                 *QUICK, "--workers", "2"]  # fmt: skip
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
                               start_new_session=True)  # fmt: skip
    with process:
        until = time.monotonic() + 60
        while not (run / "metrics.jsonl").is_file() and time.monotonic() < until:
            time.sleep(0.05)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.01)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "go on with --resume" in errors
    assert (run / "checkpoint.pt").is_file()
    with pytest.raises(ProcessLookupError):  # no worker is left
        os.killpg(process.pid, 0)
