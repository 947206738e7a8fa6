"""Signing of report files as a user runs it."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.in_process import run

pytest.importorskip("cryptography")


def test_a_report_is_signed_and_checked(tmp_path: Path) -> None:
    report, key, public = (tmp_path / n for n in ("report.json", "desk.pem", "desk.pub.pem"))
    report.write_text('{"files": []}')
    run("code-report", "keygen", key)
    run("code-report", "sign", report, "--key", key)
    signature = json.loads((tmp_path / "report.json.sig").read_text())
    assert set(signature) == {"algorithm", "key", "sha256", "signature", "time"}
    done = run("code-report", "check-signature", report, "--public-key", public)
    assert "good" in done.stderr
    report.write_text('{"files": [1]}')
    done = run("code-report", "check-signature", report, "--public-key", public, code=1)
    assert "not what was signed" in done.stderr


def test_a_signature_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("a,b\n")
    run("code-report", "keygen", tmp_path / "k.pem", "--public-key", tmp_path / "shown.pem")
    run("code-report", "sign", tmp_path / "r.csv", "--key", tmp_path / "k.pem")
    (tmp_path / "r.csv.sig").rename(tmp_path / "moved.sig")
    check = ("code-report", "check-signature", tmp_path / "r.csv")
    public = ("--public-key", tmp_path / "shown.pem")
    run(*check, *public, "--signature", tmp_path / "moved.sig")
    assert "cannot read" in run(*check, *public, code=2).stderr


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    run("code-report", "keygen", tmp_path / "k.pem")
    before = (tmp_path / "k.pem").read_bytes()
    done = run("code-report", "keygen", tmp_path / "k.pem", code=2)
    assert "already" in done.stderr
    assert (tmp_path / "k.pem").read_bytes() == before


def test_an_encrypted_key_asks(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("hidden prompts read the console there")
    from code_forensics.cli.report import app
    from typer.testing import CliRunner

    key, report = tmp_path / "k.pem", tmp_path / "r.json"
    report.write_text("{}")
    runner = CliRunner()
    made = runner.invoke(app, ["keygen", str(key), "--encrypt"], input="pass\npass\n")
    assert made.exit_code == 0, made.output
    assert b"ENCRYPTED" in key.read_bytes()
    signed = runner.invoke(app, ["sign", str(report), "--key", str(key)], input="pass\n")
    assert signed.exit_code == 0, signed.output
    run("code-report", "check-signature", report, "--public-key", tmp_path / "k.pub.pem")


@pytest.mark.parametrize("public", ["k.pem", "nowhere/k.pub.pem"])
def test_a_pair_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, public: str) -> None:
    make = ("code-report", "keygen", tmp_path / "k.pem")
    run(*make, "--public-key", tmp_path / public, code=2)
    assert not list(tmp_path.iterdir())
    run(*make)


def test_folders_are_no_files(tmp_path: Path) -> None:
    run("code-report", "keygen", tmp_path / "k.pem")
    keys = ("--key", tmp_path / "k.pem"), ("--public-key", tmp_path / "k.pub.pem")
    for command in (
        ("keygen", "."), ("sign", ".", *keys[0]), ("check-signature", ".", *keys[1]),
    ):  # fmt: skip
        assert ". is a folder" in run("code-report", *command, code=2).stderr
