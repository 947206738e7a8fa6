"""The run record: everything that a verdict depends on, and where it was made."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .decoding.decode import decoder_versions
from .decoding.views import ViewPlan
from .embedding.load import TORCH
from .judging.judge import Judge
from .starter.read import starters_licence

if TYPE_CHECKING:
    from .embedding.contracts import KnownEncoder
    from .embedding.precision import PrecisionBand

_PACKAGES = (
    "code-forensics",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "nvidia-nvimgcodec-cu12",
    "pillow",
    "pillow-heif",
    "safetensors",
    "torch",
)

_UNSTATED = {"backend": TORCH}
"""What was so when records did not state it."""


@dataclass(frozen=True, slots=True)
class GalleryIdentity:
    """Which references a scan compared with.

    Attributes:
        name: As the user calls it.
        sha256: Over encoder, preprocessing and every reference.
        generation: Number of changes to it so far.
        reals: References labelled real.
        fakes: References labelled fake.
        search: How each class is searched: comparing every reference, or in cells.
        encoder_origin: Where the encoder came from: a repository of the hub, a folder, a package.
    """

    name: str
    sha256: str
    generation: int
    reals: int
    fakes: int
    search: Mapping[str, Any]
    encoder_origin: str


def run_record(
    arguments: Mapping[str, Any],
    gallery: GalleryIdentity,
    embedder: "KnownEncoder",
    preprocessing: str,
    judge: Judge,
    views: ViewPlan | None = None,
    bands: Sequence["PrecisionBand"] = (),
) -> dict[str, Any]:
    """Describe a run, JSON-able.

    Args:
        arguments: What the user asked for.
        gallery: What was compared with.
        embedder: What embedded.
        preprocessing: Identity of the steps before the encoder.
        judge: What decides.
        views: What is embedded of each picture; None for the centre crop alone.
        bands: Of what is not computed in float32.
    """
    return {
        "arguments": dict(arguments),
        "preprocessing": preprocessing,
        "views": (views or ViewPlan()).record(),
        **_bands(bands),
        **environment(embedder),
        **_judged_here(gallery, judge),
    }


def environment(embedder: "KnownEncoder") -> dict[str, Any]:
    """The part of a run record that says what embeds and decodes, and on which machine."""
    return {
        "encoder": {
            "sha256": embedder.sha256,
            "precision": embedder.precision,
            "device": embedder.device,
            "backend": embedder.backend,
            **_licence(embedder.sha256),
        },
        "decoders": decoder_versions(),
        **_here(),
    }


def environment_changes(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """What differs between the environments of two run records.

    Returns:
        What, what it was, and what it is; the host's number of cores does not count, nor the
        encoder's licence, which older records do not state. PyTorch embedded where they state no
        backend.
    """
    changes = set()
    for part in ("encoder", "decoders", "packages", "host"):
        old, new = before.get(part, {}), now.get(part, {})
        for name in {*old, *new} - {"cores", "licence"}:
            was, became = (record.get(name, _UNSTATED.get(name, "absent")) for record in (old, new))
            if was != became:
                changes.add((name, str(was), str(became)))
    return sorted(changes)


def rejudge_record(
    earlier: Mapping[str, Any],
    scan: int,
    uuid: str,
    gallery: GalleryIdentity,
    judge: Judge,
    bands: Sequence["PrecisionBand"] = (),
) -> dict[str, Any]:
    """Describe a run that judges an earlier one again, JSON-able.

    Args:
        earlier: Run record of the earlier scan: what embedded and decoded stays as it says.
        scan: Number of the earlier scan.
        uuid: Identity of the earlier scan.
        gallery: What was compared with.
        judge: What decides.
        bands: Of the vectors that were not computed in float32.
    """
    rejudged: dict[str, Any] = {"scan": scan, "id": uuid, "version": earlier["version"]}
    before = earlier.get("rejudged", {}).get("purged", ())
    if purged := [*before, *earlier.get("purged", ())]:
        rejudged["purged"] = purged
    return {
        **{name: value for name, value in earlier.items() if name != "purged"},
        "encoder": {**earlier["encoder"], **_licence(earlier["encoder"]["sha256"])},
        **_bands(bands),
        "rejudged": rejudged,
        **_judged_here(gallery, judge),
    }


def _licence(encoder_sha256: str) -> dict[str, str]:
    """That of the embedded starter's encoder, which its references share; nothing of others."""
    licence = starters_licence(encoder_sha256)
    return {} if licence is None else {"licence": licence}


def _bands(bands: Sequence["PrecisionBand"]) -> dict[str, Any]:
    return {"precision_bands": {band.precision: band.as_dict() for band in bands}}


def _judged_here(gallery: GalleryIdentity, judge: Judge) -> dict[str, Any]:
    return {
        "tool": "code-forensics",
        "version": version("code-forensics"),
        "gallery": {
            "name": gallery.name,
            "sha256": gallery.sha256,
            "generation": gallery.generation,
            "reals": gallery.reals,
            "fakes": gallery.fakes,
            "search": dict(gallery.search),
            "encoder_origin": gallery.encoder_origin,
        },
        "k": judge.k,
        "judging": judge.record(),
        **_here(),
    }


def _here() -> dict[str, Any]:
    return {
        "packages": package_versions(),
        "host": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cores": os.cpu_count() or 1,
        },
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on, those that are installed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
