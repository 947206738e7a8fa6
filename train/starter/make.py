"""From a trained encoder and its data to the folder that the package embeds."""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import methodcaller
from pathlib import Path

import numpy as np

from ...engine.decoding.decode import PREPROCESSING
from ...engine.decoding.layout import Crops
from ...engine.decoding.views import ViewPlan
from ...engine.embedding.checkpoint import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    Checkpoint,
    parse_config,
    read_checkpoint,
)
from ...engine.embedding.config import Device
from ...engine.embedding.contracts import KnownEncoder
from ...engine.embedding.load import load_embedder
from ...engine.evaluation.evaluate import RESAMPLES
from ...engine.judging.thresholds import ThresholdOptions
from ...engine.starter import read as starter
from ...index.importing.ready_vectors import ReadyVectors, write_safetensors
from ...index.starters import NAME, starter_action
from ...index.workspace import Workspace
from ..catalogue import Catalogue, Label
from ..checkpoint import MODEL_FOLDER
from ..config import CONFIG_FILE
from ..dataset import open_catalogue
from ..files import write_atomically
from .card import Facts, write_card
from .centre import centred, stretched
from .conditions import Condition
from .embedding import Embedded, embed_items, usable_images
from .gallery import References, as_references, choose_items
from .headers import headers_alone
from .held_out import ConditionFigures, judge_held_out, measure_condition, unseen_images
from .licences import licence_text
from .roles import Patterns, Role, as_json, describe_sources, patterns_of_run

Say = Callable[[str], None]
_PART = 4
"""Of so many references one counts for the mean."""

_FOLDERS = re.compile(r'"(?:/|[A-Za-z]:)[^"\n]*[/\\](?=[^"/\\\n]+")')


@dataclass(frozen=True, slots=True)
class StarterOptions:
    """How a starter is made.

    Attributes:
        per_class: References of a class, at most.
        judged: Images of a source that it is judged by, at most.
        conditions: In which images become references.
        patterns: Sources that did not train; None to read the run's record.
        licence: SPDX identifier of the licence of weights and vectors.
        device: Where images are embedded.
        seed: Every draw follows from it.
        k: References of each class behind a score.
        crops: What scans look at of a picture, by default.
        compare_unseen: Whether queries are compared with images of sources that did not train,
            too; else these calibrate alone.
        stretch: How many times as far a difference counts along the direction that tells images
            apart which trained; 1 leaves the encoder's space as it is.
        command: For the card: what was called.
        notes: For the card: what the makers want to be said, Markdown.
        resamples: Of the bootstrap.
    """

    per_class: int = 2000
    judged: int = 150
    conditions: tuple[Condition, ...] = tuple(Condition)
    patterns: Patterns | None = None
    licence: str = "MIT"
    device: Device = "cpu"
    seed: int = 0
    k: int = 1
    crops: Crops = Crops.CENTER
    compare_unseen: bool = False
    stretch: float = 1.0
    command: str = ""
    notes: str = ""
    resamples: int = RESAMPLES


def make_starter(
    model: Path, data: str, out: Path, options: StarterOptions, say: Say = lambda _: None
) -> tuple[ConditionFigures, ...]:
    """Make a starter: the same files from the same model, data and options.

    Args:
        model: Folder of a run, or of a model in the published layout.
        data: What :func:`~code_forensics.train.dataset.open_catalogue` takes.
        out: Folder for the files, made where missing; files of an earlier call are replaced.
        options: How.
        say: Takes lines of progress.

    Returns:
        What was measured, one a condition.

    Raises:
        CheckpointError: The model cannot be used.
        DataError: The data cannot be used, or too few sources are held out.
        ConfigError: No text is known for the licence.
    """
    licence = licence_text(options.licence)
    run, folder = _run_and_model(model)
    patterns = options.patterns or patterns_of_run(run)
    catalogue = open_catalogue(data)
    sources = describe_sources(catalogue, patterns, Path(data))
    checkpoint = read_checkpoint(folder)
    usable = usable_images(catalogue)
    chosen = choose_items(
        catalogue, usable, patterns, options.conditions, options.per_class, options.seed
    )
    images = unseen_images(catalogue, usable, patterns, options.judged, options.seed)
    judged_items = [(number, condition) for condition in Condition for number in images.tolist()]
    say(f"embedding {len(chosen)} references, a part of them first to centre the encoder")
    part = embed_items(catalogue, chosen[::_PART], load_embedder(checkpoint, options.device), say)
    checkpoint = centred(checkpoint, part.views)
    embedder = load_embedder(checkpoint, options.device)
    of_gallery = embed_items(catalogue, chosen, embedder, say)
    if options.stretch != 1.0:
        checkpoint, of_gallery = _stretched(checkpoint, catalogue, of_gallery, patterns, options)
        embedder = load_embedder(checkpoint, options.device)
    references = as_references(catalogue, of_gallery, chosen, patterns, options.compare_unseen)
    say(f"embedding {len(images)} images to judge by")
    embedded = embed_items(catalogue, judged_items, embedder, say, ViewPlan(options.crops))
    compared = references.labels[references.compared]
    counts = int((compared == Label.REAL).sum()), int((compared == Label.FAKE).sum())
    assessment = references.assess(options.k)
    say("judging each source by the starter without it")
    judged = judge_held_out(catalogue, embedded, images, references, ThresholdOptions(), options.k)
    figures = tuple(
        measure_condition(
            catalogue,
            judged,
            condition,
            headers_alone(catalogue, usable, embedded, judged.images, patterns, condition),
            options.resamples,
        )
        for condition in Condition
    )
    out.mkdir(parents=True, exist_ok=True)
    ready = _ready(references, embedder)
    write_safetensors(out / starter.GALLERY_NAME, _stored(ready))
    sealed = _seal(checkpoint, ready, embedder.dimension)
    facts = Facts(
        options.command,
        _commit(),
        _recipe(run),
        catalogue.digest,
        _in_words(checkpoint, options.stretch),
        embedder.sha256,
        sealed,
        options.licence,
        options.crops,
        options.notes,
    )
    alone = len(references) - sum(counts)
    card = write_card(facts, sources, figures, assessment, counts, alone, options.conditions)
    files = {
        WEIGHTS_NAME: checkpoint.weights,
        CONFIG_NAME: checkpoint.config,
        starter.GALLERY_NAME: (out / starter.GALLERY_NAME).read_bytes(),
        starter.ASSESSMENT_NAME: assessment.to_bytes(),
        starter.SOURCES_NAME: as_json(sources),
        starter.CARD_NAME: card.encode(),
        starter.LICENCE_NAME: licence.encode(),
    }
    about = starter.About(
        sealed,
        embedder.sha256,
        PREPROCESSING,
        *counts,
        options.k,
        options.crops,
        options.licence,
        _hashes(files),
    )
    files[starter.ABOUT_NAME] = about.to_bytes()  # the last: it vouches for the others
    for name, content in files.items():
        write_atomically(out / name, methodcaller("write", content))
    return figures


