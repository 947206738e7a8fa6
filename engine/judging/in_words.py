"""What a run's verdicts rest on, in plain sentences for people, from its run record."""

from collections.abc import Mapping
from typing import Any

from ..decoding.layout import Crops
from .calibration import MIN_REFERENCES, CalibrationStatus
from .exact_bounds import at_most

_CROPS = {
    Crops.CENTER: "the middle",
    Crops.FIVE: "the middle and the four corners",
    Crops.SIXTEEN: "the middle and up to sixteen crops all over the picture",
    Crops.GRID: "crops all over the picture",
}


def limits_in_words(
    judging: Mapping[str, Any], views: Mapping[str, Any] | None = None
) -> list[str]:
    """Say what the verdicts of a run promise and what they do not.

    Args:
        judging: The run record's ``judging``, from :meth:`Judge.record`.
        views: Its ``views``, from :meth:`ViewPlan.record`; None for the middle alone.

    Returns:
        Sentences, the most important first.
    """
    if (head := judging.get("classifier")) is not None:
        return _of_head(head)
    calibration = judging["calibration"]
    seen = f"{calibration['n_real']} real and {calibration['n_fake']} fake references"
    status = calibration["status"]
    if status == CalibrationStatus.TOO_FEW:
        return [
            f"Uncalibrated: {seen} could be scored without themselves, {MIN_REFERENCES} of each"
            " are needed; every verdict is inconclusive, and the plain vote (knn) is no evidence"
            " of any stated strength."
        ]
    if status == CalibrationStatus.NO_SEPARATION:
        return [
            "The gallery's own fakes do not score above its reals: it cannot tell them apart,"
            " and every verdict is inconclusive."
        ]
    promise = promise_in_words(judging, views)
    prior = (
        f"p_fake assumes that {judging['prior']:.0%} of such images are generated (the prior);"
        " log10_lr, the likelihood ratio, assumes nothing of the kind."
    )
    return [*promise[:1], prior, *promise[1:]]


def promise_in_words(
    judging: Mapping[str, Any], views: Mapping[str, Any] | None = None
) -> list[str]:
    """Say which error rates the thresholds of a run stand for, and with what reservations.

    Args:
        judging: As for :func:`limits_in_words`; what an older record lacks is not said.
        views: As there.

    Returns:
        The rates in one text, then each reservation; nothing where no rate is known, as of a
        classifier's verdicts.
    """
    thresholds = judging.get("thresholds") or {}
    fpr, fnr = thresholds.get("fpr"), thresholds.get("fnr")
    if judging.get("classifier") is not None or fpr is None or fnr is None:
        return []
    real = _rate("real images", "fake", fpr, judging.get("target_fpr"), thresholds)
    fake = _rate("generated images", "real", fnr, judging.get("target_fnr"), thresholds)
    fitted = judging.get("calibration") or {}
    sentences = [" ".join([real, fake, *_of_this_one(fpr, fnr, thresholds, fitted)])]
    if views and views["crops"] != Crops.CENTER:
        sentences.append(
            f"A score is the mean over {_CROPS[views['crops']]}. The rates, and the scale of"
            " log10_lr and p_fake, were fitted on middles alone: they are not promised for means."
        )
    if thresholds.get("optimistic"):
        sentences.append(
            "These rates are optimistic: some sources of the gallery are unknown, the only ones of"
            " their class, or in both classes, so scores could not be taken without them. Other"
            " cameras, platforms and generators will give more errors."
        )
    return sentences


def arithmetic_in_words(encoder: Mapping[str, Any]) -> str:
    """In which precision, where and by which code a run embedded, as far as its record says it.

    Args:
        encoder: The record's ``encoder``.
    """
    by = f", {encoder['backend']}" if "backend" in encoder else ""
    return f"{encoder.get('precision')} on {encoder.get('device')}{by}"


def views_in_words(views: Mapping[str, Any] | None) -> str:
    """Say what of each picture a run looked at, from its run record's ``views``."""
    if not views:
        return _CROPS[Crops.CENTER]
    looked = _CROPS[views["crops"]]
    return f"{looked}; the middle under harmless changes" if views["probe"] else looked


def origin_in_words(run: Mapping[str, Any]) -> str:
    """Say which scan a run judged again; nothing of one that read files."""
    earlier = run.get("rejudged")
    return f"the rows of scan {earlier['scan']} ({earlier['id']})" if earlier else ""


def shard_in_words(run: Mapping[str, Any]) -> str:
    """Say which part of a scan a run is; nothing of a whole one."""
    number, _, count = str(run.get("arguments", {}).get("shard") or "").partition("/")
    return f"part {number} of {count}" if count else ""


def _of_head(head: Mapping[str, Any]) -> list[str]:
    kind = {"linear": "logistic regression", "svm": "one-class support vector machine"}
    return [
        f"The verdicts are those of the {kind.get(head['kind'], head['kind'])} {head['name']}"
        f" (SHA-256 {head['sha256'][:12]}), which answers real or fake for every image and has no"
        " thresholds: nothing is known here of its error rates.",
        "The vote (knn), the score and the neighbours stand beside it and did not decide; but an"
        " answer that a practically identical reference of the other class contradicts is"
        " withheld.",
    ]


def _rate(
    images: str, verdict: str, rate: float, target: float | None, thresholds: Mapping[str, Any]
) -> str:
    like = "from new sources like" if thresholds.get("exchangeable") == "sources" else "like"
    supported = thresholds.get("fpr_supported" if verdict == "fake" else "fnr_supported", True)
    text = f"At most {rate:.2%} of {images} {like} the gallery's are called {verdict}"
    if supported or target is None:
        return f"{text}."
    return (
        f"{text}: the tightest bound that its references support, not the {target:.2%} asked for."
    )


def _of_this_one(
    fpr: float, fnr: float, thresholds: Mapping[str, Any], fitted: Mapping[str, Any]
) -> list[str]:
    """What one gallery keeps to, where its references count as independent.

    Conformal rates hold in the mean over galleries. One gallery's own share is that of scores
    beyond an order statistic, whose distribution is a beta's.
    """
    reals, fakes = fitted.get("n_real"), fitted.get("n_fake")
    if not reals or not fakes or thresholds.get("exchangeable") == "sources":
        return []
    wrong, missed = (
        at_most(max(round(rate * (among + 1)) - 1, 0), among)
        for rate, among in ((fpr, reals), (fnr, fakes))
    )
    return [
        "That is on average over galleries like it; this one keeps, with 95% confidence, to"
        f" {wrong:.2%} and {missed:.2%}."
    ]
