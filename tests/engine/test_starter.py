"""The embedded starter is whole, and says of itself what it holds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.decoding.decode import PREPROCESSING
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.errors import CheckpointError
from code_forensics.engine.judging.assessment import Assessment, assess
from code_forensics.engine.judging.calibration import CalibrationStatus
from code_forensics.engine.run import environment_changes
from code_forensics.engine.starter.read import (
    EMBEDDED,
    FILES,
    GALLERY_NAME,
    read_about,
    read_starter,
    starters_licence,
)
from safetensors import safe_open
from safetensors.numpy import load_file


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return load_file(EMBEDDED / GALLERY_NAME)


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    with safe_open(EMBEDDED / GALLERY_NAME, framework="numpy") as file:
        return json.loads(file.metadata()["gallery"])


def test_it_is_what_it_says(tensors: dict[str, np.ndarray], names: dict[str, object]) -> None:
    starter = read_starter()
    about = starter.about
    embedder = Embedder(starter.checkpoint, "cpu")
    assert embedder.sha256 == about.encoder_sha256 == names["encoder"]
    assert about.preprocessing == names["preprocessing"] == PREPROCESSING
    compared = tensors["compared"].astype(bool)
    assert (about.reals, about.fakes) == tuple(np.bincount(tensors["labels"][compared]))
    assert tensors["vectors"].shape == (len(compared), 192)
    assert embedder.embed(np.zeros((1, 224, 224, 3), np.uint8)).shape == (1, 192)


def test_it_is_balanced_and_small(tensors: dict[str, np.ndarray]) -> None:
    about = read_about()
    reals, fakes = np.bincount(tensors["labels"])
    assert abs(reals - fakes) <= 0.05 * reals
    assert abs(about.reals - about.fakes) <= 0.2 * about.reals
    assert 1000 <= about.reals + about.fakes < reals + fakes <= 10_000
    assert sum((EMBEDDED / name).stat().st_size for name in FILES) < 16 << 20


def test_it_holds_names_but_neither_paths_nor_pictures(
    tensors: dict[str, np.ndarray], names: dict[str, object]
) -> None:
    assert set(tensors) == {"vectors", "labels", "generators", "sources", "trained", "compared"}
    assert set(names) == {"encoder", "preprocessing", "generators", "sources"}
    every = [*names["generators"], *names["sources"]]
    assert not [name for name in every if name.endswith((".jpg", ".png")) or name.startswith("/")]
    known = {row["source"] for row in json.loads((EMBEDDED / "sources.json").read_text())}
    assert {*names["sources"]} <= known
    fakes = tensors["labels"] == 1
    assert not any(np.array(names["generators"])[tensors["generators"][~fakes]])
    assert all(np.array(names["generators"])[tensors["generators"][fakes]])


def test_its_assessment_is_fitted_on_what_did_not_train(
    tensors: dict[str, np.ndarray], names: dict[str, object]
) -> None:
    stored = Assessment.from_bytes(read_starter().assessment)
    trained, compared = (tensors[name].astype(bool) for name in ("trained", "compared"))
    assert (trained == compared).all()
    assert trained.any() and not trained.all()
    alone = int((~trained).sum())
    assert stored.scores.near_duplicates < 20  # copies of one picture count as one
    assert stored.calibration.n_real + stored.calibration.n_fake == (
        alone - stored.scores.near_duplicates
    )
    assert not trained[stored.scores.held_out].any()
    assert stored.calibration.status is not CalibrationStatus.TOO_FEW
    assert not stored.calibration.optimistic
    again = assess(
        tensors["vectors"].astype(np.float32),
        tensors["labels"],
        [names["sources"][code] for code in tensors["sources"]],
        [names["generators"][code] for code in tensors["generators"]],
        read_starter().about.k,
        trained.tolist(),
        compared.tolist(),
    )
    for field in ("slope", "intercept", "lower", "upper"):
        kept, fitted = getattr(stored.calibration, field), getattr(again.calibration, field)
        assert kept == pytest.approx(fitted, rel=1e-3, abs=1e-3)


def test_the_card_states_the_figures() -> None:
    card = (EMBEDDED / "MODEL_CARD.md").read_text()
    for part in ("What it cannot do", "By source", "By generator", "JPEG 70", "file headers alone"):
        assert part in card
    assert read_about().gallery_sha256 in card and read_about().encoder_sha256 in card
    for row in json.loads((EMBEDDED / "sources.json").read_text()):
        assert row["source"] in card


@pytest.mark.parametrize("name", [*FILES, "starter.json"])
def test_a_damaged_or_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(EMBEDDED, folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data[:-1] if name == "starter.json" else data)
    if name == "starter.json":
        (folder / name).write_bytes(b"[" * 100_000)
        with pytest.raises(CheckpointError, match="damaged"):
            read_starter(folder)
        (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        read_starter(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_starter(folder)
    assert "install code-forensics again" in caught.value.hint


def test_a_licence_that_older_records_lack_is_no_change_of_the_environment() -> None:
    assert starters_licence(read_about().encoder_sha256) == "CC-BY-NC-4.0"
    assert starters_licence("0" * 64) is starters_licence(None) is None
    stated = {"encoder": {"sha256": "0", "licence": "CC-BY-NC-4.0"}}
    assert environment_changes({"encoder": {"sha256": "0"}}, stated) == []
