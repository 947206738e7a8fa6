"""Smoke test of an installed wheel: the README's first scan, without the development tools."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.embedding.checkpoint import write_checkpoint
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.engine.embedding.weights import export_checkpoint
from PIL import Image


def main() -> None:
    """Scan drawn images with the embedded starter, build a gallery of them, and scan with that."""
    bin_folder = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        write_checkpoint(export_checkpoint(Encoder()), folder / "encoder")
        rng = np.random.default_rng(0)
        for kind in ("real", "fake", "photos"):
            (folder / kind).mkdir()
            for number in range(3):
                pixels = rng.integers(0, 256, (240, 260, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / kind / f"{number}.jpg")

        # No network: every proxy leads nowhere, and the hub's library is told so.
        nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
        environment = {
            **os.environ,
            **nowhere,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder / "hf"),
        }

        def run(*arguments: str) -> str:
            done = subprocess.run(
                [str(bin_folder / arguments[0]), *arguments[1:]],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            return done.stdout

        for command in ("code-scan", "code-index", "code-train", "code-report"):
            assert "Usage" in run(command, "--help")
        fresh = ("--workspace", "fresh")
        report = run("code-scan", "photos", "--csv", "-", *fresh).splitlines()
        assert [line.split(",")[6] for line in report[1:]] == ["scanned"] * 3, report
        assert {line.split(",")[9] for line in report[1:]} <= {"real", "fake", "inconclusive"}
        assert all("starter:" in line for line in report[1:]), report
        assert "model card" in run("code-index", "info", "starter", *fresh)
        assert not (folder / "hf").exists(), "something was looked for on the hub"

        space = ("--workspace", "workspace")
        run(
            *("code-index", "build", "mine", "--real", "real", "--fake", "drawn=fake"),
            *("--weights", "encoder", *space),
        )
        report = run("code-scan", "photos", "--csv", "-", *space).splitlines()
        assert report[0].startswith("path,sha256,bytes,format"), report
        assert [line.split(",")[6] for line in report[1:]] == ["scanned"] * 3, report
        assert "mine" in run("code-index", "list", *space)
        assert "finished" in run("code-report", "list", *space)
    print("smoke test passed")


if __name__ == "__main__":
    main()
