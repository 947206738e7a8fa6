"""nvImageCodec, which reads parts of JPEGs where the tiles' C was not compiled."""

import io
import subprocess
import sys

import numpy as np
import pytest
from code_forensics.engine.decoding import region, tiles
from code_forensics.engine.decoding.decode import Decoded, decode
from PIL import Image

pytestmark = pytest.mark.skipif(
    region.region_version() is None, reason="nvImageCodec has no wheel for this platform"
)


@pytest.fixture(autouse=True)
def _no_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "_cut", None)


def noise():
    file = io.BytesIO()
    Image.effect_noise((600, 420), 60).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()


INTACT = noise()


def test_other_pixels_in_the_probe_switch_it_off(monkeypatch):
    def off_by_one(self, data, box):
        return np.ones((box.height, box.width, 3), np.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(region.RegionDecoder, "read", off_by_one)
        region._load.cache_clear()
        assert region.region_version() is None
        answer = decode(INTACT)
    region._load.cache_clear()
    assert isinstance(answer, Decoded)
    assert answer.decoder == "pillow"
    assert region.region_version() is not None


def test_a_missing_package_is_no_error(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(region, "_MODULE", "nvidia.no_such_codec")
        region._load.cache_clear()
        assert region.region_version() is None
        assert isinstance(decode(INTACT), Decoded)
    region._load.cache_clear()


QUIET = """
import io, os, sys
from PIL import Image
sys.modules["code_forensics.engine.decoding.jpeg_tiles"] = None
environment = dict(os.environ)
from code_forensics.engine.decoding.decode import decode
assert not any(name.startswith("nvidia") for name in sys.modules)
file = io.BytesIO()
Image.effect_noise((600, 500), 60).convert("RGB").save(file, "JPEG")
assert decode(file.getvalue()).decoder == "nvimgcodec"
assert dict(os.environ) == environment
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        os._exit(decode(file.getvalue()).decoder != "nvimgcodec")
    assert os.waitpid(child, 0)[1] == 0
"""

DROPPED = """
import io, os, sys
from PIL import Image
sys.modules["code_forensics.engine.decoding.jpeg_tiles"] = None
from code_forensics.engine.decoding.decode import decode
from code_forensics.engine.quiet import native_messages_dropped
file = io.BytesIO()
Image.effect_noise((600, 500), 60).convert("RGB").save(file, "JPEG")
cut = file.getvalue()[:9000] + bytes([255, 217])
def broken():
    assert decode(cut).decoder == "nvimgcodec"
with native_messages_dropped():
    broken()
    os.write(2, b"dropped")
    print("python speaks", file=sys.stderr)
os.write(2, b"and so does C")
"""


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_first_use_is_lazy_silent_and_leaves_no_trace():
    done = run(QUIET)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_native_messages_can_be_dropped_for_a_whole_process():
    done = run(DROPPED)
    assert (done.returncode, done.stderr) == (0, "python speaks\nand so does C")
