"""``code-index search``: stored images that are near given ones."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as opt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..engine.query import Query
    from ..index.gallery_records import GalleryInfo
    from ..index.searching.scanned_vectors import Collection
    from ..index.workspace import Workspace

SCANS = "scans"
_EMPTY = ("the workspace holds no scanned image", "scan some with: code-scan PATH")


@dataclass(frozen=True, slots=True)
class Near:
    """A stored image near a query.

    Attributes:
        distance: 1 - cosine, in [0, 2].
        id: Of a reference; empty for a scanned image.
        path: Where it was found; empty where it came as a ready vector.
        sha256: Of the file; empty where it came as a ready vector.
        label: Of a reference.
        generator: Of a reference.
        source: Of a reference.
        scans: Numbers of the scans that found it.
    """

    distance: float
    id: str = ""
    path: str = ""
    sha256: str = ""
    label: str = ""
    generator: str = ""
    source: str = ""
    scans: tuple[int, ...] = ()


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: [bold]code-index search found.jpg --in scans -k 5[/]")(search)


def search(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="What to look for.", parser=opt.named_path),
    ],
    where: Annotated[
        str,
        typer.Option(
            "--in", "--gallery", metavar="scans|GALLERY", help="Scanned images, or a gallery."
        ),
    ] = SCANS,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Images shown.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON; - is stdout.")
    ] = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    workspace: opt.Workspace = None,
) -> None:
    """Find the stored images that are nearest to given ones, with their distances.

    The distance is 1 - cosine of the embeddings: 0 is the same picture to the encoder. A gallery
    that is called scans is searched as --in ./scans.
    """
    import numpy as np

    from ..engine.embedding.deferred import DeferredEmbedder
    from ..engine.errors import InputError
    from ..engine.files.discover import walk
    from ..engine.query import embed_queries
    from ..index.errors import WorkspaceError
    from . import outputs
    from .console import say
    from .encoders import kept_checkpoint
    from .starter import workspace_of

    if json_file is not None:
        outputs.check_targets([json_file])
    files = walk(images)
    with workspace_of(workspace, where.removeprefix("./")) as space, space.guarded():
        place = _place(space, where)
        embedder = DeferredEmbedder(kept_checkpoint(space, place.encoder_sha256), device.value)
        queries = list(embed_queries(files, embedder))
        for query in queries:
            if query.vector is None:
                say(f"left out {query.path}: {query.reason}", "yellow")
        usable = [query for query in queries if query.vector is not None]
        if not usable:
            raise InputError("none of the images can be read", "name others")
        vectors = np.stack([query.vector for query in usable if query.vector is not None])
        found = _nearest(space, place, vectors, k)
        if not any(found):
            raise WorkspaceError(*_EMPTY)
    if json_file is None:
        _show(usable, found)
    else:
        _write(json_file, where, usable, found)
        outputs.say_written([json_file])


def _place(space: "Workspace", where: str) -> "GalleryInfo | Collection":
    from ..engine.decoding.decode import PREPROCESSING
    from ..index.errors import WorkspaceError
    from .starter import gallery_named

    if where != SCANS:
        return gallery_named(space, where.removeprefix("./"))
    fitting = [c for c in space.scanned.collections() if c.preprocessing == PREPROCESSING]
    if not fitting:
        raise WorkspaceError(*_EMPTY)
    if len(fitting) > 1:
        # Vectors of two encoders cannot be compared: the default gallery says whose.
        encoder = space.choose_gallery().encoder_sha256
        fitting = [c for c in fitting if c.encoder_sha256 == encoder] or fitting
    return fitting[0]


def _nearest(
    space: "Workspace",
    place: "GalleryInfo | Collection",
    vectors: "NDArray[np.float32]",
    k: int,
) -> list[list[Near]]:
    from ..index.gallery_records import GalleryInfo

    if isinstance(place, GalleryInfo):
        return _in_gallery(space, place, vectors, k)
    return [
        [Near(1 - i.similarity, path=i.path, sha256=i.sha256, scans=i.scans) for i in images]
        for images in space.scanned.search(place, vectors, k)
    ]


def _in_gallery(
    space: "Workspace", info: "GalleryInfo", vectors: "NDArray[np.float32]", k: int
) -> list[list[Near]]:
    from ..engine.results import Label

    gallery = space.galleries.open(info)
    near: list[list[Near]] = [[] for _ in vectors]
    for label in Label:
        keys, cosines = gallery.search(label.value, vectors, k)
        references = gallery.describe(sorted({key for key in keys.ravel().tolist() if key >= 0}))
        for row, found in enumerate(near):
            for key, cosine in zip(keys[row].tolist(), cosines[row].tolist(), strict=True):
                if key >= 0:
                    r = references[key]
                    found.append(
                        Near(1 - cosine, r.id, r.path or "", r.sha256 or "", r.label, r.generator,
                             r.source)
                    )  # fmt: skip
    return [sorted(found, key=lambda one: one.distance)[:k] for found in near]


def _show(queries: "Sequence[Query]", found: list[list[Near]]) -> None:
    from . import render

    for query, images in zip(queries, found, strict=True):
        render.table(
            f"nearest to {query.path}",
            ("distance", "image", "label", "generator", "scans"),
            [
                (
                    f"{image.distance:.6f}",
                    " ".join(filter(None, (image.id, image.path or image.sha256))),
                    image.label,
                    image.generator,
                    " ".join(map(str, image.scans)),
                )
                for image in images
            ],
        )


def _write(target: Path, where: str, queries: "Sequence[Query]", found: list[list[Near]]) -> None:
    from ..engine.report.record import inert_json
    from . import outputs

    document = {
        "searched": where,
        "images": [
            {"path": query.path, "sha256": query.sha256, "nearest": [asdict(i) for i in images]}
            for query, images in zip(queries, found, strict=True)
        ],
    }
    with outputs.whole(target) as stream:
        json.dump(inert_json(document), stream, indent=1)
        stream.write("\n")
