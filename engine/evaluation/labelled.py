"""Labelled images: which file is real or fake, by the folder layouts of the field or a CSV file."""

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build import LabelledFolder
from ..errors import InputError
from ..files.discover import Walk, WalkOptions, walk
from ..inert import from_csv
from ..results import Label
from .layout import Layout

MAX_DEPTH = 8
"""Directories between a given one and the folders of the classes, at most."""

_SPLITS = frozenset({"train", "val", "test", "validation"})
_CONDITIONS = frozenset({"augm", "no_augm"})
_D3_FAKE = re.compile(r"gen_\d+")
_LABELS = {"real": Label.REAL, "0": Label.REAL, "fake": Label.FAKE, "1": Label.FAKE}


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one labelled file.

    Attributes:
        label: Its class.
        generator: What made it; empty for reals and where unknown.
        source: The collection that it comes from.
        group: The part of a benchmark whose reals belong to its fakes; empty where all reals do.
        condition: ``augm`` or ``no_augm`` in D3; else empty.
    """

    label: Label
    generator: str
    source: str
    group: str = ""
    condition: str = ""


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    """A folder whose files all have one label.

    Attributes:
        path: Normalised.
        label: Of its files.
        layout: That it was found by.
        root: The given directory.
        above: Names of the folders between.
    """

    path: str
    label: Label
    layout: Layout
    root: str
    above: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Labelled files that a scan can walk over.

    Attributes:
        layout: That was found or given.
        roots: What to walk: class folders, or files.
    """

    layout: Layout
    roots: tuple[str, ...]
    _folders: Mapping[str, _ClassFolder]
    _rows: Mapping[str, Truth]

    def walk(self, options: WalkOptions | None = None) -> Walk:
        """Prepare a walk over the files."""
        if self.layout is Layout.CSV:
            # Not discover.walk: it looks for paths that lie under others, each against each.
            return Walk(self.roots, options or WalkOptions())
        return walk(self.roots, options)

    def truth(self, path: str) -> Truth | None:
        """What is known of a file of that walk."""
        if self.layout is Layout.CSV:
            return self._rows.get(path)
        below: list[str] = []
        at = path  # a class folder itself is a row where it cannot be read
        while at not in self._folders:
            at, name = os.path.split(at)
            if not name:
                return None
            below.append(name)
        return _truth(self._folders[at], tuple(below[:0:-1]))


def find_labelled(paths: Sequence[Path], layout: Layout = Layout.AUTO) -> LabelledFiles:
    """Find the class folders below some directories.

    Args:
        paths: Directories.
        layout: One of the folder layouts, or ``auto``: the one whose folders are there.

    Raises:
        InputError: A directory is missing, holds no class folder, or those of several layouts;
            or one class is missing altogether.
    """
    if layout is Layout.CSV:
        raise InputError("the layout csv needs a file", "name it with --csv-labels FILE")
    if not paths:
        raise InputError("no folder is given", "name labelled folders, or --csv-labels FILE")
    found: dict[str, _ClassFolder] = {}
    for path in paths:
        root = os.path.normpath(path)
        if not Path(root).is_dir():
            raise InputError(f"there is no folder {root!r}")
        here = list(_class_folders(root, root, (), layout))
        if not here:
            raise InputError(
                f"no labelled folders lie below {root!r}",
                "expected real/ and fake/, 0_real/ and 1_fake/, nature/ and ai/, or"
                " augm/ and no_augm/ with real/ and gen_0/ to gen_3/; or use --csv-labels FILE",
            )
        found |= {folder.path: folder for folder in here}
    layouts = {folder.layout for folder in found.values()}
    if len(layouts) > 1:
        raise InputError(
            f"the folders follow several layouts: {', '.join(sorted(layouts))}",
            "choose one with --layout, or evaluate them one by one",
        )
    _need_both({folder.label for folder in found.values()})
    return LabelledFiles(layouts.pop(), tuple(sorted(found)), found, {})


