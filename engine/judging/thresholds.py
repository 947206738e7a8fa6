"""Three verdicts: thresholds fitted on a gallery, and the decision that they imply."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ..results import Verdict
from .calibration import Calibration, CalibrationStatus
from .conformal import ConformalThreshold, Exchangeable, lower_threshold, upper_threshold
from .leave_one_out import LeaveOneOutScores
from .scores import FAKE, REAL, Booleans, Integers


class Inconclusive(StrEnum):
    """Why a verdict is inconclusive; the report's ``reason``."""

    UNCALIBRATED = "uncalibrated"  # too few references of a class
    NO_SEPARATION = "no_separation"  # the gallery's fakes do not score above its reals
    NOVEL = "novel"  # further from every reference than references are from each other
    BETWEEN_THRESHOLDS = "between_thresholds"
    PRECISION = "precision"  # reduced precision, too near a threshold to tell
    TOO_SMALL = "too_small"  # below the encoder's input size
    UNSTABLE = "unstable"  # flips under harmless changes of the image
    CONTRADICTS_COPY = "contradicts_copy"  # practically is a reference of the other class


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """The error rates asked for.

    Attributes:
        target_fpr: Share of reals that may be called fake, in (0, 1).
        target_fnr: Share of fakes that may be called real, in (0, 1).
        novelty_rate: Share of each class that may be set aside as novel, in (0, 1).
        exchangeable: What the guarantee takes new images to be exchangeable with.
    """

    target_fpr: float = 0.01
    target_fnr: float = 0.01
    novelty_rate: float = 0.005
    exchangeable: Exchangeable = Exchangeable.REFERENCES


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a score becomes a verdict, and what is guaranteed of it.

    Attributes:
        status: That of the calibration; without one nothing is decided.
        fake_above: A larger score is ``fake``; None where nothing is.
        real_below: A smaller score is ``real``, at most ``fake_above``; None where nothing is.
        novel_below: A query whose nearest reference of either class is less similar is novel.
        fpr: Guaranteed bound on the share of exchangeable reals called fake.
        fnr: Guaranteed bound on the share of exchangeable fakes called real.
        fpr_supported: Whether ``fpr`` meets its target, or is the tightest that the references
            support.
        fnr_supported: The same for ``fnr``.
        novelty_rate: Guaranteed bound on the share of either class set aside as novel.
        exchangeable: What the guarantees take new images to be exchangeable with.
        optimistic: Whether scores behind them were obtained without leaving the source out:
            the guarantees do not reach images of sources that the gallery does not hold.
    """

    status: CalibrationStatus
    fake_above: float | None
    real_below: float | None
    novel_below: float | None
    fpr: float | None
    fnr: float | None
    fpr_supported: bool
    fnr_supported: bool
    novelty_rate: float | None
    exchangeable: Exchangeable
    optimistic: bool


@dataclass(frozen=True, slots=True)
class Decisions:
    """Verdicts on N queries.

    Attributes:
        verdicts: :class:`Verdict`, shape (N,), dtype object.
        reasons: :class:`Inconclusive`, shape (N,), dtype object; None where decided.
    """

    verdicts: npt.NDArray[np.object_]
    reasons: npt.NDArray[np.object_]

    def overrule(self, rows: Booleans, reason: Inconclusive) -> None:
        """Make queries inconclusive, but for those of a gallery that decides nothing anyway.

        Args:
            rows: Which, shape (N,).
            reason: Why.
        """
        undecidable = (self.reasons == Inconclusive.UNCALIBRATED) | (
            self.reasons == Inconclusive.NO_SEPARATION
        )
        chosen = rows & ~undecidable
        self.verdicts[chosen], self.reasons[chosen] = Verdict.INCONCLUSIVE, reason


def fit_thresholds(
    scores: LeaveOneOutScores, calibration: Calibration, options: ThresholdOptions | None = None
) -> Thresholds:
    """Fit the thresholds of a gallery for stated error rates.

    The fake threshold is a conformal quantile of the reals' leave-one-out scores, the real
    threshold one of the fakes': :func:`~code_forensics.engine.judging.conformal.upper_threshold`.
    The guarantee: of reals exchangeable with the gallery's, at most ``fpr`` are called fake, in
    the mean over galleries, and likewise for fakes. It holds although the leave-one-out scores
    come from a gallery smaller by one: with the new image added to the gallery all scores would be
    exchangeable, and its presence can only bring references of its class nearer to that class,
    so the threshold used is the stricter one. Leaving near duplicates of the own class out adds
    to that; leaving a source out of *both* classes, where they share one, may subtract.

    The thresholds are then widened so that a verdict never contradicts its own likelihood
    ratio: ``fake`` needs one above 1 and ``real`` one below. Where the classes are so well
    separated that the quantiles cross, both move to the score of likelihood ratio 1 when that
    lies between them, and no inconclusive band is left.

    Args:
        scores: Leave-one-out scores of the gallery.
        calibration: Fitted on them.
        options: The error rates asked for.
    """
    options = options or ThresholdOptions()
    neutral = calibration.neutral
    if calibration.status is not CalibrationStatus.CALIBRATED or neutral is None:
        return Thresholds(
            status=calibration.status,
            fake_above=None,
            real_below=None,
            novel_below=None,
            fpr=None,
            fnr=None,
            fpr_supported=False,
            fnr_supported=False,
            novelty_rate=None,
            exchangeable=options.exchangeable,
            optimistic=scores.optimistic,
        )
    score = scores.relative_margins(calibration.k)
    real, fake = scores.labels == REAL, scores.labels == FAKE

    def sources(members: Booleans) -> Integers | None:
        by_source = options.exchangeable is Exchangeable.SOURCES
        return scores.sources[members] if by_source else None

    def novelty(members: Booleans) -> ConformalThreshold:
        return lower_threshold(scores.nearest[members], options.novelty_rate, sources(members))

    upper = upper_threshold(score[real], options.target_fpr, sources(real))
    lower = lower_threshold(score[fake], options.target_fnr, sources(fake))
    # The lower of two thresholds, one a class, keeps its promise to both classes.
    novel = novelty(real), novelty(fake)
    return Thresholds(
        status=calibration.status,
        fake_above=max(upper.value, neutral),
        real_below=min(lower.value, neutral),
        novel_below=min(n.value for n in novel),
        fpr=upper.rate,
        fnr=lower.rate,
        fpr_supported=upper.supported,
        fnr_supported=lower.supported,
        novelty_rate=max(n.rate for n in novel),
        exchangeable=options.exchangeable,
        optimistic=scores.optimistic,
    )


def decide(
    scores: npt.ArrayLike,
    nearest: npt.ArrayLike,
    thresholds: Thresholds,
    *,
    score_band: npt.ArrayLike = 0.0,
    cosine_band: npt.ArrayLike = 0.0,
) -> Decisions:
    """Turn scores into verdicts.

    Args:
        scores: With the calibration's k, shape (N,).
        nearest: Cosines to the nearest reference of either class, shape (N,).
        thresholds: Of the gallery.
        score_band: How far a score in reduced precision may lie from the float32 one, one number
            or shape (N,); a verdict that could differ within it is ``inconclusive``
            (``precision``).
        cosine_band: The same for the nearest cosine.

    Returns:
        Verdicts with their reasons. A query without a reference of one class (score NaN) is
        ``uncalibrated``.
    """
    score = np.asarray(scores, dtype=np.float64)
    similarity = np.asarray(nearest, dtype=np.float64)
    verdicts, reasons = np.empty((2, *score.shape), dtype=np.object_)
    verdicts[...] = Verdict.INCONCLUSIVE  # np.full would make plain strings of them
    reasons[...] = Inconclusive.BETWEEN_THRESHOLDS
    fake_above, real_below = thresholds.fake_above, thresholds.real_below
    if thresholds.status is CalibrationStatus.TOO_FEW:
        reasons[...] = Inconclusive.UNCALIBRATED
    elif fake_above is None or real_below is None or thresholds.novel_below is None:
        reasons[...] = Inconclusive.NO_SEPARATION
    else:
        for verdict, chosen in (
            (Verdict.FAKE, score > fake_above),
            (Verdict.REAL, score < real_below),
        ):
            verdicts[chosen], reasons[chosen] = verdict, None
        novel = similarity < thresholds.novel_below
        verdicts[novel], reasons[novel] = Verdict.INCONCLUSIVE, Inconclusive.NOVEL
        band = np.asarray(score_band, dtype=np.float64)
        close = (np.abs(score - fake_above) < band) | (np.abs(score - real_below) < band)
        edge = np.abs(similarity - thresholds.novel_below) < np.asarray(cosine_band)
        unsure = edge | (close & ~novel)
        verdicts[unsure], reasons[unsure] = Verdict.INCONCLUSIVE, Inconclusive.PRECISION
    lost = np.isnan(score)
    verdicts[lost], reasons[lost] = Verdict.INCONCLUSIVE, Inconclusive.UNCALIBRATED
    return Decisions(verdicts, reasons)
