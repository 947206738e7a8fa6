"""Against Pillow's coder, which is the Independent JPEG Group's."""

import io

import numpy as np
import pytest
import torch
from code_forensics.train.jpeg import cosine_transform, jpeg_loss
from PIL import Image
from scipy.fft import dctn


def pixels(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def coded(image, quality, subsampling):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return pixels(Image.open(buffer).convert("RGB")).float()


@pytest.mark.parametrize("subsample", [True, False])
@pytest.mark.parametrize("size", [(64, 48), (61, 35)])
def test_it_loses_what_pillow_loses(size, subsample, picture):
    qualities = [20, 50, 75, 90, 100]
    image = picture(4, *size)
    theirs = torch.stack([coded(image, q, 2 if subsample else 0) for q in qualities])
    batch = pixels(image).expand(len(qualities), -1, -1, -1)
    ours = jpeg_loss(batch, torch.tensor(qualities), subsample)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, ours.round().clamp(0, 255))
    apart = (ours - theirs).abs().flatten(1).mean(dim=1)
    lost = (theirs - pixels(image)).abs().flatten(1).mean(dim=1)
    # the coder's integer arithmetic rounds some coefficients to the other side
    assert (apart < 0.6 + 0.12 * lost).all()
    assert (apart[:3] < 0.25 * lost[:3]).all()


def test_images_do_not_touch_each_other(picture):
    batch = torch.stack([pixels(picture(seed, 40, 40)) for seed in range(3)])
    quality = torch.tensor([30, 60, 90])
    together = jpeg_loss(batch, quality, True)
    for i in range(3):
        assert torch.equal(jpeg_loss(batch[i : i + 1], quality[i : i + 1], True)[0], together[i])


def test_the_cosine_transform_is_scipys():
    block = np.random.default_rng(0).normal(size=(8, 8))
    ours = cosine_transform(8).numpy() @ block.ravel()
    assert np.allclose(ours.reshape(8, 8), dctn(block, norm="ortho"), atol=1e-5)
