"""Opens an image by its content, with the decoders that are trusted, before any pixel is decoded.

The order and the rules are those of ``PIL.Image.open``. Own code is needed for three things that
it cannot do without changing Pillow for the whole process: leave out formats, lift its limit on
pixels (the caller sets one), and open HEIC without registering a plugin.
"""

import contextlib
import functools
import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageFile

from ..quiet import quiet_warnings
from .raw import EXTRA as RAW_EXTRA
from .raw import is_raw

# fmt: off
ALLOWED = frozenset((
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF",
    "HEIF", "ICNS", "ICO", "IM", "IMT", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD",
    "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF",
    "JXL", "WEBP", "XBM", "XPM", "XVTHUMB",
))
# fmt: on
"""Formats that are decoded, by Pillow's names; JXL (JPEG XL) where the extra is installed.

What Pillow knows beside them: EPS (starts Ghostscript), IPTC (opens its payload as any format),
WMF, BUFR, GRIB, HDF5 and MPEG (stubs without a decoder).
"""

MULTI_FRAME = frozenset(("AVIF", "DCX", "FLI", "GIF", "HEIF", "MPO", "PNG", "TIFF", "WEBP"))
"""Formats whose frames or pages are pictures; what Pillow counts in a PSD are layers."""

EXTRAS = {"JPEG XL": "jxl", "RAW": RAW_EXTRA}
"""Formats that optional extras decode, and the names of those."""

_COMMON = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")  # what Pillow tries first

# Leading bytes, their offset, and the format: names a file that no decoder could open.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WEBP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyphei", "HEIF"),
    (4, b"ftyphev", "HEIF"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypmsf1", "HEIF"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"8BPS", "PSD"),
    (0, b"icns", "ICNS"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"BM", "BMP"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF-", "PDF"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"\0\0\x01\xb3", "MPEG"),
    (0, b"BUFR", "BUFR"),
    (0, b"GRIB", "GRIB"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
)
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)

# fmt: off
_RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw", ".x3f",
))
# fmt: on

_USUAL = frozenset(((".jpg", "JPEG"), (".jpeg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")))
"""Suffixes that are known without importing every decoder that Pillow has."""

_Opener = Callable[[io.BytesIO, str], ImageFile.ImageFile]


class NotIdentifiedError(Exception):
    """No decoder takes the file for its own; the message is what those said that looked closer."""


@dataclass(frozen=True, slots=True)
class _Plugin:
    name: str
    open: _Opener
    accepts: Callable[[bytes], bool | str] | None


def sniff(data: bytes) -> str:
    """Name a format by its first bytes: Pillow's name, another common one, or empty."""
    if data[:2] == b"BM" and len(data) < 26:
        return ""  # two letters say too little of a text
    if is_raw(data):
        return "RAW"
    for offset, signature, name in _SIGNATURES:
        if data.startswith(signature, offset):
            return name
    return ""


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Open an image by its content, as ``PIL.Image.open`` does; nothing but headers are read.

    Args:
        data: The file.

    Raises:
        NotIdentifiedError: No allowed decoder opens it.
        Exception: Whatever a decoder raises on a file that it has identified.
    """
    complaints = []
    for plugin in _plugins():
        try:
            accepted = plugin.accepts is None or plugin.accepts(data[:16])
            if isinstance(accepted, str):  # Pillow was built without this decoder
                complaints.append(accepted)
            elif accepted:
                return plugin.open(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            if plugin.accepts is not None:
                complaints.append(f"{plugin.name}: {error}")
    raise NotIdentifiedError("; ".join(complaints))


def claimed(prefix: bytes) -> bool:
    """Whether any decoder that is allowed takes a file for its own by its first bytes.

    Args:
        prefix: The first 16 bytes.
    """
    for plugin in (*_common_plugins(), *_other_plugins()):
        with contextlib.suppress(IndexError, TypeError, struct.error):  # of a file of a few bytes
            if plugin.accepts is not None and plugin.accepts(prefix):
                return True
    return False


def opens_unclaimed(prefix: bytes, size: int) -> bool:
    """Whether one of the few decoders without a signature (TGA, PCD, ...) may open a file.

    They are Python, and look at headers only. One that reads all of the prefix may, if there is
    more of the file.

    Args:
        prefix: The beginning of the file.
        size: Bytes of all of it.
    """
    with quiet_warnings():
        for plugin in _other_plugins():
            if plugin.accepts is None:
                file = io.BytesIO(prefix)
                try:
                    plugin.open(file, "")
                except (SyntaxError, IndexError, TypeError, struct.error):
                    if len(prefix) <= file.tell() < size:
                        return True
                    continue
                except Exception:  # it knows the file, and finds it broken
                    return True
                return True
    return False


@functools.cache
def suffix_fits(suffix: str, name: str) -> bool:
    """Whether a file name's suffix is one of a format's own.

    Args:
        suffix: With its dot, in lower case.
        name: The format, as :class:`~code_forensics.engine.decoding.decode.Decoded` names it.
    """
    if (suffix, name) in _USUAL:
        return True
    if name in ("HEIF", "AVIF") and suffix in (
        ".heic",
        ".heics",
        ".heif",
        ".heifs",
        ".hif",
        ".avif",
    ):
        return name == "HEIF" or suffix in (".avif", ".heif")
    if name == "MPO" and suffix == ".mpo":
        return True
    if name == "RAW":
        return suffix in _RAW_SUFFIXES
    if name == "JPEG XL":
        return suffix == ".jxl"
    Image.init()
    return Image.EXTENSION.get(suffix) == {"MPO": "JPEG", "DIB": "BMP"}.get(name, name)


def _plugins() -> Iterator[_Plugin]:
    """Decoders in the order in which Pillow asks them, the rare ones imported when they are due."""
    yield from _common_plugins()
    yield from _other_plugins()


@functools.cache
def _common_plugins() -> tuple[_Plugin, ...]:
    Image.preinit()
    return tuple(_Plugin(name, *Image.OPEN[name]) for name in _COMMON if name in Image.OPEN)


@functools.cache
def _other_plugins() -> tuple[_Plugin, ...]:
    Image.init()
    with contextlib.suppress(ImportError), quiet_warnings():
        import pillow_jxl  # noqa: F401 - registers JXL, which is then found below
    names = [name for name in dict.fromkeys(Image.ID) if name in ALLOWED and name not in _COMMON]
    plugins = [_Plugin(name, *Image.OPEN[name]) for name in names if name != "HEIF"]
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return tuple(plugins)
    return (*plugins, _Plugin("HEIF", HeifImageFile, _is_heif))


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS
