"""Scans broken and hostile files and prints what became of them, by group.

    python -m tests.benchmarks.corpus [--awkward DIR] [--cuts 24] [--keep DIR]

The corpus is made here: pictures of every format cut off at many offsets and with flipped bits,
bombs of pixels and of packed bytes, FIFOs, sparse files, damaged archives; and, where it is there,
the collection ``../shared/data/awkward``. It is scanned by ``code-scan --archives --frames all`` in a
process of its own whose peak memory is measured. Pillow alone then opens each file in another
process, and every disagreement is printed. The exit code is 1 where a file has no row, has several,
or where Pillow reads a picture that the scan does not, within the scan's bounds.
"""

import argparse
import csv
import gzip
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from code_forensics.engine.embedding.checkpoint import write_checkpoint
from PIL import Image

from tests.conftest import SHARED, SMALL, draw_checkpoint, draw_photo
from tests.engine.test_archives import mail_of, tar_of, zip_of

FORMATS = (
    "JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "ICO", "PPM", "TGA", "PCX", "HEIF"
)  # fmt: skip
DECLINED = {"EPS"}  # Pillow starts Ghostscript for it
PASSING = {"too_large", "too_many_pixels", "decode_timeout", "decoder_crashed", "no_memory"}
_PILLOW = """
import sys, warnings
warnings.simplefilter("ignore")
from PIL import Image
import pillow_heif
pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = 1 << 28
for line in sys.stdin.buffer:
    path = line.rstrip(b"\\n")
    try:
        with Image.open(path) as image:
            image.convert("RGB")
        print("opens", flush=True)
    except BaseException as error:
        print(type(error).__name__, flush=True)
"""