def read_labels(file: Path, base: Path | None = None) -> LabelledFiles:
    """Read labels from a CSV file with the columns path, label, and perhaps generator, source.

    Args:
        file: UTF-8; labels are real or fake, or 0 or 1. Paths may be escaped as in a report.
        base: What relative paths are relative to; default: the file's own folder.

    Raises:
        InputError: It cannot be read, a column is missing, a label is unknown, a path has two
            labels, or is that of a folder.
    """
    base = base or file.parent
    rows: dict[str, Truth] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if not {"path", "label"} <= set(reader.fieldnames or ()):
                raise InputError(
                    f"{file} has no columns path and label", "its first line must name them"
                )
            for row in reader:
                path, truth = _row(row, base, f"{file}, line {reader.line_num}")
                if rows.setdefault(path, truth).label is not truth.label:
                    raise InputError(
                        f"{file}, line {reader.line_num}: {path!r} has two labels",
                        "decide what it is",
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read labels from {file}: {error}", "give a CSV in UTF-8"
        ) from error
    _need_both({truth.label for truth in rows.values()})
    return LabelledFiles(Layout.CSV, tuple(sorted(rows)), {}, rows)


def _class_folders(
    path: str, root: str, above: tuple[str, ...], wanted: Layout
) -> Iterator[_ClassFolder]:
    try:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return
    classes = _classes(names, wanted)
    for name in names:
        child = str(Path(path, name))
        if name in classes:
            label, layout = classes[name]
            yield _ClassFolder(child, label, layout, root, above)
        elif not classes and len(above) < MAX_DEPTH and not Path(child).is_symlink():
            yield from _class_folders(child, root, (*above, name), wanted)


def _classes(names: Sequence[str], wanted: Layout) -> dict[str, tuple[Label, Layout]]:
    """Which of the sub-directories hold a class; names are compared without case."""
    plain = {name: name.casefold() for name in names}
    present = set(plain.values())
    tables: dict[Layout, dict[str, Label]] = {
        Layout.D3: {"real": Label.REAL}
        | {name: Label.FAKE for name in present if _D3_FAKE.fullmatch(name)},
        Layout.FOLDERS: {"real": Label.REAL, "fake": Label.FAKE},
        Layout.CNNDETECTION: {"0_real": Label.REAL, "1_fake": Label.FAKE},
        Layout.GENIMAGE: {"nature": Label.REAL, "ai": Label.FAKE},
    }
    for layout, labels in tables.items():
        if wanted not in (Layout.AUTO, layout):
            continue
        if layout is Layout.D3 and len(labels) == 1:
            continue  # "real" alone says nothing of D3
        if layout is Layout.GENIMAGE and wanted is Layout.AUTO and not set(labels) <= present:
            continue  # "ai" or "nature" alone is a name like any other
        classes = {name: (labels[low], layout) for name, low in plain.items() if low in labels}
        if classes:
            return classes
    return {}


def _truth(folder: _ClassFolder, below: tuple[str, ...]) -> Truth:
    fake = folder.label is Label.FAKE
    parts = tuple(name for name in folder.above if name.casefold() not in _SPLITS)
    name = Path(folder.path).name
    own = Path(folder.root).resolve().name
    if folder.layout is Layout.D3:
        condition = next((p.casefold() for p in parts[::-1] if p.casefold() in _CONDITIONS), "")
        condition = condition or (own.casefold() if own.casefold() in _CONDITIONS else "")
        return Truth(folder.label, name if fake else "", name, "", condition)
    if folder.layout is Layout.FOLDERS and not parts:
        generator, source = LabelledFolder(Path(folder.path), folder.label).attribute(
            str(Path(folder.path, *below, "file"))
        )
        return Truth(folder.label, generator, source)
    # Benchmarks by generator: each has reals of its own.
    group = parts[0] if parts else own
    inner = below[0] if below and not parts else ""
    source = "/".join((*(parts or (own,)), *below[:1]))
    return Truth(folder.label, (inner or group) if fake else "", source, group)


def _row(row: Mapping[str, str | None], base: Path, where: str) -> tuple[str, Truth]:
    label = _LABELS.get((row.get("label") or "").strip().casefold())
    path = from_csv(row.get("path") or "")
    if label is None or not path:
        raise InputError(f"{where}: no path with a label", "labels are real or fake, or 0 or 1")
    if "\0" in path:
        raise InputError(f"{where}: a path cannot hold a zero byte")
    generator = (row.get("generator") or "").strip() if label is Label.FAKE else ""
    truth = Truth(label, generator, (row.get("source") or "").strip())
    named = os.path.normpath(base / path)
    if Path(named).is_dir():
        raise InputError(
            f"{where}: {path!r} is a folder", "name its files one by one, or use a folder layout"
        )
    return named, truth


def _need_both(labels: set[Label]) -> None:
    missing = set(Label) - labels
    if missing:
        raise InputError(
            f"no {' and no '.join(sorted(missing))} images are named",
            "an evaluation needs images of both classes",
        )
