"""Judging the encoder on held-out sources with the three classifiers of the release.

1-nearest-neighbour by cosine; logistic regression with C 0.316 and balanced classes; one-class
SVM on reals (polynomial kernel, gamma 'auto', nu 0.1). They are fitted on plain crops of training
images, and judged on those of sources that the encoder has not seen.
"""

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..engine.embedding.config import CROP
from ..engine.embedding.encoder import Encoder, normalise
from .catalogue import Catalogue, Label, decode
from .config import TrainConfig
from .equalise import equalise
from .errors import DataError
from .split import spread
from .views import centre_crop, resized_centre_crop

_LOG = logging.getLogger(__name__)
Vectors = NDArray[np.float32]
Labels = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the probes measured: balanced accuracy and area under the ROC curve, each 0 to 1."""

    neighbour_accuracy: float
    neighbour_auc: float
    logistic_accuracy: float
    logistic_auc: float
    one_class_accuracy: float
    one_class_auc: float


@dataclass(frozen=True, slots=True)
class ProbeImages:
    """Crops to embed, kept in memory for the whole run.

    Attributes:
        fit: Crops of training images, (N, 3, 224, 224) uint8.
        fit_labels: Their classes, (N,) int8.
        held_out: Crops of held-out images, (M, 3, 224, 224) uint8.
        held_out_labels: Their classes, (M,) int8.
    """

    fit: torch.Tensor
    fit_labels: Labels
    held_out: torch.Tensor
    held_out_labels: Labels


def load_probe_images(
    catalogue: Catalogue,
    training: NDArray[np.int64],
    validation: Catalogue,
    held_out: NDArray[np.int64],
    config: TrainConfig,
) -> ProbeImages | None:
    """Choose and crop the probes' images, spread evenly over sources.

    Returns:
        The crops, or None where nothing of a class is held out or no probes are wanted.

    Raises:
        DataError: A class has no readable image.
    """
    probe = config.probe
    if probe.images == 0 or len(np.unique(validation.label[held_out])) < 2:
        return None
    fit, fit_labels = _crops(catalogue, training, probe.references, config)
    other, other_labels = _crops(validation, held_out, probe.images, config)
    return ProbeImages(fit, fit_labels, other, other_labels)


def _crops(
    catalogue: Catalogue, numbers: NDArray[np.int64], per_class: int, config: TrainConfig
) -> tuple[torch.Tensor, Labels]:
    crops, labels = [], []
    for label in Label:
        inside = numbers[catalogue.label[numbers] == label]
        chosen = spread(inside, catalogue.source[inside], per_class, config.seed)
        for number in chosen:
            try:
                image = decode(catalogue.read(int(number)))
            except OSError as error:
                _LOG.warning("passed over %s: %s", catalogue.describe(int(number)), error)
                continue
            if config.equalise.enabled:
                rng = np.random.default_rng((config.seed, 3, int(number)))
                (image,) = equalise((image,), config.equalise, rng)
            cut = resized_centre_crop if config.views.finish == "resize" else centre_crop
            crops.append(cut(image))
            labels.append(label)
        if label not in labels:
            raise DataError(f"no {label.name.lower()} image for the probes can be read")
    return torch.from_numpy(np.stack(crops)), np.array(labels, dtype=np.int8)


@torch.inference_mode()
def embed(encoder: Encoder, crops: torch.Tensor, device: torch.device, batch: int = 64) -> Vectors:
    """Embed crops in float32.

    Args:
        encoder: For normalised input.
        crops: (N, 3, 224, 224) uint8.
        device: Where the encoder is.
        batch: Crops per pass.

    Returns:
        Embeddings, (N, D) float32, not unit length.
    """
    assert crops.shape[1:] == (3, CROP, CROP)
    was_training = encoder.training
    encoder.eval()
    parts = [
        encoder(normalise(part.to(device))).float().cpu() for part in torch.split(crops, batch)
    ]
    encoder.train(was_training)
    return torch.cat(parts).numpy()


def judge(fit: Vectors, fit_labels: Labels, held_out: Vectors, labels: Labels) -> Figures:
    """Fit the three classifiers and measure them.

    Args:
        fit: Training embeddings, (N, D) float32.
        fit_labels: Their classes, (N,), 0 real and 1 fake.
        held_out: Held-out embeddings, (M, D) float32.
        labels: Their classes, (M,).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.svm import OneClassSVM

    unit, query = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (fit, held_out))
    cosines = query @ unit.T  # (M, N)
    nearest_fake = cosines[:, fit_labels == Label.FAKE].max(axis=1)
    nearest_real = cosines[:, fit_labels == Label.REAL].max(axis=1)
    margin = nearest_fake - nearest_real

    logistic = LogisticRegression(C=0.316, class_weight="balanced", max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe need not be the optimum
        logistic.fit(fit, fit_labels)
    linear = logistic.decision_function(held_out)

    one_class = OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(fit[fit_labels == Label.REAL])
    outside = -one_class.decision_function(held_out)  # its +1 means real

    figures = [
        float(figure)
        for score in (margin, linear, outside)
        for figure in (balanced_accuracy_score(labels, score > 0), roc_auc_score(labels, score))
    ]
    return Figures(*figures)


def run_probes(encoder: Encoder, images: ProbeImages, device: torch.device) -> Figures:
    """Embed the probes' images and judge the encoder by them."""
    return judge(
        embed(encoder, images.fit, device), images.fit_labels,
        embed(encoder, images.held_out, device), images.held_out_labels,
    )  # fmt: skip
