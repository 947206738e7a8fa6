"""Reduced precision from the command line: float32's answers, recorded, and doubt said aloud."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from code_forensics.cli.precision import LEAST_SETTLED
from code_forensics.engine.decoding.decode import Decoded, decode
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.precision import calibration_crops, cosine_band

from tests.cli.in_process import WITHOUT_TORCH, run
from tests.conftest import draw_photo

PHOTOS = 6


@dataclass(frozen=True)
class Scene:
    """Photos, and a workspace with the galleries ``clear`` and ``near`` that nothing was scanned in.

    In ``near`` each photo lies between a real and a fake reference, nearer to the one by a millionth.
    """

    photos: Path
    workspace: Path
    crops: np.ndarray
    vectors: np.ndarray
    near: np.ndarray
    near_labels: np.ndarray


def _crop(path: Path) -> np.ndarray:
    decoded = decode(path.read_bytes())
    assert isinstance(decoded, Decoded)
    return decoded.crop


@pytest.fixture(scope="module", autouse=True)
def small_sample() -> Iterator[None]:
    """Bands rest on 32 pictures, not 256, for the sake of time, and are lived with however wide."""
    measure = partial(cosine_band, crops=calibration_crops(32))
    with (
        mock.patch("code_forensics.cli.precision.cosine_band", measure),
        mock.patch("code_forensics.cli.precision.LEAST_SETTLED", 0.0),
    ):
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Scene:
    folder = tmp_path_factory.mktemp("precise")
    for number in range(24):
        draw_photo(folder / "rough" / f"s{number % 3}" / f"{number}.png", number, smooth=1)
        draw_photo(folder / "smooth" / f"s{number % 3}" / f"{number}.png", 99 + number, smooth=16)
    for number in range(PHOTOS):
        smooth = 1 if number % 2 else 16
        draw_photo(folder / "photos" / f"{number}.png", 200 + number, (500, 400), smooth)
    embedder = Embedder(read_checkpoint(small_checkpoint), "cpu")
    references = [sorted(folder.glob(f"{kind}/*/*.png")) for kind in ("rough", "smooth")]
    clear = embedder.embed(np.stack([_crop(p) for group in references for p in group]))
    crops = np.stack([_crop(p) for p in sorted((folder / "photos").iterdir())])
    vectors = embedder.embed(crops).astype(np.float64)
    rng = np.random.default_rng(0)
    pairs, labels = [], []
    for number, vector in enumerate(vectors):
        across = rng.normal(size=vector.shape)
        across -= vector * (across @ vector) / (vector @ vector)
        across *= 0.05 * np.linalg.norm(vector) / np.linalg.norm(across)
        real_nearer = number % 3 == 0
        pairs += [vector + across * (1 - 1e-4 * real_nearer), vector - across * (1 - 1e-4 * (not real_nearer))]  # fmt: skip
        labels += [0, 1]
    near = np.concatenate([clear, np.array(pairs)]).astype(np.float32)
    near_labels = np.array([0] * 24 + [1] * 24 + labels)
    workspace = folder / "ws"
    for name, held, marks in (
        ("clear", clear, near_labels[:48]),
        ("near", near, near_labels),
    ):
        np.savez(folder / f"{name}.npz", vectors=held, labels=marks)
        run(
            *("code-index", "import", name, folder / f"{name}.npz"),
            *("--weights", small_checkpoint, "--workspace", workspace),
        )
    return Scene(folder / "photos", workspace, crops, vectors, near, near_labels)


@pytest.fixture
def space(scene: Scene, tmp_path: Path) -> Path:
    """A copy of the workspace."""
    shutil.copytree(scene.workspace, tmp_path / "ws")
    return tmp_path / "ws"


def scan(scene: Scene, space: Path, *options: str) -> list[dict[str, str]]:
    target = space.with_name("report.csv")
    run("code-scan", scene.photos, *options, "--csv", target, "--workspace", space, "-q")
    return read(target)


def read(target: Path) -> list[dict[str, str]]:
    with target.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def answers(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(row["knn"], row["verdict"], row["reason"]) for row in rows]


@pytest.mark.parametrize("options", [(), ("-k", "3"), ("--crops", "five", "--probe")])
def test_answers_are_float32_s_and_rows_say_what_gave_them(
    scene: Scene, space: Path, options: tuple[str, ...]
) -> None:
    exact = scan(scene, space, "--gallery", "clear", *options)
    reduced = scan(
        scene, space, "--gallery", "clear", "--precision", "bfloat16", "--reembed", *options
    )
    assert {row["precision"] for row in exact} == {"float32"}
    assert "bfloat16" in {row["precision"] for row in reduced}
    assert answers(reduced) == answers(exact)
    scores = [(a["score"], b["score"]) for a, b in zip(exact, reduced, strict=True)
              if b["precision"] == "bfloat16"]  # fmt: skip
    assert any(a != b for a, b in scores)  # bfloat16 was at work


def test_what_lies_within_the_band_is_embedded_again(
    scene: Scene, space: Path, small_checkpoint: Path
) -> None:
    exact = scan(scene, space, "--gallery", "near")
    reduced = scan(scene, space, "--gallery", "near", "--precision", "bfloat16", "--reembed")
    assert [row["knn"] for row in exact] == [
        "real" if n % 3 == 0 else "fake" for n in range(PHOTOS)
    ]
    assert {row["precision"] for row in reduced} == {"float32"}
    assert [{**row, "status": ""} for row in reduced] == [{**row, "status": ""} for row in exact]
    # Without the band some answers would have been others, else nothing is shown.
    plain = Embedder(read_checkpoint(small_checkpoint), "cpu", "bfloat16").embed(scene.crops)
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (plain, scene.near)]
    nearest = scene.near_labels[np.argmax(units[0] @ units[1].T, axis=1)]
    assert any(
        (row["knn"] == "fake") != bool(label) for row, label in zip(exact, nearest, strict=True)
    )


def test_the_band_is_measured_once_and_recorded(scene: Scene, space: Path) -> None:
    words = ("--gallery", "clear", "--precision", "bfloat16")
    target = space.with_name("report.json")
    run("code-scan", scene.photos, *words, "--json", target, "--workspace", space, "-q")
    document = json.loads(target.read_text())
    band = document["run"]["precision_bands"]["bfloat16"]
    assert band["width"] == pytest.approx(2 * band["largest"])
    assert (band["k"], document["run"]["encoder"]["precision"]) == (1, "bfloat16")
    audit = document["summary"]["precision"]
    assert audit["audited"] == PHOTOS
    assert audit["held"] is True
    with mock.patch("code_forensics.cli.precision.cosine_band", side_effect=AssertionError):
        said = run("code-scan", scene.photos, *words, "--workspace", space, "--reembed").stdout
    assert "bfloat16: what cosines off by" in said
    with mock.patch("code_forensics.cli.precision.cosine_band", side_effect=RuntimeError("asked")):
        other = run("code-scan", scene.photos, *words, "-k", "3", "--workspace", space, code=2)
    assert "RuntimeError: asked" in other.stderr


_KNOWN = f"""
from code_forensics.cli import precision

