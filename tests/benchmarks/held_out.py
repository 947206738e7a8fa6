"""How well an encoder tells held-out sources apart, with the margin that verdicts are based on.

    python tests/benchmarks/held_out.py MODEL DATA --config RUN/config.toml

MODEL is a folder in the published layout, DATA and the configuration are those of ``code-train``:
sources that it holds out are judged by nearest neighbours among images of those that trained, as
they are, after JPEG at quality 70, and after resizing to one half (``--web``: also as WebP, and as
web sites show them: made small and compressed). ``--seen`` judges images that trained instead,
which shows what was learnt by heart. Beside the score that verdicts are based on stands the plain
difference of the mean cosines. ``--centre`` does to the embeddings what ``code-train starter`` does
to an encoder. Last comes the classifier that sees files' metadata only. Prints Markdown tables;
intervals are bootstraps over sources.
Not a test: it prints.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.weights import build_encoder
from code_forensics.engine.evaluation.bootstrap import intervals
from code_forensics.engine.evaluation.file_facts import read_facts
from code_forensics.engine.evaluation.metadata_classifier import features_of, separability
from code_forensics.engine.evaluation.metrics import auc, rank, tpr_at_fpr
from code_forensics.engine.judging.held_out_search import unit_vectors
from code_forensics.engine.judging.scores import relative_margins
from code_forensics.train.catalogue import Catalogue, Label, decode
from code_forensics.train.config import read_config
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.equalise import jpeg
from code_forensics.train.probe import embed
from code_forensics.train.split import split, spread
from code_forensics.train.views import centre_crop
from PIL import Image

FPR = 0.02
Change = Callable[[Image.Image], Image.Image]


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def _webp(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "JPEG 70": lambda image: jpeg(image, 70),
    "half size": _half,
}
WEB: dict[str, Change] = {
    "WebP 75": lambda image: _webp(image, 75),
    "WebP 50": lambda image: _webp(image, 50),
    "half size, JPEG 75": lambda image: jpeg(_half(image), 75),
    "half size, WebP 75": lambda image: _webp(_half(image), 75),
}


def choose(
    catalogue: Catalogue, numbers: np.ndarray, per_class: int, per_source: int, seed: int
) -> np.ndarray:
    """Images of both classes, as evenly over sources as they allow."""
    chosen = []
    for label in Label:
        inside = numbers[catalogue.label[numbers] == label]
        source = catalogue.source[inside]
        few = [
            spread(inside[source == s], source[source == s], per_source, seed)
            for s in np.unique(source)
        ]
        inside = np.sort(np.concatenate(few))
        chosen.append(spread(inside, catalogue.source[inside], per_class, seed))
    return np.concatenate(chosen)


def crops(catalogue: Catalogue, numbers: np.ndarray, change: Change) -> torch.Tensor:
    """Centre crops, (N, 3, 224, 224) uint8."""
    images = (decode(catalogue.read(int(number))) for number in numbers)
    return torch.from_numpy(np.stack([centre_crop(change(image)) for image in images]))


def metadata(catalogue: Catalogue, numbers: np.ndarray) -> str:
    """What the files' metadata alone give, cross-validated over sources."""
    facts = [read_facts(catalogue.read(int(number))) for number in numbers]
    kept = np.array([fact is not None for fact in facts])
    labels = catalogue.label[numbers][kept].astype(np.int64)
    known = [fact for fact in facts if fact is not None]
    found = separability(features_of(known), labels, catalogue.source[numbers][kept])
    return "-" if found is None else _with_interval(found.auc, found.ci95)


