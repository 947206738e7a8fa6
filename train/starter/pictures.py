"""Cuts the pictures that train the starter, and are its references, beside the collected ones.

    python -m code_forensics.train.starter.pictures UNPACKED OUT [--later]

`recipes/pictures.csv` names them: photographs in packages of npm and Debian, and generated images
in packages of PyPI. Photographs were chosen by eye (no drawings, renderings or screenshots), and by
eye alone it was judged that none is generated; what made the generated ones is what their files'
names say. Of each a few squares of 248 pixels, some of the picture halved, and of large photographs
one more of the whole made small, as web sites show it and as the generated ones came.
`recipes/more_squares.csv` names further squares of the same photographs, for training.
`recipes/later_pictures.csv`, for ``--later``, names pictures that were collected after the starter
had been chosen, and that judge it (``tests/benchmarks/later.py``): of no use for that any more once
an encoder is trained on them. UNPACKED
holds for each package a folder ``PACKAGE-VERSION`` with its contents, slashes in its name as
hyphens; every picture is checked by its hash. OUT gets PNG files and ``pictures.csv``, whose rows
go behind those of the data's own table.
"""

import argparse
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from ..errors import DataError

LIST = Path(__file__).parents[1] / "recipes" / "pictures.csv"
MORE = LIST.with_name("more_squares.csv")
LATER = LIST.with_name("later_pictures.csv")
SIDE = 248
SMALL_QUALITY = 85
"""WebP's, of a picture made small: their sizes are those of the generated ones then."""

Row = dict[str, str]


def read_list(file: Path) -> list[Row]:
    """Rows of a list."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def listed() -> list[Row]:
    """Rows of the list and its further squares; those of one picture may lie apart."""
    rows = read_list(LIST)
    known = {row["file"]: row for row in rows}
    return rows + [known[row["of"]] | row | {"shorter": "0"} for row in read_list(MORE)]


def cut(rows: Iterable[Row], unpacked: Path) -> Iterator[tuple[Row, Image.Image]]:
    """Cut the squares of a list.

    Args:
        rows: Of the list; those of one picture best lie side by side.
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
            picture = _picture(file_of(row, unpacked), known)
        left, top = int(row["left"]), int(row["top"])
        yield row, _scaled(picture, row).crop((left, top, left + SIDE, top + SIDE))


def file_of(row: Row, unpacked: Path) -> Path:
    """Where the picture of a row lies among the packages."""
    folder = f"{row['package'].removeprefix('@').replace('/', '-')}-{row['version']}"
    return unpacked / folder / row["member"]


def _scaled(picture: Image.Image, row: Row) -> Image.Image:
    """The picture as it is, divided, or made small and compressed."""
    if (shorter := int(row["shorter"])) > 0:
        return Image.open(io.BytesIO(as_web_site(picture, shorter))).convert("RGB")
    if (divide := int(row["divide"])) > 1:
        width, height = (side // divide for side in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    return picture


def as_web_site(picture: Image.Image, shorter: int) -> bytes:
    """A picture made small, its shorter side of so many pixels, as a WebP file."""
    factor = shorter / min(picture.size)
    width, height = (round(side * factor) for side in picture.size)
    small, file = picture.resize((width, height), Image.Resampling.LANCZOS), io.BytesIO()
    small.save(file, "WEBP", quality=SMALL_QUALITY)
    return file.getvalue()


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
    parser.add_argument("--later", action="store_true", help="cut the pictures that came later")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "pictures.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "label", "generator", "source"))
        rows = read_list(LATER) if options.later else listed()
        for row, square in cut(rows, options.unpacked):
            target = options.out / row["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            square.save(target)
            label, source, _ = row["file"].split("/")
            table.writerow((row["file"], label, row["generator"], source))


if __name__ == "__main__":
    main()