precision.has_amx = lambda: True  # without it PyTorch is asked what the processor is good at
{WITHOUT_TORCH}
"""


def test_what_is_known_in_reduced_precision_needs_no_pytorch(scene: Scene, space: Path) -> None:
    words = ("--gallery", "clear", "--precision", "bfloat16")
    target = space.with_name("report.csv")
    first = scan(scene, space, *words)
    files = ("--csv", target, "--workspace", space, "-q")
    command = [sys.executable, "-c", _KNOWN, scene.photos, *words, *files]
    subprocess.run(command, check=True)
    assert answers(read(target)) == answers(first)


def test_a_gallery_that_reduced_precision_hardly_settles_is_scanned_in_float32(
    scene: Scene, space: Path
) -> None:
    said = {}
    with mock.patch("code_forensics.cli.precision.LEAST_SETTLED", LEAST_SETTLED):
        for gallery in ("clear", "near"):
            words = ("--gallery", gallery, "--precision", "bfloat16", "--workspace", space)
            said[gallery] = " ".join(run("code-scan", scene.photos, *words).stderr.split())
    assert "embedding in float32" not in said["clear"]
    assert "of pictures like the gallery's references: embedding in float32" in said["near"]
    target = space.with_name("report.json")
    run("code-report", "export", "latest", "--json", target, "--workspace", space)
    document = json.loads(target.read_text())
    assert document["run"]["encoder"]["precision"] == "float32"
    assert not document["run"].get("precision_bands")
    assert {row["precision"] for row in document["files"]} == {"float32"}


def test_a_stored_vector_within_the_band_is_inconclusive_until_it_is_embedded_again(
    scene: Scene, space: Path
) -> None:
    reduced = ("--precision", "bfloat16")
    stored = scan(scene, space, "--gallery", "clear", *reduced)
    doubtful = {row["path"] for row in stored if row["precision"] == "bfloat16"}
    assert doubtful
    run("code-report", "rejudge", "1", "--gallery", "near", "--workspace", space)
    target = space.with_name("rejudged.csv")
    run("code-report", "export", "latest", "--csv", target, "--workspace", space)
    again = scan(scene, space, "--gallery", "near", *reduced)
    assert {row["status"] for row in again} == {"cached"}
    for rows in (read(target), again):
        assert {row["path"] for row in rows if row["reason"] == "precision"} == doubtful
        assert {row["verdict"] for row in rows if row["path"] in doubtful} == {"inconclusive"}
    resolved = scan(scene, space, "--gallery", "near", *reduced, "--reembed")
    assert "precision" not in {row["reason"] for row in resolved}
    assert {row["precision"] for row in resolved} == {"float32"}


def test_a_float32_scan_does_not_rest_on_what_was_stored_in_less(scene: Scene, space: Path) -> None:
    stored = scan(scene, space, "--gallery", "clear", "--precision", "bfloat16")
    exact = scan(scene, space, "--gallery", "clear")
    assert {row["precision"] for row in exact} == {"float32"}
    anew = {"bfloat16": "scanned", "float32": "cached"}
    assert [row["status"] for row in exact] == [anew[row["precision"]] for row in stored]
    assert "scanned" in {row["status"] for row in exact}
    cached = scan(scene, space, "--gallery", "clear", "--precision", "bfloat16")
    assert {(row["status"], row["precision"]) for row in cached} == {("cached", "float32")}


def test_a_scan_in_reduced_precision_is_verified_in_float32(scene: Scene, space: Path) -> None:
    stored = scan(scene, space, "--gallery", "clear", "--precision", "bfloat16")
    ran = run("code-report", "verify", "latest", "--jsonl", "-", "-q", "--workspace", space)
    outcomes = [json.loads(line)["outcome"] for line in ran.stdout.splitlines()]
    expected = {"bfloat16": "agrees", "float32": "reproduced"}
    assert outcomes == [expected[row["precision"]] for row in stored]
    assert "agrees" in outcomes
    assert "precision was bfloat16 then and is float32 now" in " ".join(ran.stderr.split())


def test_precisions_that_cannot_be_had_are_one_line(scene: Scene, space: Path) -> None:
    words = ("code-scan", scene.photos, "--gallery", "clear", "--device", "cpu")
    refused = run(*words, "--precision", "float16", "--workspace", space, code=2)
    assert "float16 is for CUDA" in refused.stderr
    build = ("code-index", "build", "new", "--real", scene.photos, "--fake", scene.photos)
    refused = run(*build, "--precision", "bfloat16", "--workspace", space, code=2)
    words = refused.stderr.replace("\u2502", " ").split()  # rich draws a box around them
    assert "references are float32" in " ".join(words)
