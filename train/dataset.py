"""Finding training images: a folder tree, a CSV, or WebDataset shards become a catalogue."""

import csv
import os
from pathlib import Path

from .catalogue import Catalogue, CatalogueBuilder, Label
from .errors import DataError
from .shards import index_shards, list_shards

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
)

_LAYOUTS = (
    "expected real/ and fake/GENERATOR/ folders, a CSV of path,label,generator,source,"
    " or .tar shards"
)
_LABELS = {"real": Label.REAL, "0": Label.REAL, "fake": Label.FAKE, "1": Label.FAKE}


def open_catalogue(data: str, cache: str = "") -> Catalogue:
    """List the images of a data set.

    Args:
        data: A folder with ``real/`` and ``fake/GENERATOR/``; a ``.csv`` file; or WebDataset
            shards: a folder of ``.tar`` files, one such file, or an http, https or s3 address,
            braces allowed (``https://host/shard-{000000..000099}.tar``).
        cache: Folder for copies of remote shards; empty for the user's cache folder.

    Raises:
        DataError: Nothing usable is there.
    """
    path = Path(data)
    shards = list_shards(data)
    if shards:
        catalogue = index_shards(shards, cache)
    elif path.is_file() and path.suffix.lower() == ".csv":
        catalogue = read_csv(path)
    elif path.is_dir() and ((path / "real").is_dir() or (path / "fake").is_dir()):
        catalogue = read_folder(path)
    else:
        raise DataError(f"no training data at {data}", _LAYOUTS)
    if not len(catalogue.where(Label.REAL)):
        raise DataError(f"{data} holds no real images", _LAYOUTS)
    return catalogue


def read_folder(root: Path) -> Catalogue:
    """List ``root/real/[SOURCE/]NAME`` and ``root/fake/GENERATOR/[SOURCE/]NAME``.

    Sub-folders are sources. A fake belongs to the record of the real with the same path below
    ``real/`` and ``fake/GENERATOR/``, the suffix aside. Without a sub-folder a fake's source is
    its generator's name, and a real's is 'real'.
    """
    images: dict[str, list[tuple[str, Path]]] = {}  # record -> (generator, file), the real first
    for file in _images_below(root / "real"):
        images.setdefault(_stem(file, root / "real"), []).append(("", file))
    generators = sorted(p for p in _entries(root / "fake") if p.is_dir())
    for folder in generators:
        for file in _images_below(folder):
            name = _stem(file, folder)
            # a name without a real is a record of its own, apart from other generators' names
            record = name if name in images else f"{folder.name}\0{name}"
            images.setdefault(record, []).append((folder.name, file))
    builder = CatalogueBuilder()
    for number, record in enumerate(sorted(images)):
        for generator, file in images[record]:
            base = root / "fake" / generator if generator else root / "real"
            inside = file.parent.relative_to(base).as_posix()
            source = inside if inside != "." else generator or "real"
            builder.add(
                str(file), Label.FAKE if generator else Label.REAL, generator=generator,
                source=source, record=number, size=file.stat().st_size if file.is_file() else 0,
                name=file.relative_to(root).as_posix(),
            )  # fmt: skip
    return builder.build()


def read_csv(path: Path) -> Catalogue:
    """List the images of a CSV: path (or file), label, generator, source, and optionally record.

    Paths are relative to the CSV's folder. Labels are real or 0, fake or 1. Rows with the same
    text under ``record`` show the same scene; without that column every image stands alone.

    Raises:
        DataError: A column is missing or a label is unknown.
    """
    builder = CatalogueBuilder()
    records: dict[str, int] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = csv.DictReader(handle)
            columns = set(rows.fieldnames or ())
            place = "path" if "path" in columns else "file"
            if not {place, "label"} <= columns:
                raise DataError(
                    f"{path} lacks the columns path and label",
                    "its first line names the columns: path,label,generator,source",
                )
            for row in rows:
                label = _LABELS.get((row["label"] or "").strip().lower())
                if label is None:
                    raise DataError(
                        f"{path}, line {rows.line_num}: label {row['label']!r}",
                        "labels are real or fake",
                    )
                generator = (row.get("generator") or "unnamed") if label is Label.FAKE else ""
                source = row.get("source") or generator or "real"
                key = row.get("record") or f"\0{rows.line_num}"
                file = path.parent / (row[place] or "")
                size = file.stat().st_size if file.is_file() else 0
                builder.add(
                    str(file), label, generator=generator, source=source,
                    record=records.setdefault(key, len(records)), size=size,
                    name=row[place] or "",
                )  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return builder.build()


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _images_below(folder: Path) -> list[Path]:
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    ]
    return sorted(found)


def _stem(file: Path, base: Path) -> str:
    return file.relative_to(base).with_suffix("").as_posix()
