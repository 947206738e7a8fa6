"""Reads only the middle of a JPEG, with nvImageCodec on the CPU, to the same pixels as Pillow.

nvImageCodec is NVIDIA's; its JPEG decoder for the CPU is libjpeg-turbo, as Pillow's is, and skips
the inverse transform, upsampling and colour conversion of what is not wanted. It is used for what
:mod:`.jpeg` lets through, and not at all where a probe image comes out different.
"""

import contextlib
import functools
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .crop import CropBox
from .jpeg import is_intact, read_header

_CPU = -99999  # NVIMGCODEC_DEVICE_CPU_ONLY
_EXTENSIONS = "extensions/*jpeg_turbo*"
_MODULE = "nvidia.nvimgcodec"
_loading = threading.Lock()


class RegionDecoder:
    """Decodes parts of JPEGs; one object a thread."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._decoder = codec.Decoder(
            device_id=_CPU,
            max_num_cpu_threads=1,
            backends=[codec.Backend(codec.BackendKind.CPU_ONLY)],
            options=":fancy_upsampling=1 :fast_idct=0",  # libjpeg's defaults, which Pillow keeps
        )
        self._params = codec.DecodeParams(
            apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB
        )

    def read(self, data: bytes, box: CropBox) -> NDArray[np.uint8] | None:
        """Decode a part of a JPEG.

        Args:
            data: The file.
            box: The part, inside the image.

        Returns:
            Array of shape (box.height, box.width, 3), uint8, RGB; None where nvImageCodec refuses:
            on errors, and on images of more than 2**29 samples (179 MP in colour), its own limit.
        """
        codec = self._codec
        region = codec.Region((box.top, box.left), (box.bottom, box.right))
        try:
            stream = codec.CodeStream(data).get_sub_code_stream(region=region)
            image = self._decoder.decode(stream, params=self._params)
        except (RuntimeError, ValueError):
            return None
        if image is None:
            return None
        pixels = np.array(image.cpu())  # a copy: the image owns its memory
        expected = (box.height, box.width, 3)
        return pixels if pixels.shape == expected and pixels.dtype == np.uint8 else None


def read_region(data: bytes, width: int, height: int, box: CropBox) -> NDArray[np.uint8] | None:
    """Decode a part of a JPEG where that is proven to give Pillow's pixels.

    Args:
        data: The file.
        width: Width that Pillow reads from it.
        height: Height that Pillow reads from it.
        box: The part, inside the image.

    Returns:
        Array of shape (box.height, box.width, 3), uint8, RGB; None where Pillow must decide.
    """
    header = read_header(data)
    if header is None or (header.frame.width, header.frame.height) != (width, height):
        return None
    if not is_intact(data, header):
        return None
    decoder = _decoder()
    return None if decoder is None else decoder.read(data, box)


def region_version() -> str | None:
    """Version of nvImageCodec; None where it is missing or failed its probe."""
    codec = _codec()
    return None if codec is None else str(codec.__version__)


_local = threading.local()


def _decoder() -> RegionDecoder | None:
    """This thread's decoder, made anew in a forked child, which has none of the threads in it."""
    codec = _codec()
    if codec is None:
        return None
    if getattr(_local, "process", None) != os.getpid():
        _local.process, _local.decoder = os.getpid(), RegionDecoder(codec)
    decoder: RegionDecoder = _local.decoder
    return decoder


def _codec() -> Any:
    """The module, loaded and probed once; None where it cannot be used."""
    with _loading:
        return _load()


@functools.cache
def _load() -> Any:
    try:
        if importlib.util.find_spec(_MODULE) is None:
            return None
        with _quiet_import():
            codec = importlib.import_module(_MODULE)
        return codec if _agrees(RegionDecoder(codec).read) else None
    except (ImportError, AttributeError, OSError, RuntimeError, TypeError, ValueError):
        return None  # absent, of another version, or on a platform that it does not know


@contextlib.contextmanager
def _quiet_import() -> Iterator[None]:
    """Let nvImageCodec load its CPU JPEG decoder alone, and say nothing.

    As it is imported, it loads every extension in a folder and prints an error for each whose CUDA
    library is missing. It takes its orders from the environment only, so the environment has them
    for as long as the import takes. A process that has imported it before keeps its settings.
    """
    if _MODULE in sys.modules:
        yield
        return
    package = importlib.util.find_spec(_MODULE)
    home = Path(package.origin).parent if package and package.origin else Path()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for extension in home.glob(_EXTENSIONS):
            target = Path(folder) / extension.name
            try:
                target.symlink_to(extension)
            except OSError:  # Windows lets only some users make links
                shutil.copy2(extension, target)
        orders = {"NVIMGCODEC_EXTENSIONS_PATH": folder, "PYNVIMGCODEC_VERBOSITY": "0"}
        before = {name: os.environ.get(name) for name in orders}
        os.environ.update(orders)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _agrees(read: Callable[[bytes, CropBox], NDArray[np.uint8] | None]) -> bool:
    """Whether decoding parts of small JPEGs gives Pillow's pixels with the versions at hand."""
    noise = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((171, 133), Image.Resampling.BICUBIC)
    box = CropBox(left=37, top=29, width=90, height=71, x=0, y=0, size=90)
    for subsampling in (0, 1, 2):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85, subsampling=subsampling)
        with Image.open(io.BytesIO(file.getvalue())) as opened:
            expected = np.asarray(opened.crop((box.left, box.top, box.right, box.bottom)))
        pixels = read(file.getvalue(), box)
        if pixels is None or not np.array_equal(pixels, expected):
            return False
    return True
