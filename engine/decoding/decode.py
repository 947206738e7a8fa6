"""Turns the bytes of an image into CoDE's input, the crop, or into the reason why there is none.

The rule: the answer is Pillow's. The crop equals ``center_crop(Image.open(f).convert("RGB"))`` of
the published pipeline bit by bit, and a file that Pillow refuses is refused. Everything else here
is a faster way to the same answer.
"""

import enum
import importlib.metadata
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFile, features

from ..archives.kinds import HEAD, kind_of
from ..quiet import quiet_warnings
from . import raw
from .crop import CropBox, centre_crop
from .formats import ALLOWED, EXTRAS, MULTI_FRAME, NotIdentifiedError, open_image, sniff
from .frames import count_gif_frames, count_pages
from .region import read_region, region_version
from .tiles import VERSION as TILES
from .tiles import can_cut, pays, read_parts
from .views import SIZE, Pixels, Read, ViewPlan

PREPROCESSING = "code-centre224-rgb/1"
"""Identity of all steps from file to crop; changes when a pixel of any crop could change."""

Holding = Callable[[int], AbstractContextManager[object]]
"""Entered for as long as a number of decoded pixels are in memory."""

_DETAIL = 200  # characters of a decoder's own words that are kept
_SMALL = 2 * SIZE * SIZE  # pixels below which reading a part saves nothing


class Reason(enum.StrEnum):
    """Why a file gives no crop."""

    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # no decoder knows the content
    UNSUPPORTED = "unsupported"  # an image, but of a kind that is not decoded
    TRUNCATED = "truncated"  # it ends too early
    CORRUPT = "corrupt"  # its decoder found an error
    TOO_LARGE = "too_large"  # more bytes than the limit, packed or unpacked
    TOO_MANY_PIXELS = "too_many_pixels"  # more pixels than the limit
    NO_MEMORY = "no_memory"  # decoding needs more memory than there is
    DECODER_CRASHED = "decoder_crashed"  # its decoder brought its process down
    DECODE_TIMEOUT = "decode_timeout"  # its decoder took longer than the limit


class Isolation(enum.StrEnum):
    """What is decoded in processes that may be lost (:mod:`code_forensics.engine.isolation`)."""

    NONE = "none"  # nothing
    AUTO = "auto"  # what could crash or hang
    ALL = "all"  # every file


