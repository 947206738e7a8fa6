"""What a scan embeds with, where the user wants less than float32: two encoders and a band."""

from collections.abc import Iterable

from ..engine.embedding.config import Place, Precision
from ..engine.embedding.contracts import KnownEncoder
from ..engine.embedding.deferred import DeferredEmbedder
from ..engine.embedding.precision import Audit, PrecisionBand, Safeguard, cosine_band
from ..engine.embedding.processor import has_amx, rounding_of
from ..engine.errors import DeviceError
from ..engine.judging.judge import Judge
from ..index.gallery_records import GalleryInfo
from ..index.workspace import Workspace
from .console import say
from .encoders import EncoderChoice, checkpoint_of_gallery, embedder_of_gallery
from .options import DeviceChoice, PrecisionChoice

LEAST_SETTLED = 0.5
"""Share of pictures that reduced precision has to settle: what it does not settle needs both, and
float32 alone takes about twice as long."""


def embedders_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, choice: EncoderChoice, k: int
) -> tuple[KnownEncoder, Safeguard | None]:
    """The encoder that made a gallery, in the precision asked for, and what keeps that exact.

    ``auto`` is float32: that bfloat16 gives the same answers can be measured, not proven.

    Raises:
        InputError: ``--weights`` is another encoder.
        DeviceError: The device cannot compute in that precision.
    """
    if not choice.precision.reduced:
        return embedder_of_gallery(workspace, gallery, choice), None
    checkpoint = checkpoint_of_gallery(workspace, gallery, choice)
    exact = DeferredEmbedder(checkpoint, choice.device.value)
    precision: Precision = "bfloat16" if choice.precision is PrecisionChoice.BFLOAT16 else "float16"
    reduced = DeferredEmbedder(checkpoint, choice.device.value, precision)
    if precision == "bfloat16" and not _pays(exact.device):
        say("this processor is slower in bfloat16 than in float32", "yellow")
    band = band_of_gallery(workspace, gallery, reduced, exact, k)
    return reduced, Safeguard(exact, Audit(band))


def _pays(device: Place) -> bool:
    """Whether bfloat16 is faster there; PyTorch is asked where the processor alone does not say."""
    if device == "cpu" and has_amx():
        return True
    from ..engine.embedding.embed import bfloat16_pays

    return bfloat16_pays(device)


def if_it_pays(
    embedder: KnownEncoder, safeguard: Safeguard | None, judge: Judge
) -> tuple[KnownEncoder, Safeguard | None]:
    """What :func:`embedders_of_gallery` gave, or float32 alone where most would need that anyway.

    What is to be expected follows from the gallery's own references, so that the same scan embeds
    in the same precision each time.
    """
    if safeguard is None:
        return embedder, None
    settled = judge.share_settled(safeguard.audit.band.width)
    if settled is None or settled >= LEAST_SETTLED:
        return embedder, safeguard
    say(
        f"{embedder.precision} would settle {settled:.0%} of pictures like the gallery's"
        " references: embedding in float32, which is faster then"
    )
    return safeguard.exact, None


def band_of_gallery(
    workspace: Workspace, gallery: GalleryInfo, reduced: KnownEncoder, exact: KnownEncoder, k: int
) -> PrecisionBand:
    """How far a precision may move a gallery's scores: as kept, else measured and kept."""
    key = rounding_of(reduced.device, reduced.precision)
    kept = workspace.bands.get(gallery, k, key)
    if kept is not None:
        return PrecisionBand.of(kept)
    say(f"measuring how far {reduced.precision} moves the scores of {gallery.name} (once)")
    band = cosine_band(reduced, exact, workspace.galleries.open(gallery), k)
    workspace.bands.keep(gallery, k, key, band.as_dict())
    return band


def bands_for_rejudging(
    workspace: Workspace, gallery: GalleryInfo, precisions: Iterable[str], k: int
) -> list[PrecisionBand]:
    """The bands of stored vectors; one whose precision cannot be had here stays unknown.

    Args:
        workspace: Keeps the encoder.
        gallery: What is compared with.
        precisions: Of the vectors; float32 has no band.
        k: Neighbours of each class.
    """
    bands = []
    for precision in map(PrecisionChoice, precisions):
        if not precision.reduced:
            continue
        choice = EncoderChoice(None, DeviceChoice.AUTO, precision)
        try:
            _, safeguard = embedders_of_gallery(workspace, gallery, choice, k)
        except DeviceError as error:
            say(f"{error}: what was embedded in {precision} is inconclusive", "yellow")
            continue
        assert safeguard is not None
        bands.append(safeguard.audit.band)
    return bands
