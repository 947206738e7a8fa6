"""A starter is made whole, the same each time, and judged by sources that it does not hold."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.engine.decoding.layout import Crops
from code_forensics.engine.decoding.views import ViewPlan
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.weights import build_encoder
from code_forensics.engine.judging.held_out_search import unit_vectors
from code_forensics.engine.judging.scores import FLOOR
from code_forensics.engine.judging.thresholds import ThresholdOptions
from code_forensics.engine.starter.read import FILES, GALLERY_NAME, read_starter
from code_forensics.index.importing.ready_vectors import read_safetensors
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.errors import ConfigError, DataError
from code_forensics.train.starter.conditions import Condition, apply
from code_forensics.train.starter.embedding import embed_items, usable_images
from code_forensics.train.starter.gallery import as_references, choose_items
from code_forensics.train.starter.held_out import judge_held_out, unseen_images
from code_forensics.train.starter.make import StarterOptions, make_starter
from code_forensics.train.starter.roles import Patterns, Role, patterns_of_run
from PIL import Image

from tests.conftest import draw_photo

PATTERNS = Patterns(("held-*",), ("nc",))
SOURCES = {
    "real": ("seen-a", "seen-b", "held-a", "held-b", "nc"),
    "fake": ("seen-f", "held-f", "held-g"),
}
IMAGES = 6
HALF = Condition.HALF  # 224 pixels a side: nothing beside the middle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of drawn pictures: the fakes are smoother; one file is too small, one is no image."""
    root = tmp_path_factory.mktemp("data")
    rows = []
    seed = 0
    for label, sources in SOURCES.items():
        for source in sources:
            for number in range(IMAGES):
                seed += 1
                name = f"{source}-{number}.png"
                draw_photo(root / name, seed, (248, 240), 12 if label == "fake" else 1)
                rows.append((name, label, source))
    draw_photo(root / "small.png", 900, (200, 240))
    (root / "text.png").write_text("no image")
    rows += [("small.png", "real", "held-a"), ("text.png", "fake", "held-f")]
    with (root / "table.csv").open("w", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(["file", "label", "source", "generator", "licence", "source_repo"])
        for name, label, source in rows:
            generator = f"gen|{source}" if label == "fake" else ""
            out.writerow([name, label, source, generator, "CC0-1.0", "a/b"])
    return root / "table.csv"


@pytest.fixture(scope="module")
def made(data: Path, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("starter")
    options = StarterOptions(per_class=30, patterns=PATTERNS, resamples=20, command="code-train x")
    make_starter(small_checkpoint, str(data), out, options)
    return out


def test_the_encoder_is_centred_and_else_as_it_was(
    made: Path, data: Path, small_checkpoint: Path
) -> None:
    catalogue = open_catalogue(str(data))
    items = [(int(n), Condition.NATIVE) for n in usable_images(catalogue)]
    before, after = (
        np.concatenate(
            embed_items(
                catalogue, items, Embedder(read_checkpoint(where), "cpu", "float32"), lambda _: None
            ).views
        )
        for where in (small_checkpoint, made)
    )
    shift = after - before
    assert np.ptp(shift, axis=0).max() < 0.02  # one for all, but for float16's rounding
    assert np.linalg.norm(after.mean(0)) < 0.3 * np.linalg.norm(before.mean(0))


def test_a_stretched_starter_is_the_centred_one_but_for_its_projection(
    made: Path, data: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    options = StarterOptions(per_class=30, patterns=PATTERNS, resamples=0, stretch=4.0)
    make_starter(small_checkpoint, str(data), tmp_path, options)
    before, after = (build_encoder(read_checkpoint(where)) for where in (made, tmp_path))
    assert before.projection is None and after.projection is not None
    assert torch.equal(before.norm.bias, after.norm.bias)
    values, axes = np.linalg.eigh(after.projection.weight.numpy().astype(np.float64))
    assert values[:-1] == pytest.approx(1, abs=5e-3) and values[-1] == pytest.approx(4, abs=5e-3)
    catalogue = open_catalogue(str(data))
    seen = [(int(n), Condition.NATIVE) for n in usable_images(catalogue)
            if PATTERNS.role(catalogue.sources[catalogue.source[n]]) is Role.TRAINED]  # fmt: skip
    embedder = Embedder(read_checkpoint(made), "cpu")
    plain = np.concatenate(embed_items(catalogue, seen, embedder, lambda _: None).views)
    along = unit_vectors(plain) @ axes[:, -1]
    fakes = catalogue.label[[n for n, _ in seen]] == 1
    apart = along[fakes].mean() - along[~fakes].mean()
    assert abs(apart) > 2 * np.abs((unit_vectors(plain) @ axes[:, 0])[fakes].mean()
                                   - (unit_vectors(plain) @ axes[:, 0])[~fakes].mean())  # fmt: skip
    # what is stored is what the stretched encoder gives
    ready = read_safetensors(tmp_path / GALLERY_NAME)
    told = Embedder(read_checkpoint(tmp_path), "cpu")
    vectors = unit_vectors(np.concatenate(embed_items(catalogue, seen, told, lambda _: None).views))
    nearest = (ready.vectors[np.array(ready.trained)] @ vectors.T).max(axis=1)
    assert (nearest > 1 - 1e-3).any()
    card = read_starter(tmp_path).card.read_text()
    assert "stretched 4 times along what tells them apart" in card


def test_the_same_input_gives_the_same_files(
    made: Path, data: Path, small_checkpoint: Path, tmp_path: Path
) -> None:
    options = StarterOptions(per_class=30, patterns=PATTERNS, resamples=20, command="code-train x")
    make_starter(small_checkpoint, str(data), tmp_path, options)
    for name in (*FILES, "starter.json"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), name
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted((*FILES, "starter.json"))


def test_the_gallery_is_balanced_and_leaves_out_what_it_must(made: Path) -> None:
    starter = read_starter(made)
    ready = read_safetensors(made / GALLERY_NAME)
    told = list(zip(ready.labels, ready.compared, strict=True))
    assert starter.about.reals == told.count(("real", True))
    assert starter.about.fakes == told.count(("fake", True))
    assert ready.labels.count("real") == ready.labels.count("fake") == 30
    assert set(ready.sources) == {*SOURCES["real"], *SOURCES["fake"]} - {"nc"}
    seen = dict(zip(ready.sources, ready.trained, strict=True))
    assert {source for source, trained in seen.items() if trained} == {"seen-a", "seen-b", "seen-f"}
    assert ready.compared == ready.trained  # the others calibrate alone
    alone = ready.compared.count(False)
    assert f"and {alone} of sources that did not train, for calibration alone" in (
        starter.card.read_text()
    )
    counts = [ready.sources.count(source) for source in SOURCES["real"][:4]]
    assert max(counts) - min(counts) <= 1
    assert np.linalg.norm(ready.vectors, axis=1) == pytest.approx(1, abs=2e-3)
    assert (ready.vectors == ready.vectors.astype(np.float16)).all()
    half = read_checkpoint(made)
    assert half.sha256 == starter.about.encoder_sha256
    assert len(half.weights) < 0.6 * 4 * 30_000  # the small encoder in two bytes a number


def test_sources_and_card_say_what_is_what(made: Path) -> None:
    rows = {row["source"]: row for row in json.loads((made / "sources.json").read_text())}
    assert rows["nc"]["role"] == Role.LEFT_OUT and rows["seen-a"]["role"] == Role.TRAINED
    assert rows["held-f"]["role"] == Role.HELD_OUT and rows["held-f"]["generators"] == [
        "gen|held-f"
    ]
    assert {row["licence"] for row in rows.values()} == {"CC0-1.0"}
    card = (made / "MODEL_CARD.md").read_text()
    assert "`code-train x`" in card and read_starter(made).about.gallery_sha256 in card
    assert "gen\\|held-f" in card  # a table's cell holds no bar
    for condition in ("### Native", "### JPEG 70", "### Half size"):
        assert condition in card
    judged = card.split("### By source")[1].split("### By generator")[0]
    for source in ("held-a", "held-b", "held-f", "held-g", "nc"):
        assert f"| {source} |" in judged
    assert "seen-" not in judged


@pytest.mark.parametrize("compare_unseen", [True, False])
@pytest.mark.parametrize("plan", [ViewPlan(), ViewPlan(Crops.FIVE)], ids=lambda p: p.crops)
def test_each_source_is_judged_by_a_gallery_without_it(
    data: Path, small_checkpoint: Path, plan: ViewPlan, compare_unseen: bool
) -> None:
    """Scores equal a plain computation, one picture at a time, without the source's references."""
    catalogue = open_catalogue(str(data))
    usable = usable_images(catalogue)
    assert len(usable) == IMAGES * 8  # neither the small picture nor the text
    chosen = choose_items(catalogue, usable, PATTERNS, tuple(Condition), 20, 0)
    images = unseen_images(catalogue, usable, PATTERNS, 4)
    looked_at = [(n, c) for c in Condition for n in images.tolist()]
    embedder = Embedder(read_checkpoint(small_checkpoint), "cpu")
    of_gallery = embed_items(catalogue, chosen, embedder, lambda _: None)
    references = as_references(catalogue, of_gallery, chosen, PATTERNS, compare_unseen)
    assert (references.compared == (references.trained | compare_unseen)).all()
    embedded = embed_items(catalogue, looked_at, embedder, lambda _: None, plan)
    judged = judge_held_out(catalogue, embedded, images, references, ThresholdOptions())
    assert sorted(judged.images.tolist()) == images.tolist()
    judged_sources = [catalogue.sources[s] for s in catalogue.source[images]]
    assert {s: judged_sources.count(s) for s in judged_sources} == dict.fromkeys(
        ("held-a", "held-b", "held-f", "held-g", "nc"), 4
    )
    rows = embedded.rows()
    for place, condition in enumerate(Condition):
        for column, number in enumerate(judged.images.tolist()):
            source = catalogue.sources[catalogue.source[number]]
            queries = embedded.views[rows[number, condition]].astype(np.float64)
            assert len(queries) == (1 if plan.crops is Crops.CENTER or condition is HALF else 5)
            scores, narrowest = [], 2.0
            for query in queries:
                cosines: dict[int, list[float]] = {0: [], 1: []}
                for vector, label, own, compared in zip(
                    references.vectors,
                    references.labels.tolist(),
                    references.sources,
                    references.compared.tolist(),
                    strict=True,
                ):
                    if own != source and compared:
                        norm = np.linalg.norm(query) * np.linalg.norm(vector.astype(np.float64))
                        cosines[label].append(float(query @ vector / norm))
                real, fake = max(cosines[0]), max(cosines[1])
                both = 2 - real - fake + FLOOR
                narrowest = min(narrowest, both)
                scores.append((fake - real) / both)
            expected = pytest.approx(np.mean(scores), abs=5e-6 / narrowest)
            assert judged.scores[place, column] == expected
    rest = references.without("held-a")
    assert "held-a" not in rest.sources and len(rest) < len(references)
    fitted = rest.assess()
    assert fitted.scores.n_references == rest.compared.sum()
    assert not rest.trained[fitted.scores.held_out].any()


def test_conditions_are_what_they_say(tmp_path: Path) -> None:
    import io

    data = draw_photo(tmp_path / "a.png", 1, (248, 246), 4).read_bytes()
    assert apply(Condition.NATIVE, data) == data
    compressed = Image.open(io.BytesIO(apply(Condition.JPEG70, data)))
    assert (compressed.format, compressed.size) == ("JPEG", (248, 246))
    assert compressed.quantization[0][0] == 10  # 16 of the standard's table at quality 70
    half = np.asarray(Image.open(io.BytesIO(apply(Condition.HALF, data))))
    assert half.shape == (224, 224, 3)
    small = np.asarray(Image.open(io.BytesIO(data)).resize((124, 123), Image.Resampling.BICUBIC))
    top, left = (224 - 123) // 2, (224 - 124) // 2
    assert (half[top : top + 123, left : left + 124] == small).all()
    assert (half[top - 1, left : left + 124] == small[0]).all()  # the mirror begins at the edge
    large = draw_photo(tmp_path / "b.png", 2, (600, 500), 4).read_bytes()
    assert Image.open(io.BytesIO(apply(Condition.HALF, large))).size == (300, 250)


def test_what_cannot_be_used_is_said(data: Path, small_checkpoint: Path, tmp_path: Path) -> None:
    def make(options: StarterOptions) -> None:
        make_starter(small_checkpoint, str(data), tmp_path / "out", options)

    with pytest.raises(DataError, match="no usable record"):
        make(StarterOptions())
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="no usable record"):
        patterns_of_run(tmp_path)
    with pytest.raises(DataError, match="fewer than two fake sources"):
        make(StarterOptions(patterns=Patterns(("held-a", "held-b", "held-f"))))
    with pytest.raises(ConfigError, match="GPL"):
        make(replace(StarterOptions(patterns=PATTERNS), licence="GPL-3.0"))


def test_a_starter_is_made_for_the_crops_it_is_judged_by(
    data: Path, small_checkpoint: Path, tmp_path: Path, made: Path
) -> None:
    options = StarterOptions(per_class=30, patterns=PATTERNS, resamples=0, crops=Crops.FIVE)
    both = tmp_path / "both"
    make_starter(small_checkpoint, str(data), both, replace(options, compare_unseen=True))
    assert read_starter(both).about.reals == 30
    assert all(read_safetensors(both / GALLERY_NAME).compared or [True])
    middle = read_starter(made)
    make_starter(small_checkpoint, str(data), tmp_path, options)
    five = read_starter(tmp_path)
    assert (middle.about.crops, five.about.crops) == (Crops.CENTER, Crops.FIVE)
    assert five.about.gallery_sha256 == middle.about.gallery_sha256  # references are middles
    assert "| crops | `five`: the middle and the four corners" in five.card.read_text()


def test_a_run_says_which_sources_did_not_train(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"held_out_sources": ["a", "b"]}')
    (tmp_path / "config.toml").write_text('seed = 1\n[data]\nexclude = ["ffhq*"]\n')
    patterns = patterns_of_run(tmp_path)
    assert patterns == Patterns(("a", "b"), ("ffhq*",))
    assert [patterns.role(name) for name in ("a", "c", "ffhq-1024")] == [
        Role.HELD_OUT, Role.TRAINED, Role.LEFT_OUT,
    ]  # fmt: skip