def _run_and_model(path: Path) -> tuple[Path, Path]:
    """A run's folder and its model's; either may be given."""
    if (path / MODEL_FOLDER).is_dir():
        return path, path / MODEL_FOLDER
    return path.parent, path


def _stretched(
    checkpoint: Checkpoint,
    catalogue: Catalogue,
    embedded: Embedded,
    patterns: Patterns,
    options: StarterOptions,
) -> tuple[Checkpoint, Embedded]:
    """The stretched encoder, and the references as it gives them."""
    items, vectors = [], []
    for item, row in embedded.rows().items():
        if patterns.role(catalogue.sources[catalogue.source[item[0]]]) is Role.TRAINED:
            items.append(item[0])
            vectors.append(embedded.views[row][0])
    labels = catalogue.label[items].astype(np.int64)
    changed, projection = stretched(checkpoint, np.stack(vectors), labels, options.stretch)
    views = tuple((own @ projection.T).astype(np.float32) for own in embedded.views)
    return changed, replace(embedded, views=views)


def _in_words(checkpoint: Checkpoint, stretch: float) -> str:
    further = f", then stretched {stretch:g} times along what tells them apart"
    config = parse_config(checkpoint.config, checkpoint.origin)
    return (
        f"vision transformer, patches of {config.patch_size}, {config.image_size} px,"
        f" {config.num_hidden_layers} blocks, width {config.hidden_size},"
        f" {config.num_attention_heads} heads, stored in float16, centred on the references"
        + (further if stretch != 1.0 else "")
    )


def _ready(references: References, embedder: KnownEncoder) -> ReadyVectors:
    return ReadyVectors(
        references.vectors,
        tuple("fake" if label else "real" for label in references.labels.tolist()),
        references.generators,
        references.sources,
        embedder.sha256,
        PREPROCESSING,
        tuple(references.trained.tolist()),
        tuple(references.compared.tolist()),
    )


def _stored(ready: ReadyVectors) -> ReadyVectors:
    """The same vectors as the file holds them: they have been rounded to float16 before."""
    return replace(ready, vectors=ready.vectors.astype(np.float16))


def _seal(checkpoint: Checkpoint, ready: ReadyVectors, dimension: int) -> str:
    """The identity that a workspace gives to the gallery."""
    with tempfile.TemporaryDirectory() as folder, Workspace(Path(folder)) as space:
        space.encoders.keep(
            ready.encoder, checkpoint.weights, checkpoint.config, dimension, starter.ORIGIN
        )
        info = space.galleries.create(
            NAME, ready.encoder, ready.preprocessing, ready.references(), starter_action("")
        )
        return info.sha256


def _hashes(files: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(files[name]).hexdigest() for name in starter.FILES)


def _recipe(run: Path) -> str:
    """The run's options; of folders and files their names alone: a card is for other machines."""
    path = run / CONFIG_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return _FOLDERS.sub('"', text)


def _commit() -> str:
    """The commit that the program's own folder is at, where it is a clone of a repository."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}, with files changed since" if changed else commit
