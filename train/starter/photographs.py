"""Cuts the photographs that became references of the starter beside the collected ones.

    python -m code_forensics.train.starter.photographs UNPACKED OUT

`recipes/photographs.csv` names them: pictures in packages of npm and Debian. They were chosen by
eye (no drawings, renderings or screenshots), and by eye alone it was judged that none is generated.
Of each a few squares of 248 pixels, some of the picture halved. UNPACKED holds for each package a
folder ``PACKAGE-VERSION`` with its contents, slashes in its name as hyphens; every picture is
checked by its hash. OUT gets PNG files and ``photographs.csv``, whose rows go behind those of the
data's own table.
"""

import argparse
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from ..errors import DataError

LIST = Path(__file__).parents[1] / "recipes" / "photographs.csv"
SIDE = 248

Row = Mapping[str, str]


def cut(rows: Iterable[Row], unpacked: Path) -> Iterator[tuple[Row, Image.Image]]:
    """Cut the squares of a list.

    Args:
        rows: Of the list; those of one picture lie side by side.
        unpacked: Folder with the packages.

    Yields:
        Each row with its square, 248 x 248, RGB.

    Raises:
        DataError: A picture is missing, or another one.
    """
    known, picture = "", Image.new("RGB", (1, 1))
    for row in rows:
        if row["sha256"] != known:
            known = row["sha256"]
            folder = f"{row['package'].removeprefix('@').replace('/', '-')}-{row['version']}"
            picture = _picture(unpacked / folder / row["member"], known)
        whole = picture
        if (divide := int(row["divide"])) > 1:
            size = (whole.width // divide, whole.height // divide)
            whole = whole.resize(size, Image.Resampling.LANCZOS)
        left, top = int(row["left"]), int(row["top"])
        yield row, whole.crop((left, top, left + SIDE, top + SIDE))


def _picture(file: Path, sha256: str) -> Image.Image:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})", "unpack its package") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{file} is not the picture of the list", "take the version that it names")
    return Image.open(io.BytesIO(data)).convert("RGB")


def main() -> None:
    """Cut all of the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("unpacked", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--list", type=Path, default=LIST)
    options = parser.parse_args()
    with options.list.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "photographs.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "label", "generator", "source"))
        for row, square in cut(rows, options.unpacked):
            target = options.out / row["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            square.save(target)
            table.writerow((row["file"], "real", "", target.parent.name))


if __name__ == "__main__":
    main()
