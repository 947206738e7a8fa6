"""Fuzzes the C that cuts tiles, by hand: ``python -m tests.fuzz.jpeg_tiles --seconds 300``.

It is compiled anew with the address and undefined behaviour sanitizers (of gcc or clang on Linux),
which end the process at the first read or write outside of what it was given; what it is given lies
in memory of its own, so that one byte too far is seen. Damaged JPEGs, damaged tables and any tiles:
each has no answer, or coded data that Pillow decodes to what it decodes the whole to. The file that
is being read lies in ``--out``, for when the process is ended.
"""

import argparse
import io
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from code_forensics.engine.decoding import jpeg, tiles
from code_forensics.engine.decoding.crop import CropBox
from PIL import Image

SOURCE = Path(tiles.__file__).with_name("jpeg_tiles.c")
COMPILER = os.environ.get("CC", "gcc")


def compiled(folder: Path) -> Path:
    """Compile with the sanitizers; returns the library that has to be loaded first."""
    target = folder / "jpeg_tiles.so"
    include = sysconfig.get_path("include")
    options = ["-g", "-O1", "-shared", "-fPIC", "-fsanitize=address,undefined", f"-I{include}"]
    strict = ["-Wall", "-Wextra", "-Werror", "-fno-sanitize-recover=all"]
    subprocess.run([COMPILER, *options, *strict, str(SOURCE), "-o", str(target)], check=True)
    name = [COMPILER, "-print-file-name=libasan.so"]
    return Path(subprocess.run(name, check=True, capture_output=True, text=True).stdout.strip())


def picture(rng: random.Random) -> bytes:
    """An intact JPEG."""
    width, height = rng.randrange(1, 200), rng.randrange(1, 200)
    levels = np.random.default_rng(rng.randrange(1 << 30))
    coarse = levels.integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    options = {"quality": rng.randrange(1, 101), "restart_marker_blocks": rng.choice((0, 0, 1, 9))}
    if rng.random() < 0.2:
        image.convert("L").save(file, "JPEG", **options)
    else:
        image.save(file, "JPEG", subsampling=rng.randrange(3), **options)
    return file.getvalue()


def damaged(data: bytes, start: int, rng: random.Random) -> bytes:
    """Change some bytes, most of them coded ones."""
    file = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(start if rng.random() < 0.8 else 2, len(file))
        match rng.randrange(4):
            case 0:
                file[at] ^= 1 << rng.randrange(8)
            case 1:
                del file[at : at + rng.randrange(1, 40)]
            case 2:
                file[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                file[at : at + 2] = rng.choice((b"\xff\0", b"\xff\xd9", b"\xff\xd0", b"\0\0"))
        if start >= len(file):
            break
    return bytes(file)


def boxes(width: int, height: int, rng: random.Random) -> list[CropBox]:
    """Some parts of a picture."""
    found = []
    for _ in range(rng.randrange(1, 4)):
        left, top = rng.randrange(width), rng.randrange(height)
        across, down = rng.randrange(1, width - left + 1), rng.randrange(1, height - top + 1)
        found.append(CropBox(left, top, across, down, 0, 0, 224))
    return found


def check(data: bytes, rng: random.Random) -> str:
    """Read parts of a file, and compare them with Pillow's; says what came of it."""
    header = jpeg.read_header(data)
    if header is None:
        return "no header"
    width, height = header.frame.width, header.frame.height
    if width * height > 1 << 20:
        return "large"
    wanted = boxes(width, height, rng)
    try:
        image = Image.open(io.BytesIO(data))
    except OSError:
        return "not opened"
    found = tiles.read_parts(data, width, height, wanted)
    if found is None:
        return "no answer"
    whole = np.asarray(image.convert("RGB"))
    for box, pixels in found.items():
        if not np.array_equal(pixels, whole[box.top : box.bottom, box.left : box.right]):
            raise AssertionError(f"other pixels: {box}")
    return "answers"


def nonsense(rng: random.Random) -> str:
    """Any bytes as data and as tables."""
    components = [
        (rng.randrange(1, 5), rng.randbytes(rng.randrange(40)), rng.randbytes(rng.randrange(40)))
        for _ in range(rng.choice((1, 3)))
    ]
    columns, rows = rng.randrange(1, 50), rng.randrange(1, 50)
    data = rng.randbytes(rng.randrange(300)).replace(b"\xff", b"\xff\0") + b"\xff\xd9"
    cut = tiles._cut
    assert cut is not None
    answer = cut(data, 0, 0, columns, rows, components, [(0, 0, columns, rows)])
    return "nonsense" if answer is None else "nonsense with an answer"


def work(seconds: float, seed: int, last: Path) -> None:
    """Fuzz in this process, whose C has the sanitizers."""
    rng, seen, end = random.Random(seed), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        data = picture(rng)
        header = jpeg.read_header(data)
        assert header is not None
        for _ in range(20):
            mutated = damaged(data, header.start, rng)
            last.write_bytes(mutated)
            seen[check(mutated, rng)] += 1
        seen[nonsense(rng)] += 1
    print(", ".join(f"{count} {name}" for name, count in seen.most_common()))


def main() -> None:
    """Compile, load the sanitizers first, and fuzz."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("last.jpg"))
    parser.add_argument("--library", type=Path, help="compiled already; for the process itself")
    options = parser.parse_args()
    if options.library:
        sys.path.insert(0, str(options.library.parent))
        import jpeg_tiles

        tiles._cut = jpeg_tiles.cut
        work(options.seconds, options.seed, options.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        sanitizer = compiled(Path(folder))
        again = [sys.executable, "-m", "tests.fuzz.jpeg_tiles", "--library", f"{folder}/x"]
        environment = os.environ | {"LD_PRELOAD": str(sanitizer), "PYTHONMALLOC": "malloc"}
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
        arguments = ["--seconds", str(options.seconds), "--seed", str(options.seed)]
        arguments += ["--out", str(options.out)]
        sys.exit(subprocess.run([*again, *arguments], env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
