"""Fuzzes decoding, by hand: ``python -m tests.fuzz.decode --seconds 300``.

Inputs go the way that a scan's files go: what is trusted is decoded here, the rest in processes
that may be lost. Every input gives crops of the right shape or a reason with a short printable
word; a decoder that crashes or runs over the limit is counted, not a finding, as it costs one
file. Where Pillow opens and converts the whole file, there are crops.
"""

import io
import sys
from collections import Counter

import numpy as np
from code_forensics.engine.decoding import decode as decoding
from code_forensics.engine.decoding import formats, jpeg, raw, region
from code_forensics.engine.decoding.decode import Decoded, DecodeOptions, Reason
from code_forensics.engine.isolation import routing
from code_forensics.engine.isolation.decoders import Decoders
from PIL import Image

from tests.fuzz.guided import Target, fuzz

OPTIONS = DecodeOptions(max_pixels=1 << 22, max_bytes=1 << 24, timeout=20.0)
FORMATS = (
    "JPEG",
    "PNG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "AVIF",
    "JPEG2000",
    "ICO",
    "PPM",
    "TGA",
    "PCX",
)
COUNTS: Counter[str] = Counter()
TOKENS = [
    *(b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb"),
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT", b"GIF89a", b"\x21\xf9\x04"),
    *(b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"II*\0", b"MM\0*", b"ftypavif", b"mdat", b"iloc"),
    *(n.to_bytes(2, "big") for n in (0, 1, 0x7FFF, 0xFFFF)),
    *(n.to_bytes(4, "little") for n in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF)),
]  # fmt: skip


def seeds() -> list[bytes]:
    """A small picture of each format, in several modes."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8))
    found = []
    for form in FORMATS:
        for mode in ("RGB", "L", "P", "CMYK", "RGBA", "I;16", "1"):
            file = io.BytesIO()
            try:
                picture.convert("L" if mode == "I;16" else mode).convert(mode).save(file, form)
            except (OSError, ValueError, KeyError):
                continue
            found.append(file.getvalue())
    for options in ({"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}):
        file = io.BytesIO()
        picture.save(file, "JPEG", **options)
        found.append(file.getvalue())
    return found


class Check:
    """Decodes inputs, in processes that are kept from one to the next."""

    def __init__(self) -> None:
        self._decoders = Decoders(OPTIONS)

    def __call__(self, data: bytes) -> None:
        """One input: crops, or a reason."""
        answer = self._decoders.decode(data)
        if isinstance(answer, Decoded):
            COUNTS["decoded"] += 1
            if answer.views.shape != (1, 224, 224, 3) or answer.views.dtype != np.uint8:
                raise AssertionError(f"crops of shape {answer.views.shape}")
            return
        COUNTS[str(answer.reason)] += 1
        if not answer.detail.isprintable() or len(answer.detail) > 300:
            raise AssertionError(f"unfit detail {answer.detail!r}")
        if answer.reason in (Reason.NOT_AN_IMAGE, Reason.CORRUPT, Reason.TRUNCATED) and _opens(
            data
        ):
            raise AssertionError(f"Pillow opens what is {answer.reason}: {answer.detail}")


def _opens(data: bytes) -> bool:
    """Whether Pillow alone reads a file of a format that is trusted in this process."""
    if not data.startswith((b"\xff\xd8\xff", b"\x89PNG")) or not routing.is_trusted(data, OPTIONS):
        return False
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")
    except Exception:  # decoders raise nearly anything
        return False
    return True


def target() -> Target:
    """Decoding."""
    return Target(
        Check(),
        seeds(),
        (decoding, formats, jpeg, raw, region, routing),
        TOKENS,
        allowed=frozenset({
            "array.__new__", "subprocess.Popen", "os.fork_exec", "_posixsubprocess.fork_exec", "open", "import",
            "exec", "compile", "marshal.loads", "os.listdir", "os.posix_spawn", "_thread.start_new_thread",
            "_thread.start_joinable_thread", "os.kill", "signal.pthread_kill", "ctypes.dlopen",
            "ctypes.dlsym", "sys._current_frames", "os.putenv", "time.sleep", "ctypes.dlsym/handle",
        }),  # starting and replacing processes, and Pillow importing the decoders of rare formats
        seconds=5.0,
        memory=256 << 20,
    )  # fmt: skip


if __name__ == "__main__":
    code = fuzz(target(), __doc__ or "")
    print(dict(COUNTS))
    sys.exit(code)