def _with_interval(value: float, ends: tuple[float, float]) -> str:
    return f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def report(scores: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> tuple[str, str]:
    """AUC, and the share of fakes found at 2 % of reals called fake, with intervals."""
    figures = []
    for measure in (auc, lambda ranked: tpr_at_fpr(ranked, FPR)):

        def statistic(weights: np.ndarray, measure=measure) -> np.ndarray:
            return measure(rank(labels, scores, weights))[:, None]

        value = float(statistic(np.ones((1, len(labels))))[0, 0])
        ends = intervals(statistic, labels, sources, resamples=1000, seed=0)
        figures.append(_with_interval(value, (float(ends[0, 0]), float(ends[1, 0]))))
    return figures[0], figures[1]


def main() -> None:
    """Embed, search, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--config", type=Path, required=True, help="as given to code-train")
    parser.add_argument("--references", type=int, default=500, help="a class")
    parser.add_argument("--images", type=int, default=500, help="a class, held out")
    parser.add_argument("--per-source", type=int, default=60, help="images of a source")
    parser.add_argument("-k", type=int, nargs="+", default=[9], help="the last for the tables")
    parser.add_argument("--short", action="store_true", help="no tables by source")
    parser.add_argument("--centre", action="store_true", help="subtract the references' mean")
    parser.add_argument("--web", action="store_true", help="as web sites show pictures, too")
    parser.add_argument(
        "--seen", action="store_true", help="judge other images of the sources that trained"
    )
    parser.add_argument("--drop", nargs="*", default=[], help="sources not to judge by")
    chosen = parser.parse_args()
    changes = CHANGES | (WEB if chosen.web else {})

    config = read_config(chosen.config)
    catalogue = open_catalogue(chosen.data)
    parts = split(catalogue, config.data.holdout, 0.0, config.data.exclude)
    dropped = [i for i, name in enumerate(catalogue.sources) if name in chosen.drop]
    known = choose(catalogue, parts.training, chosen.references, chosen.per_source, 0)
    held_out = np.setdiff1d(parts.training, known) if chosen.seen else parts.held_out
    held_out = held_out[~np.isin(catalogue.source[held_out], dropped)]
    asked = choose(catalogue, held_out, chosen.images, chosen.per_source, 0)
    encoder = build_encoder(read_checkpoint(chosen.model))
    device = torch.device("cpu")

    def raw(numbers: np.ndarray, change: Change) -> np.ndarray:
        return embed(encoder, crops(catalogue, numbers, change), device)

    embedded = raw(known, CHANGES["as it is"])
    mean = embedded.mean(axis=0) if chosen.centre else np.float32(0)
    references = unit_vectors(embedded - mean)
    reference_labels = catalogue.label[known]
    labels = catalogue.label[asked].astype(np.int64)
    sources = catalogue.source[asked].astype(np.int64)
    print(f"{np.sum(labels == 0)} reals of {len(np.unique(sources[labels == 0]))} sources,"
          f" {np.sum(labels == 1)} fakes of {len(np.unique(sources[labels == 1]))};"
          f" {len(known)} references\n")  # fmt: skip
    print(
        f"| {'images that trained' if chosen.seen else 'held-out sources'} | k | score | AUC [95 %] |"
        f" fakes found at {FPR:.0%} false positives [95 %] |"
    )
    print("| --- | ---: | --- | --- | --- |")
    scores = {}
    for name, change in changes.items():
        cosines = unit_vectors(raw(asked, change) - mean) @ references.T
        nearest = [-np.sort(-cosines[:, reference_labels == label], axis=1) for label in Label]
        for k in chosen.k:
            part = nearest[0][:, :k], nearest[1][:, :k]
            scores[name] = relative_margins(*part, k)
            plain = part[1].mean(axis=1) - part[0].mean(axis=1)
            for score, values in (("difference", plain), ("relative", scores[name])):
                area, found = report(values, labels, sources)
                print(f"| {name} | {k} | {score} | {area} | {found} |", flush=True)
    if chosen.short:
        return
    every = np.arange(len(catalogue))
    print(f"| metadata alone, held-out files | | | {metadata(catalogue, asked)} | |")
    print(f"| metadata alone, all files | | | {metadata(catalogue, every)} | |")
    titles = " | ".join(changes)
    print(f"\n| fake source | images | AUC {titles} |\n| --- | --- |{' --- |' * len(changes)}")
    limits = {name: np.quantile(score[labels == 0], 1 - FPR) for name, score in scores.items()}
    for label in (Label.FAKE, Label.REAL):
        if label is Label.REAL:
            print(f"\n| real source | images | share above the threshold of {FPR:.0%} {titles} |")
            print(f"| --- | --- |{' --- |' * len(changes)}")
        for source in np.unique(sources[labels == label]):
            own = sources == source
            cells = []
            for name, score in scores.items():
                pool = own | (labels == 0)
                area = auc(rank(labels[pool], score[pool], np.ones((1, int(pool.sum())))))
                above = np.mean(score[own & (labels == 0)] > limits[name]) if label == 0 else area
                cells.append(f"{float(np.squeeze(above)):.3f}")
            print(f"| {catalogue.sources[source]} | {own.sum()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
