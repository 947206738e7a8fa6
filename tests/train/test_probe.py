from dataclasses import replace

import numpy as np
import pytest
import torch
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.probe import embed, judge, load_probe_images
from code_forensics.train.split import split
from code_forensics.train.views import centre_crop
from PIL import Image


def clouds(seed, distance, count=60):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count).astype(np.int8)
    vectors = rng.normal(size=(2 * count, 24)) + 2
    vectors[labels == 1, :4] += distance
    return vectors.astype(np.float32), labels


def test_the_three_classifiers_are_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import OneClassSVM

    (fit, labels), (new, truth) = clouds(1, 1.0), clouds(2, 1.0)
    figures = judge(fit, labels, new, truth)
    knn = KNeighborsClassifier(1, metric="cosine").fit(fit, labels)
    assert figures.neighbour_accuracy == balanced_accuracy_score(truth, knn.predict(new))
    logistic = LogisticRegression(C=0.316, class_weight="balanced", max_iter=1000).fit(fit, labels)
    assert figures.logistic_accuracy == balanced_accuracy_score(truth, logistic.predict(new))
    assert figures.logistic_auc == roc_auc_score(truth, logistic.predict_proba(new)[:, 1])
    svm = OneClassSVM(kernel="poly", gamma="auto", nu=0.1).fit(fit[labels == 0])
    called_real = svm.predict(new) == 1
    assert figures.one_class_accuracy == balanced_accuracy_score(truth == 0, called_real)


@pytest.mark.parametrize(("distance", "low", "high"), [(0.0, 0.3, 0.7), (12.0, 0.99, 1.0)])
def test_figures_tell_separable_from_not(distance, low, high):
    (fit, labels), (new, truth) = clouds(1, distance), clouds(2, distance)
    figures = judge(fit, labels, new, truth)
    for figure in (figures.neighbour_auc, figures.logistic_auc, figures.logistic_accuracy):
        assert low <= figure <= high


def test_images_come_from_held_out_sources_uncropped_centres(tree, small):
    catalogue = open_catalogue(str(tree))
    parts = split(catalogue, ("three", "x"), 0.1)
    images = load_probe_images(catalogue, parts.training, catalogue, parts.held_out, small)
    assert images is not None
    assert (images.held_out_labels == [0] * 4 + [1] * 4).all()
    expected = [
        centre_crop(Image.open(path).convert("RGB"))
        for folder in ("real/three", "fake/gamma/x")
        for path in sorted((tree / folder).iterdir())
    ]
    ours = sorted(crop.numpy().tobytes() for crop in images.held_out)
    assert ours == sorted(crop.tobytes() for crop in expected)


def test_nothing_held_out_means_no_probes(tree, small):
    catalogue = open_catalogue(str(tree))
    everything = np.arange(len(catalogue))
    assert load_probe_images(catalogue, everything, catalogue, everything[:0], small) is None
    off = replace(small, probe=replace(small.probe, images=0))
    assert load_probe_images(catalogue, everything, catalogue, everything, off) is None


def test_embedding_does_not_depend_on_the_batch_nor_change_the_mode(tiny_encoder):
    encoder = tiny_encoder().train()
    crops = torch.randint(0, 256, (5, 3, 224, 224), dtype=torch.uint8)
    one, all_ = (embed(encoder, crops, torch.device("cpu"), batch) for batch in (1, 5))
    assert encoder.training
    assert one.shape == (5, 24)
    assert one == pytest.approx(all_, abs=1e-5)
