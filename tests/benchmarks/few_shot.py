"""What ten, thirty and a hundred references of a new generator bring to the embedded starter.

    python tests/benchmarks/few_shot.py ../shared/data/train/manifest.csv

Each generated source that did not train the encoder, and has images enough, is taken for a new
generator: its references are withdrawn from the starter, some of its images are added with
``code-index add``, and the others are evaluated with ``code-index evaluate`` before and after.
The real images are of sources that the starter does not hold; where it holds all, every second of
those that did not train is withdrawn for it. Not a test: it prints.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from code_forensics.engine.starter.read import EMBEDDED, SOURCES_NAME

COUNTS = (10, 30, 100)
LEAST = 20
"""Images of a generator that must be left to evaluate."""

REALS = 300
"""Real images to evaluate, at most."""


def call(*words: str | Path) -> str:
    """Run a command of this environment."""
    command = [str(Path(sys.executable).parent / str(words[0])), *map(str, words[1:])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def copy(files: list[Path], folder: Path) -> Path:
    """Copy files under numbers; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(files):
        (folder / f"{number:04}{file.suffix}").write_bytes(file.read_bytes())
    return folder


def measure(labelled: Path, space: tuple[str, str], out: Path) -> tuple[float, float, float]:
    """AUC, share of fakes called fake, share of reals called fake."""
    call(
        *("code-index", "evaluate", "starter", labelled, "--json", out, "--resamples", "0"),
        *("--quiet", *space),
    )
    found = json.loads(out.read_text())
    target = next(t for t in found["targets"] if t["target_fpr"] == 0.01)
    return found["overall"]["auc"], target["tpr"]["value"], target["fpr"]["value"]


def main() -> None:
    """Add, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="CSV of file,label,source,generator")
    parser.add_argument("--source", action="append", help="only these; again for more")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with chosen.table.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    known = json.loads((EMBEDDED / SOURCES_NAME).read_text())

    def named(label: str, role: str) -> list[str]:
        return [s["source"] for s in known if s["label"] == label and s["role"] == role]

    def files(source: str) -> list[Path]:
        own = [chosen.table.parent / row["file"] for row in rows if row["source"] == source]
        return [own[i] for i in np.random.default_rng(chosen.seed).permutation(len(own))]

    judges = named("real", "left out")
    withdrawn = [] if judges else named("real", "held out")[::2]
    reals = [file for source in judges or withdrawn for file in files(source)]
    reals = [reals[i] for i in np.random.default_rng(chosen.seed).permutation(len(reals))[:REALS]]
    print(f"{len(reals)} real images of {', '.join(judges or withdrawn)}")
    print("source, images judged, references added: AUC, fakes called fake, reals called fake")
    generated = [*named("fake", "held out"), *named("fake", "left out")]
    for source in chosen.source or generated:
        own = files(source)
        counts = [count for count in COUNTS if len(own) - count >= LEAST]
        if not counts:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            space = ("--workspace", str(folder / "ws"))
            call("code-index", "info", "starter", *space)
            gone = [*withdrawn, *([source] if source in named("fake", "held out") else [])]
            if gone:
                options = [word for one in gone for word in ("--source", one)]
                call("code-index", "remove", "starter", *options, *space)
            judged = own[max(counts) :]
            labelled = folder / "labelled"
            copy(reals, labelled / "real" / "photographs")
            copy(judged, labelled / "fake" / "newgen")
            line = f"{source}, {len(judged)} images"
            for count in (0, *counts):
                if count:  # the same folder grows: one source, as a user's own would be
                    new = copy(own[:count], folder / "newgen")
                    call("code-index", "add", "starter", "--fake", f"newgen={new}", "-q", *space)
                auc, found, false = measure(labelled, space, folder / "e.json")
                line += f" | {count}: {auc:.3f}, {found:.0%}, {false:.1%}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
