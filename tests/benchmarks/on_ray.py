"""What a Ray cluster on this machine costs against the plain run, and whether it gives the same.

    python tests/benchmarks/on_ray.py ./photos --workers 2 --rounds 3

Scans by the embedded starter, each time into a workspace that knows nothing of the files: plain and
with ``--ray local`` in turns, as many threads as workers; and one file alone in both ways, which is
what starting costs. Rows are compared by the digest of their summaries. Not a test: it prints.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from code_forensics.index.workspace import Workspace


def scan(base: Path, workspace: Path, *arguments: str | Path) -> tuple[float, str, int]:
    """Scan into a copy of a workspace; gives seconds, the digest of the rows and their number."""
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(base, workspace)
    command = [Path(sys.executable).parent / "code-scan", *arguments, "-q"]
    started = time.perf_counter()
    subprocess.run([*map(str, command), "--workspace", str(workspace)], check=True)
    seconds = time.perf_counter() - started
    with Workspace(workspace) as space:
        info = space.scans.info("latest")
        assert info.summary is not None
        return seconds, str(info.summary["results_sha256"]), int(info.summary["files"])


def main() -> None:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--option", action="append", default=[], help="of code-scan, e.g. --archives"
    )
    chosen = parser.parse_args()
    ways = {
        "plain": ["--workers", chosen.workers],
        "ray": ["--ray", "local", "--ray-workers", chosen.workers],
    }
    one = next(f for path in chosen.paths for f in sorted(path.rglob("*.*")) if f.is_file())
    took: dict[str, list[float]] = {way: [] for way in ways}
    starts: dict[str, list[float]] = {way: [] for way in ways}
    digests, files = set(), 0
    with tempfile.TemporaryDirectory() as name:
        base, used = Path(name) / "base", Path(name) / "used"
        command = [Path(sys.executable).parent / "code-scan", one, "--rehash", "-q"]
        subprocess.run([*map(str, command), "--workspace", str(base)], check=True)  # calibrates
        for _ in range(chosen.rounds):
            for way, options in ways.items():
                said = [*chosen.option, *map(str, options)]
                starts[way].append(scan(base, used, one, "--reembed", *said)[0])
                seconds, digest, files = scan(base, used, *chosen.paths, "--reembed", *said)
                took[way].append(seconds)
                digests.add(digest)
    plain, ray = (statistics.median(took[way]) for way in ways)
    begin, begin_ray = (statistics.median(starts[way]) for way in ways)
    print(
        f"{files} files, {chosen.workers} workers, medians of {chosen.rounds}:"
        f" plain {plain:.1f} s, Ray {ray:.1f} s ({ray / plain:.2f} times);"
        f" one file alone {begin:.1f} s and {begin_ray:.1f} s;"
        f" without that {(ray - begin_ray) / (plain - begin):.2f} times;"
        f" rows {'the same in all runs' if len(digests) == 1 else 'DIFFER'}"
    )


if __name__ == "__main__":
    main()
