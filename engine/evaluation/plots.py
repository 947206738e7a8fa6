"""Plots of an evaluation as SVG or PNG: ROC, DET, Tippett, reliability. Needs matplotlib."""

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..judging.scores import FAKE, REAL, Floats
from .curves import reliability_curve, roc_curve, tippett_curve
from .evaluate import Outcomes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")

_REAL, _FAKE, _GUIDE = "#0072b2", "#d55e00", "#999999"  # told apart with any colour vision
_DET_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)


def write_plots(
    outcomes: Outcomes, folder: Path, formats: Sequence[str] = FORMATS
) -> tuple[Path, ...]:
    """Write the plots of an evaluation; the same outcomes give the same bytes.

    Args:
        outcomes: What the scan said.
        folder: Where to; made where missing.
        formats: Of ``svg`` and ``png``.

    Returns:
        The files: ``roc``, ``det`` and, where calibrated, ``tippett`` and ``reliability``.

    Raises:
        InputError: matplotlib is not installed, a format is unknown, a class is missing, or the
            files cannot be written.
    """
    require_matplotlib()
    import matplotlib as mpl

    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise InputError(f"cannot plot as {unknown[0]}", f"choose of {', '.join(FORMATS)}")
    if not {REAL, FAKE} <= set(outcomes.labels.tolist()):
        raise InputError("plots need images of both classes", "add the missing class")
    make_folder(folder)
    written = []
    # Salt and date would otherwise differ from run to run; text stays text in an SVG.
    with mpl.rc_context({"svg.hashsalt": "code-forensics", "svg.fonttype": "none"}):
        for name, figure in _figures(outcomes):
            for kind in formats:
                path = folder / f"{name}.{kind}"
                metadata = {"Date": None} if kind == "svg" else {"Software": None}
                try:
                    figure.savefig(path, format=kind, dpi=150, metadata=metadata)
                except OSError as error:
                    raise _unwritten(path, error) from error
                written.append(path)
    return tuple(written)


def require_matplotlib() -> None:
    """Refuse to plot, before any work, where matplotlib is missing.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("matplotlib") is None:
        raise InputError(
            "plots need matplotlib", "install it: pip install 'code-forensics[evaluate]'"
        )


def make_folder(folder: Path) -> None:
    """Make the folder of plots where it is missing; a command does it before hours of work.

    Raises:
        InputError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritten(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write plots to {folder}", "name a folder that can be written to")


def _unwritten(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write plots to {path}: {error.strerror or error}",
        "name a folder that can be made or written to",
    )


def _figures(outcomes: Outcomes) -> Iterator[tuple[str, "Figure"]]:
    labels = outcomes.labels
    counts = f"{int((labels == REAL).sum())} real, {int((labels == FAKE).sum())} fake"
    for name, title, draw in (
        ("roc", "ROC of the score", _draw_roc),
        ("det", "Detection error trade-off of the score", _draw_det),
        ("tippett", "Tippett plot", _draw_tippett),
        ("reliability", "Reliability of p_fake at prior 0.5", _draw_reliability),
    ):
        if draw in (_draw_tippett, _draw_reliability) and not np.isfinite(outcomes.log10_lr).all():
            continue
        figure, axes = _new_figure()
        draw(axes, outcomes)
        axes.set_title(f"{title} ({counts})", fontsize=10)
        axes.grid(visible=True, linewidth=0.3)
        yield name, figure


def _new_figure() -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure  # without pyplot: no state, no display

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    return figure, figure.add_subplot()


def _draw_roc(axes: "Axes", outcomes: Outcomes) -> None:
    curve = roc_curve(outcomes.labels, outcomes.scores)
    axes.plot([0, 1], [0, 1], color=_GUIDE, linestyle="--", linewidth=1)
    axes.plot(curve.fpr, curve.tpr, color=_FAKE)
    axes.set(xlabel="False positive rate", ylabel="True positive rate", xlim=(0, 1), ylim=(0, 1))


def _draw_det(axes: "Axes", outcomes: Outcomes) -> None:
    """Both error rates on normal-deviate axes (Martin et al., Eurospeech 1997)."""
    curve = roc_curve(outcomes.labels, outcomes.scores)
    inside = (curve.fpr > 0) & (curve.fpr < 1) & (curve.fnr > 0) & (curve.fnr < 1)
    ends = _deviates(np.array([_DET_TICKS[0], _DET_TICKS[-1]]))
    axes.plot(ends, ends, color=_GUIDE, linestyle="--", linewidth=1)
    axes.plot(_deviates(curve.fpr[inside]), _deviates(curve.fnr[inside]), color=_FAKE)
    ticks = _deviates(np.array(_DET_TICKS)).tolist()
    names = [f"{100 * rate:g}" for rate in _DET_TICKS]
    axes.set_xticks(ticks, names, fontsize=7)
    axes.set_yticks(ticks, names, fontsize=7)
    limits = float(ends[0]), float(ends[1])
    axes.set(xlabel="False positive rate, %", ylabel="False negative rate, %")
    axes.set(xlim=limits, ylim=limits)


def _draw_tippett(axes: "Axes", outcomes: Outcomes) -> None:
    curve = tippett_curve(outcomes.labels, outcomes.log10_lr)
    axes.axvline(0, color=_GUIDE, linestyle="--", linewidth=1)
    axes.plot(curve.log10_lr, curve.real, color=_REAL, drawstyle="steps-pre", label="real")
    axes.plot(curve.log10_lr, curve.fake, color=_FAKE, drawstyle="steps-pre", label="fake")
    axes.set(xlabel="log10 likelihood ratio", ylabel="Share with at least that", ylim=(0, 1))
    axes.legend()


def _draw_reliability(axes: "Axes", outcomes: Outcomes) -> None:
    curve = reliability_curve(outcomes.labels, outcomes.log10_lr)
    axes.plot([0, 1], [0, 1], color=_GUIDE, linestyle="--", linewidth=1)
    axes.plot(curve.p_fake, curve.share_fake, color=_FAKE, linewidth=0.8)
    axes.scatter(curve.p_fake, curve.share_fake, s=10 + 400 * curve.weight, color=_FAKE)
    axes.set(xlabel="p_fake", ylabel="Share of fakes (classes weighted equally)")
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _deviates(rates: Floats) -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf(rate) for rate in rates.tolist()])
