"""The model card: what a starter is made of, and every figure measured on it, as Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...engine.decoding.layout import Crops
from ...engine.evaluation.evaluate import Interval, Metrics
from ...engine.judging.assessment import Assessment
from ...engine.judging.thresholds import Thresholds
from ..catalogue import Label
from .conditions import Condition
from .held_out import ConditionFigures
from .roles import Role, Source

_LOOKED_AT = {
    Crops.CENTER: "the middle alone",
    Crops.FIVE: "the middle and the four corners; a score is the mean of theirs",
    Crops.SIXTEEN: "up to 4 x 4 over the whole picture and the middle; a score is the mean of"
    " theirs",
    Crops.GRID: "up to 6 x 6 over the whole picture and the middle; a score is the mean of theirs",
}
_SEEN = {
    Crops.CENTER: "the middle 224 x 224 pixels",
    Crops.FIVE: "the middle and the corners, 224 x 224 pixels each",
    Crops.SIXTEEN: "up to 17 parts of 224 x 224 pixels",
    Crops.GRID: "up to 37 parts of 224 x 224 pixels",
}

WEAK = 0.75
"""AUC below which a generator is named among what the starter cannot find."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card says beside the figures.

    Attributes:
        command: That made the starter.
        commit: Of the program, and whether files were changed since; empty where unknown.
        recipe: Options of the training run as TOML; empty where unknown.
        digest: Of the data's catalogue.
        encoder: What it is, in words.
        encoder_sha256: Identity of the encoder.
        gallery_sha256: Identity of the gallery.
        licence: SPDX identifier.
        crops: What of a picture is judged.
        notes: What else shall be said, Markdown, written by people; may be empty.
    """

    command: str
    commit: str
    recipe: str
    digest: str
    encoder: str
    encoder_sha256: str
    gallery_sha256: str
    licence: str
    crops: Crops
    notes: str


def write_card(
    facts: Facts,
    sources: Sequence[Source],
    figures: Sequence[ConditionFigures],
    assessment: Assessment,
    counts: tuple[int, int],
    alone: int,
    conditions: Sequence[Condition],
) -> str:
    """Write the card.

    Args:
        facts: Beside the figures.
        sources: Of the data.
        figures: One a condition, the native one first.
        assessment: Of the gallery that is shipped.
        counts: Its real and its fake references that pictures are compared with.
        alone: How many more are for calibration alone.
        conditions: In which images are references.
    """
    thresholds = assessment.thresholds()
    parts = [
        "# Model card: the embedded starter",
        "Written by the command below from what it measured; do not edit it by hand.",
        _identity(facts, counts, alone, conditions),
        "## What it cannot do",
        _limits(sources, figures, facts.crops),
        "## Figures",
        _how_measured(sources),
        *(_condition(one) for one in figures),
        "### By source",
        _by_source(figures),
        "### By generator",
        "AUC of the generator's held-out images against all held-out reals.",
        _by_generator(figures),
        "## Thresholds that are shipped",
        _thresholds(assessment, thresholds),
        "## Data",
        f"Digest of the catalogue (names, sizes, labels): `{facts.digest}`.",
        _data(sources),
        "## Recipe",
        f"```toml\n{facts.recipe.strip()}\n```" if facts.recipe else "Not recorded.",
        *(["## Notes of the makers", facts.notes.strip()] if facts.notes.strip() else []),
    ]
    return "\n\n".join(parts) + "\n"


def _identity(
    facts: Facts, counts: tuple[int, int], alone: int, conditions: Sequence[Condition]
) -> str:
    further = f", and {alone} of sources that did not train, for calibration alone" if alone else ""
    rows = [
        ("encoder", f"{facts.encoder}; SHA-256 `{facts.encoder_sha256}`"),
        (
            "gallery",
            f"{counts[0]} real and {counts[1]} fake references{further}; vectors with source and"
            f" generator, no pictures; in the conditions {', '.join(conditions)};"
            f" SHA-256 `{facts.gallery_sha256}`",
        ),
        ("crops", f"`{facts.crops}`: {_LOOKED_AT[facts.crops]}"),
        ("licence of weights and vectors", facts.licence),
        ("made with", f"`{facts.command}`"),
        ("commit", facts.commit or "unknown"),
    ]
    return _table(("", ""), rows)


def _limits(sources: Sequence[Source], figures: Sequence[ConditionFigures], crops: Crops) -> str:
    native = figures[0]
    learnt = [source for source in sources if source.role is Role.TRAINED]
    generators = {g for source in learnt for g in source.generators}
    weak = sorted(
        f"{name or 'unnamed'} ({metrics.auc:.2f})"
        for name, metrics in native.evaluation.by_generator.items()
        if metrics.auc is not None and metrics.auc < WEAK
    )
    overall = native.evaluation.overall
    unfound = None if overall.abstained is None else _fakes_found(native)
    reals = sum(source.images for source in learnt if source.label is Label.REAL)
    return "\n".join(
        [
            f"- The encoder has learnt from {reals} real images and images of {len(generators)}"
            " named generators. Of generators that are not listed below nothing was measured.",
            f"- On held-out sources it finds {_percent(unfound)} of the generated images at its"
            f" thresholds, and decides nothing on {_percent(overall.abstained)} of all images.",
            f"- Held-out generators with an AUC below {WEAK:.2f}: {', '.join(weak) or 'none'}.",
            f"- It sees {_SEEN[crops]}. Pictures with a side below that, drawings,"
            " renderings and edited photographs are outside what was measured.",
            "- Compression and resizing cost accuracy: see the figures for each condition.",
            '- A verdict "real" says that no trace was found. Verdicts are leads, not proofs.',
            "- For your own material build a gallery, or add references of what you look for:"
            " `code-index add starter --fake NAME=DIR`.",
        ]
    )


def _fakes_found(figures: ConditionFigures) -> float | None:
    rows = [source for source in figures.sources if source.label == int(Label.FAKE)]
    images = sum(source.images for source in rows)
    return sum(source.called_fake * source.images for source in rows) / images if images else None


def _how_measured(sources: Sequence[Source]) -> str:
    held = [source for source in sources if source.role is not Role.TRAINED]
    reals = [source for source in held if source.label is Label.REAL]
    fakes = [source for source in held if source.label is Label.FAKE]
    return (
        f"Judged are {len(reals)} real and {len(fakes)} generated sources that the encoder was not"
        " trained on, some images of each. Each source is judged by the starter without it: its"
        " references are taken out of the gallery, and calibration and thresholds are fitted again"
        " on the other such sources. So the figures speak of new sources, though the training's"
        " options may have been chosen by the same sources, which would flatter them. Intervals are"
        " 95 %, of a bootstrap over sources. Crops and thresholds are those of `code-scan` by"
        " default. Beside them stands what a logistic"
        " regression on file headers alone (format, size, compression; learnt on the sources that"
        " trained) reaches on the same images: an AUC of 0.5 there says that the files themselves"
        " do not give the class away. JPEG 70 compresses every image again. Half size halves both"
        " sides; what is then smaller than 224 pixels is continued by its mirror image, because"
        " the data hold crops of at most 248 pixels."
    )


_METRICS = (
    ("AUC", "auc"),
    ("TPR at 1 % FPR", "tpr_at_fpr_01"),
    ("TPR at 5 % FPR", "tpr_at_fpr_05"),
    ("equal error rate", "eer"),
    ("balanced accuracy of the likelihood ratio", "balanced_accuracy"),
    ("reals called fake", "false_positive_rate"),
    ("fakes called real", "false_negative_rate"),
    ("inconclusive", "abstained"),
    ("Cllr, bits", "cllr"),
)


def _condition(figures: ConditionFigures) -> str:
    overall = figures.evaluation.overall
    rows = [(name, *_with_ends(overall, field)) for name, field in _METRICS]
    rows.append(("fakes called fake", _number(_fakes_found(figures)), ""))
    if figures.metadata is not None:
        low, high = figures.metadata.ci95
        rows.append(
            ("AUC of file headers alone", _number(figures.metadata.auc), f"{low:.3f} to {high:.3f}")
        )
    title = f"### {figures.condition[0].upper()}{figures.condition[1:]}"
    counted = f"{overall.n_real} real and {overall.n_fake} generated images."
    return "\n\n".join((title, counted, _table(("", "value", "95 % interval"), rows)))


def _by_source(figures: Sequence[ConditionFigures]) -> str:
    native, *others = figures
    rows = []
    for place, source in enumerate(native.sources):
        rows.append(
            (
                source.name,
                "real" if source.label == int(Label.REAL) else "fake",
                str(source.images),
                *(_number(one.sources[place].auc) for one in figures),
                _percent(source.called_fake),
                _percent(source.called_real),
                _percent(source.inconclusive),
            )
        )
    aucs = ("AUC", *(f"AUC, {one.condition}" for one in others))
    return _table(
        ("source", "class", "images", *aucs, "called fake", "called real", "inconclusive"), rows
    )


def _by_generator(figures: Sequence[ConditionFigures]) -> str:
    native, *others = figures
    rows = [
        (
            name or "unnamed",
            str(metrics.n_fake),
            _number(metrics.auc),
            _ends(metrics.ci95.auc),
            *(_number(one.evaluation.by_generator[name].auc) for one in others),
        )
        for name, metrics in sorted(native.evaluation.by_generator.items())
    ]
    titles = ("generator", "images", "AUC", "95 % interval")
    return _table((*titles, *(f"AUC, {one.condition}" for one in others)), rows)


def _thresholds(assessment: Assessment, thresholds: Thresholds) -> str:
    calibration = assessment.calibration
    rows = [
        ("fitted on", f"{calibration.n_real} real and {calibration.n_fake} held-out references"),
        ("fake above a score of", _number(thresholds.fake_above)),
        ("real below a score of", _number(thresholds.real_below)),
        ("reals called fake, bound", _percent(thresholds.fpr)),
        ("fakes called real, bound", _percent(thresholds.fnr)),
    ]
    return (
        _table(("", ""), rows)
        + "\n\nThe bounds hold for images like these references; for new sources see the figures."
    )


def _data(sources: Sequence[Source]) -> str:
    rows = [
        (
            source.name,
            source.label.name.lower(),
            ", ".join(source.generators[:4])
            + (f" and {len(source.generators) - 4} more" if len(source.generators) > 4 else ""),
            str(source.images),
            str(source.role),
            source.licence,
            source.origin,
        )
        for source in sources
    ]
    return _table(
        ("source", "class", "generators", "images", "role", "licence as stated", "origin"), rows
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _with_ends(metrics: Metrics, field: str) -> tuple[str, str]:
    return _number(getattr(metrics, field)), _ends(getattr(metrics.ci95, field))


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
