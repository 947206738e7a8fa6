"""Tables of an evaluation, for people."""

from ..engine.evaluation.bootstrap import FEW_UNITS, count_units, draws_sources
from ..engine.evaluation.evaluate import Interval, Metrics
from ..engine.evaluation.full import FullEvaluation
from ..engine.evaluation.targets import CalibrationCost, Rate
from ..engine.judging.scores import FAKE, REAL
from . import render
from .console import say

_COLUMNS = (
    ("AUC", "auc"),
    ("AP", "ap"),
    ("EER", "eer"),
    ("balanced acc.", "balanced_accuracy"),
    ("acc. real", "accuracy_real"),
    ("acc. fake", "accuracy_fake"),
    ("TPR @ 1 %", "tpr_at_fpr_01"),
    ("TPR @ 5 %", "tpr_at_fpr_05"),
    ("Cllr", "cllr"),
    ("ECE", "ece"),
    ("abstained", "abstained"),
    ("real called fake", "false_positive_rate"),
    ("fake called real", "false_negative_rate"),
)


def show(full: FullEvaluation, scan: int) -> None:
    """Print the tables on stdout."""
    overall = full.evaluation.overall
    answer = "likelihood ratio > 1" if full.gathered.calibrated else "plain vote"
    render.table(
        f"overall: {overall.n_real} real, {overall.n_fake} fake, scan {scan};"
        f" accuracies of: {answer}",
        ("", "value", "95 % interval"),
        [
            (
                title,
                _number(getattr(overall, field)),
                _ends(getattr(overall.ci95, field)),
            )
            for title, field in _COLUMNS
        ],
    )
    render.table(
        "by generator, its fakes against real images",
        ("generator", "fakes", "AUC", "acc. fake", "TPR @ 5 %", "fake called real"),
        [
            (
                generator,
                metrics.n_fake,
                *(
                    _with_ends(metrics, field)
                    for field in (
                        "auc",
                        "accuracy_fake",
                        "tpr_at_fpr_05",
                        "false_negative_rate",
                    )
                ),
            )
            for generator, metrics in full.by_generator.items()
        ],
    )
    render.table(
        "at target false positive rates",
        ("target", "guaranteed", "real called fake", "fake found", "fake called real", "abstained"),
        [
            (
                f"{target.target_fpr:.2%}",
                _percent(target.guaranteed_fpr),
                *(_rate(r) for r in (target.fpr, target.tpr, target.fnr, target.abstained)),
            )
            for target in full.targets
        ],
    )
    render.table(
        "calibration (bits; 1 is a system without information)",
        ("", "Cllr", "least Cllr possible", "ECE"),
        [("before", *_costs(full.before)), ("after", *_costs(full.after))],
    )
    if full.d3:
        names = sorted({name for row in full.d3 for name, _ in row.by_generator})
        render.table(
            "accuracy of the plain vote on D3, %, as in CoDE's paper",
            ("", "real", *names, "mean"),
            [
                (
                    row.condition or "all",
                    _hundred(row.real),
                    *(_hundred(dict(row.by_generator).get(name)) for name in names),
                    _hundred(row.mean),
                )
                for row in full.d3
            ],
        )


def warn(full: FullEvaluation) -> None:
    """Say what was left out, and what speaks against the figures."""
    left_out, gathered = full.gathered.left_out, full.gathered
    for count, what in (
        (left_out.same_file, "images are in the gallery and were left out"),
        (left_out.near_duplicate, "images have a near copy in the gallery and were left out"),
        (left_out.repeated, "copies of images within the set were left out"),
        (left_out.contradicted, "images stand in both classes and were left out"),
    ):
        if count:
            say(f"note: {count} {what}", "yellow")
    for reason, count in left_out.not_judged:
        say(f"note: {count} files were not judged: {reason}", "yellow")
    if gathered.shared_sources:
        say(
            f"note: {gathered.from_shared_sources} images come from sources that the gallery"
            f" has too ({', '.join(gathered.shared_sources[:5])}): expect worse on other sources",
            "yellow",
        )
    labels, sources = gathered.outcomes.labels, gathered.outcomes.sources
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        units = count_units(labels, sources, label)
        if full.evaluation.resamples and units < FEW_UNITS:
            of = "sources of " if draws_sources(labels, sources, label) else ""
            say(
                f"note: intervals rest on {units} {of}{name} images: with so few they are too"
                " narrow",
                "yellow",
            )
    if not gathered.calibrated:
        say(
            "note: the gallery is not calibrated, or its references do not separate the classes;"
            " accuracies are those of the plain vote",
            "yellow",
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _hundred(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _ends(interval: Interval | None) -> str:
    return "" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def _with_ends(metrics: Metrics, field: str) -> str:
    return f"{_number(getattr(metrics, field))} {_ends(getattr(metrics.ci95, field))}".strip()


def _rate(rate: Rate) -> str:
    ends = "" if rate.ci95 is None else f" [{rate.ci95[0]:.2%}, {rate.ci95[1]:.2%}]"
    return _percent(rate.value) + ends


def _costs(cost: CalibrationCost) -> tuple[str, str, str]:
    return (
        f"{_number(cost.cllr.value)} {_ends(cost.cllr.ci95)}".strip(),
        _number(cost.cllr_min),
        f"{_number(cost.ece.value)} {_ends(cost.ece.ci95)}".strip(),
    )
