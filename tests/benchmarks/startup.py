"""Start-up: one image from process start to exit, against the published process, and once more.

python -m tests.benchmarks.startup [--repeats 5]
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import photos
from .contest import REFERENCES, median, prepare


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, run, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--references", type=int, default=REFERENCES, help="size of the gallery")
    parser.add_argument("--folder", type=Path, help="keep what is made here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        first = photos.jpegs(folder / "first", photos.SMALL, 1, 9, 90)
        contest = prepare(folder, first, options.references)
        image = photos.jpegs(folder / "one", photos.SMALL, 1, 10, 90)  # unknown to the workspace
        theirs, ours, again = [], [], []
        for _ in range(options.repeats):
            theirs.append(contest.published(image))
            ours.append(contest.ours(image, []))
            again.append(contest.ours(image, [], known=True))
        for name, runs in (
            ("published", theirs),
            ("code-scan", ours),
            ("code-scan, the image known", again),
        ):
            seconds = median([run.seconds for run in runs])
            cpu = median([run.cpu for run in runs])
            print(f"{name}: {seconds:.2f} s from start to exit, {cpu:.2f} s of CPU")
        ratio = median([run.seconds for run in theirs]) / median([run.seconds for run in ours])
        print(f"ratio {ratio:.1f} x, labels identical: {theirs[0].labels == ours[0].labels}")


if __name__ == "__main__":
    main()
