"""The published CoDE inference as its users run it: the yardstick where no other copy is at hand.

Steps and their order are the release's: Pillow, RGB, centre crop, ImageNet normalisation,
transformers' ViTModel in batches, scikit-learn's 1-NN by cosine.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from transformers import ViTModel

SIZE = 224
BATCH = 128
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def load(path: Path) -> np.ndarray:
    """The normalised crop, (3, 224, 224) float32, of an image that is at least as large."""
    image = Image.open(path).convert("RGB")
    left, top = (int(round((side - SIZE) / 2.0)) for side in image.size)  # noqa: RUF046
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)


def main() -> None:
    """Label a folder's images."""
    parser = argparse.ArgumentParser()
    for name in ("--checkpoint", "--gallery", "--images", "--out"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    model = ViTModel.from_pretrained(options.checkpoint, add_pooling_layer=False).eval()
    gallery = np.load(options.gallery)
    classifier = KNeighborsClassifier(1, metric="cosine", n_jobs=-1)
    classifier.fit(gallery["vectors"], gallery["labels"])
    files = sorted(p for p in Path(options.images).rglob("*") if p.suffix.lower() in SUFFIXES)
    labels: list[int] = []
    for first in range(0, len(files), BATCH):
        batch = torch.from_numpy(np.stack([load(p) for p in files[first : first + BATCH]]))
        with torch.inference_mode():
            vectors = model(batch).last_hidden_state[:, 0].numpy()
        labels.extend(classifier.predict(vectors).tolist())
    with Path(options.out).open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["path", "label"])
        writer.writerows(zip(map(str, files), labels, strict=True))


if __name__ == "__main__":
    main()
