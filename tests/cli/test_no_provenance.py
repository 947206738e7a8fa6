"""``--no-provenance``: nothing is read of an origin, and nothing is lost for a later scan."""

import csv
import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.cli.in_process import run
from tests.conftest import draw_photo


def test_provenance_is_left_unread_and_read_later(tmp_path: Path, small_checkpoint: Path) -> None:
    for number in range(2):
        draw_photo(tmp_path / "real" / f"{number}.png", number)
        draw_photo(tmp_path / "fake" / f"{number}.png", 50 + number, smooth=16)
    said = PngInfo()
    said.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1")
    (tmp_path / "photos").mkdir()
    drawn = draw_photo(tmp_path / "drawn.png", 7)
    Image.open(drawn).save(tmp_path / "photos" / "a.png", pnginfo=said)
    place = ("--workspace", tmp_path / "ws")
    run(
        *("code-index", "build", "g", "--real", tmp_path / "real", "--fake", tmp_path / "fake"),
        *("--weights", small_checkpoint, "-q", *place),
    )

    def scan(*options: str) -> dict[str, str]:
        target = tmp_path / "r.csv"
        run("code-scan", tmp_path / "photos", "-q", "--csv", target, *options, *place)
        (row,) = csv.DictReader(io.StringIO(target.read_bytes().decode("utf-8")))
        return row

    without = scan("--no-provenance")
    assert (without["status"], without["provenance"]) == ("scanned", "")
    again = scan()
    assert "Stable Diffusion" in again["provenance"] or "A1111" in again["provenance"]
    assert again["margin"] == without["margin"]
    assert scan()["status"] == "cached"
    assert scan("--no-provenance")["provenance"] == again["provenance"]  # it is known by now