LONGEST = 86_400.0
"""Seconds that a decoder may be given, at most: a day."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Bounds on what is decoded.

    Attributes:
        max_pixels: Most pixels that the header may announce. The default, 2**28, covers 200 MP
            phone cameras and every WebP, is libavif's own limit, and keeps one decoded image
            within 1 GiB (Pillow takes 4 bytes a pixel).
        max_bytes: Largest file, in bytes. The default, 2**30, covers 2**28 pixels of
            uncompressed RGB.
        timeout: Seconds after which an isolated decoder is stopped (see
            :mod:`code_forensics.engine.isolation`), a day at most. The default, 60, is ten times
            what the largest image within `max_pixels` takes on a slow core.
        isolation: What processes of their own decode; no answer depends on it.
        region: Read only parts of a JPEG where that is proven to give the same pixels; False
            leaves every file to Pillow, for comparison.
        views: What is cut out of each picture.
    """

    max_pixels: int = 1 << 28
    max_bytes: int = 1 << 30
    timeout: float = 60.0
    isolation: Isolation = Isolation.AUTO
    region: bool = True
    views: ViewPlan = field(default_factory=ViewPlan)

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= LONGEST:
            raise ValueError(f"a timeout lies between 0 and {LONGEST} seconds, not {self.timeout}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image's crops, and what its header says.

    Attributes:
        views: Array of shape (V, 224, 224, 3), uint8, C-contiguous, RGB: the centre crop, then
            what the plan of views adds.
        format: Pillow's name of the format ("JPEG", "PNG", ...; "HEIF" for HEIC too).
        width: Width of the first frame in pixels, EXIF orientation not applied.
        height: Its height.
        frames: Frames or pages in the file, the first of which is the crop's; counting is bounded
            (:mod:`.frames`), and what other formats hold (layers, sizes) is not counted.
        decoder: "pillow", "tiles" (:mod:`.tiles`), "nvimgcodec" (:mod:`.region`) or "libraw".
    """

    views: Pixels
    format: str
    width: int
    height: int
    frames: int
    decoder: str

    @property
    def crop(self) -> Pixels:
        """The centre crop, shape (224, 224, 3)."""
        crop: Pixels = self.views[0]
        return crop


@dataclass(frozen=True, slots=True)
class Undecodable:
    """The reason why there is no crop.

    Attributes:
        reason: A stable code.
        detail: The decoder's own words, one printable line of ASCII; may be empty.
        format: The format, also of an archive or of mail, as far as the first bytes tell; else
            empty.
        width: Width that the header announces, in pixels; None where it could not be read.
        height: Height likewise.
    """

    reason: Reason
    detail: str
    format: str
    width: int | None
    height: int | None


def decode(
    data: bytes, options: DecodeOptions = DecodeOptions(), holding: Holding = nullcontext
) -> Decoded | Undecodable:
    """Decode an image to its crops. Thread-safe; bad input is an answer, not an exception.

    Args:
        data: The whole file.
        options: Bounds.
        holding: Entered while all pixels are in memory; may wait for room.
    """
    if not data:
        return Undecodable(Reason.EMPTY, "", "", None, None)
    if len(data) > options.max_bytes:
        detail = f"{len(data)} bytes, the limit is {options.max_bytes}"
        return Undecodable(Reason.TOO_LARGE, detail, sniff(data), None, None)
    if raw.is_raw(data) and raw.available():
        return _develop(data, options)
    with quiet_warnings():
        try:
            image = open_image(data)
        except Exception as error:  # decoders raise nearly anything on hostile headers
            return _refusal(error, data, None)
        if refusal := _too_many_pixels(image.size, _name(image), options):
            return refusal
        try:
            parts = _in_part(image, data, options)
            if parts is not None:
                return parts
            with holding(image.width * image.height):
                image.load()
                return _whole(image, _frames(image, data), options.views)
        except Exception as error:
            return _refusal(error, data, image)


def decode_frames(
    data: bytes, start: int, stop: int, frames: int, options: DecodeOptions = DecodeOptions()
) -> Iterator[Decoded | Undecodable]:
    """Decode some frames, or pages, of an image that has several, one after the other.

    Args:
        data: The whole file.
        start: First frame, from 0.
        stop: First frame that is not wanted.
        frames: How many the file has, as decoding its first one found: counting takes long.
        options: Bounds.

    Yields:
        An answer for each, like that of :func:`decode` for the first frame.
    """
    with quiet_warnings():
        try:
            image = open_image(data)
        except Exception as error:
            yield from [_refusal(error, data, None)] * (stop - start)
            return
        for number in range(start, stop):
            try:
                image.seek(number)
                answer = _too_many_pixels(image.size, _name(image), options) or _whole(
                    image, frames, options.views
                )
            except Exception as error:
                yield _refusal(error, data, image)
            else:
                yield answer


def decoder_versions() -> dict[str, str]:
    """Versions of everything that turns bytes into pixels here, by name."""
    versions = {"pillow": importlib.metadata.version("pillow")}
    for name in (
        "libjpeg_turbo",
        "jpg_2000",
        "zlib",
        "zlib_ng",
        "libtiff",
        "webp",
        "avif",
        "littlecms2",
    ):
        if features.check(name) and (version := features.version(name)):
            versions[name] = version
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        versions["pillow_heif"] = pillow_heif.__version__
        versions["libheif"] = pillow_heif.libheif_version()
    if can_cut():
        versions["jpeg_tiles"] = TILES
    elif nvimgcodec := region_version():
        versions["nvimgcodec"] = nvimgcodec
    return versions


def load_decoders() -> None:
    """Load what else would be loaded with the first file, which takes rights that may go."""
    if not can_cut():
        region_version()


def _name(image: ImageFile.ImageFile) -> str:
    return "JPEG XL" if image.format == "JXL" else image.format or ""


def _too_many_pixels(
    size: tuple[int, int], name: str, options: DecodeOptions
) -> Undecodable | None:
    width, height = size
    if width * height <= options.max_pixels:
        return None
    detail = f"{width} x {height} pixels, the limit is {options.max_pixels}"
    return Undecodable(Reason.TOO_MANY_PIXELS, detail, name, width, height)


def _develop(data: bytes, options: DecodeOptions) -> Decoded | Undecodable:
    try:
        opened = raw.RawImage(data)
        if refusal := _too_many_pixels(opened.size, "RAW", options):
            return refusal
        image = opened.develop()
    except Exception as error:  # LibRaw's own family, and whatever NumPy makes of odd sizes
        return _refusal(error, data, None)
    views = options.views.cut(image.width, image.height, _reader(image))
    return Decoded(views, "RAW", image.width, image.height, 1, "libraw")


def _in_part(image: ImageFile.ImageFile, data: bytes, options: DecodeOptions) -> Decoded | None:
    """Decode no more than is looked at; None where that is not proven to give the same pixels."""
    name, (width, height), plan = _name(image), image.size, options.views
    if not options.region or name not in ("JPEG", "MPO") or width * height <= _SMALL:
        return None
    read: Read | None = None
    if can_cut():
        boxes = plan.reads(width, height)
        parts = read_parts(data, width, height, boxes) if pays(width, height, boxes) else None
        decoder, read = "tiles", None if parts is None else parts.__getitem__
    elif plan.reach:
        middle = centre_crop(width, height, plan.reach)
        pixels = read_region(data, width, height, middle)
        decoder, read = "nvimgcodec", None if pixels is None else _part_of(pixels, middle)
    if read is None:
        return None
    return Decoded(
        plan.cut(width, height, read), name, width, height, _frames(image, data), decoder
    )


def _whole(image: ImageFile.ImageFile, frames: int, plan: ViewPlan) -> Decoded:
    image.load()
    width, height = image.size  # some formats know their size only now
    views = plan.cut(width, height, _reader(image))
    return Decoded(views, _name(image), width, height, frames, "pillow")


def _reader(image: Image.Image) -> Read:
    """Reads parts of a picture that is in memory."""
    return lambda box: _to_rgb(image.crop((box.left, box.top, box.right, box.bottom)))


def _part_of(pixels: Pixels, whole: CropBox) -> Read:
    """Reads parts of a part."""
    return lambda box: pixels[
        box.top - whole.top : box.bottom - whole.top, box.left - whole.left : box.right - whole.left
    ]


def _to_rgb(part: Image.Image) -> Pixels:
    """Convert the crop alone: every conversion to RGB is pixel by pixel, so the order is free."""
    # Pillow only warns of, or recolours, the transparency that RGB is going to lose.
    part.info.pop("transparency", None)
    return np.asarray(part.convert("RGB"))


def _frames(image: ImageFile.ImageFile, data: bytes) -> int:
    """Count frames, at least the one that is there, within bounds of time."""
    if image.format == "TIFF":
        return max(1, count_pages(data))
    if image.format == "GIF":
        return max(1, count_gif_frames(data))
    if image.format not in MULTI_FRAME:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))  # as the header says
    except Exception:  # a damaged later frame does not spoil the first
        return 1


_TRUNCATED = re.compile(
    r"truncat|unexpected end|not enough (image )?data|premature|end of file|end of data",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|not support|cannot handle|unknown (pixel|image) mode"
    r"|not implemented|unimplemented|could not be identified because|cannot load this image",
    re.IGNORECASE,
)
_UNPACKED = re.compile(r"decompressed data too large|MAX_TEXT|too much memory", re.IGNORECASE)


def _refusal(error: Exception, data: bytes, image: ImageFile.ImageFile | None) -> Undecodable:
    name = (_name(image) if image is not None else "") or sniff(data)
    width, height = image.size if image is not None else (None, None)
    reason, detail = _reason(error, name), _detail(error)
    if reason is Reason.NOT_AN_IMAGE:
        name = str(kind_of(data[:HEAD], "") or "")  # whatever the file is called: copies are alike
    if reason is Reason.UNSUPPORTED and isinstance(error, NotIdentifiedError) and name in EXTRAS:
        detail = f"{name} needs: pip install 'code-forensics[{EXTRAS[name]}]', then --retry-failed"
    return Undecodable(reason, detail, name, width, height)


def _reason(error: Exception, name: str) -> Reason:
    said = str(error)
    if isinstance(error, MemoryError):
        return Reason.NO_MEMORY
    if isinstance(error, Image.DecompressionBombError):
        return Reason.TOO_MANY_PIXELS
    if not name:  # at most, a decoder without a signature of its own gave it a try
        return Reason.NOT_AN_IMAGE
    missing = isinstance(error, NotIdentifiedError) and "JXL: " not in said  # the extra
    if name not in ALLOWED and (missing or name not in EXTRAS):
        return Reason.UNSUPPORTED
    if _UNPACKED.search(said):
        return Reason.TOO_LARGE
    if isinstance(error, EOFError) or _TRUNCATED.search(said):
        return Reason.TRUNCATED
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(said):
        return Reason.UNSUPPORTED
    return Reason.CORRUPT


def _detail(error: Exception) -> str:
    """An exception in one printable line, without addresses, which differ from run to run."""
    said = re.sub(r"<[\w.]+ object at 0x[0-9a-fA-F]+>", "the file", str(error))
    line = " ".join(f"{type(error).__name__}: {said}".split()) if said else type(error).__name__
    return line.encode("ascii", "backslashreplace").decode()[:_DETAIL].translate(_CONTROLS)


_CONTROLS = dict.fromkeys((*range(32), 127), "?")