def pictures() -> Iterator[tuple[str, bytes]]:
    """A picture of each format."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 64, 3), dtype=np.uint8)).resize((320, 300))
    for form in FORMATS:
        file = io.BytesIO()
        image.save(file, form)
        yield form, file.getvalue()


def png_bomb(side: int) -> bytes:
    """A PNG of so many black pixels a side, of few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + crc

    head = side.to_bytes(4, "big") * 2 + b"\1\0\0\0\0"
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def make(folder: Path, cuts: int) -> None:
    """Write the corpus, one folder a group."""
    rng = np.random.default_rng(1)

    def put(group: str, name: str, data: bytes) -> None:
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / name).write_bytes(data)

    for form, data in pictures():
        put("whole", f"a.{form.lower()}", data)
        for number in range(cuts):
            put("cut off", f"{number}.{form.lower()}", data[: len(data) * number // cuts])
            flipped = bytearray(data)
            for at in rng.integers(0, len(data), 1 << (number % 5)):
                flipped[at] ^= 1 << int(rng.integers(0, 8))
            put("flipped bits", f"{number}.{form.lower()}", bytes(flipped))
    put("bombs", "pixels.png", png_bomb(40_000))
    put("bombs", "unpacked.png", png_bomb(12_000))
    put("bombs", "zeros.gz", gzip.compress(bytes(600 << 20), 9))
    put("bombs", "zeros.zip", zip_of({f"{n}.bmp": bytes(40 << 20) for n in range(20)}))
    nested = zip_of({"a.bmp": bytes(1 << 20)})
    for _ in range(8):
        nested = zip_of({"a.zip": nested, "b.zip": nested})
    put("bombs", "nested.zip", nested)
    put("bombs", "many.zip", zip_of({f"{n}": b"" for n in range(3000)}))
    members = {name: data for name, data in pictures() if name in ("JPEG", "PNG", "GIF")}
    for name, data in (
        ("a.zip", zip_of(members)), ("a.tgz", gzip.compress(tar_of(members))), ("a.eml", mail_of(members))
    ):  # fmt: skip
        put("archives", name, data)
        for number in range(cuts):
            put("archives cut off", f"{number}{name}", data[: len(data) * number // cuts])
            flipped = bytearray(data)
            for at in rng.integers(0, len(data), 1 << (number % 5)):
                flipped[at] ^= 1 << int(rng.integers(0, 8))
            put("archives with flipped bits", f"{number}{name}", bytes(flipped))
    special = folder / "special"
    special.mkdir()
    with (special / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    if hasattr(os, "mkfifo"):
        os.mkfifo(special / "fifo.jpg")
        (special / "endless.jpg").symlink_to("/dev/zero")
        (special / "loop").symlink_to(".")


def on_disk(roots: list[Path]) -> list[str]:
    """Every file and link below the roots; links to folders are followed as the scan does."""
    found = []
    for root in roots:
        for at, folders, names in os.walk(root):
            found += [os.path.join(at, name) for name in names]
            found += [os.path.join(at, name) for name in folders if Path(at, name).is_symlink()]
    return found


def pillow_says(paths: list[str]) -> dict[str, str]:
    """What Pillow alone makes of each file; a process that it brings down is replaced."""
    said: dict[str, str] = {}
    while len(said) < len(paths):
        rest = paths[len(said) :]
        process = subprocess.run(
            [sys.executable, "-c", _PILLOW],
            input=b"".join(os.fsencode(path) + b"\n" for path in rest),
            capture_output=True,
            check=False,
        )
        answers = process.stdout.decode().split("\n")[:-1]
        said |= dict(zip(rest, answers, strict=False))
        if len(answers) < len(rest):
            said[rest[len(answers)]] = "crashes"
    return said


def scan(work: Path, roots: list[Path]) -> tuple[list[dict], float, int]:
    """Scan; rows, seconds, and the peak of resident memory of any process, in bytes."""
    write_checkpoint(draw_checkpoint(SMALL), work / "encoder")
    for number in range(3):
        draw_photo(work / "rough" / f"{number}.png", number, smooth=1)
        draw_photo(work / "smooth" / f"{number}.png", 99 + number, smooth=16)
    python = [sys.executable, "-c"]
    subprocess.run(
        [*python, "from code_forensics.cli.index import main; main()", "build", "g", "-q",
         "--real", work / "rough", "--fake", work / "smooth", "--weights", work / "encoder",
         "--workspace", work / "ws"], check=True,
    )  # fmt: skip
    started = time.monotonic()
    subprocess.run(
        [*python, "from code_forensics.cli.scan import main; main()", *roots, "--archives",
         "--archive-limits", "members=2000,total=200000000", "--frames", "all", "--max-frames", "50",
         "--follow-symlinks", "--max-pixels", str(1 << 26), "--decode-timeout", "30", "-q",
         "--jsonl", work / "rows.jsonl", "--csv", work / "rows.csv", "--json", work / "rows.json",
         "--html", work / "rows.html", "--workspace", work / "ws"], check=True,
    )  # fmt: skip
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    with (work / "rows.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with (work / "rows.csv").open(encoding="utf-8", newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == len(rows) + 1
    return rows, seconds, peak


def main() -> int:
    """Make, scan, compare, print."""
    from code_forensics.engine.inert import for_terminal, path_from_text

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--awkward", type=Path, default=SHARED / "data" / "awkward")
    parser.add_argument("--cuts", type=int, default=24)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        make(work / "corpus", options.cuts)
        roots = [work / "corpus"] + ([options.awkward] if options.awkward.is_dir() else [])
        rows, seconds, peak = scan(work, roots)
        files = on_disk(roots)
        regular = [
            path for path in files if Path(path).is_file() and Path(path).stat().st_size < 1 << 30
        ]
        pillow = pillow_says(regular)
    count = Counter(path_from_text(row["path"]) for row in rows if "container" not in row)
    missing = set(files) - set(count)
    twice = [path for path, n in count.items() if n > 1]
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    quarrels = []
    for row in rows:
        path = path_from_text(row["path"])
        root = next(root for root in roots if Path(path).is_relative_to(root))
        group = "/".join(Path(path).relative_to(root).parts[: 2 if root == options.awkward else 1])
        if Path(group).suffix or root / group == Path(path):
            group = group.rpartition("/")[0]
        group = f"{'awkward/' if root == options.awkward else ''}{group}"
        if "container" in row:
            group += " (inside)"
        outcome = "judged" if row["verdict"] else row["reason"]
        groups[group][outcome] += 1
        declined = row["reason"] in PASSING or row["format"] in DECLINED
        answered = "container" in row or row["verdict"] or declined
        if not answered and pillow.get(path) == "opens":
            quarrels.append((path, row["reason"], row.get("detail")))
    print(
        f"{len(files)} files, {len(rows)} rows in {seconds:.0f} s, peak {peak >> 20} MiB a process"
    )
    for group, reasons in sorted(groups.items()):
        print(f"{group:40} " + ", ".join(f"{r} {n}" for r, n in sorted(reasons.items())))
    opened = Counter(said == "opens" for said in pillow.values())
    print(f"Pillow alone: opens {opened[True]}, does not {opened[False]}")
    print(f"without a row: {len(missing)}, with several: {len(twice)}")
    for path, reason, detail in quarrels:
        print(f"Pillow opens {for_terminal(path)}: {reason} ({for_terminal(detail or '')})")
    return 1 if missing or twice or quarrels else 0


if __name__ == "__main__":
    sys.exit(main())
