"""Views made in the device's memory, against what Pillow does to one picture at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from code_forensics.train.catalogue import RECONSTRUCTION, CatalogueBuilder, Label
from code_forensics.train.config import TrainConfig
from code_forensics.train.draws import Fresh, GroupSampler, PairGroup
from code_forensics.train.errors import DataError
from code_forensics.train.reconstruct import Remake
from code_forensics.train.resident import (
    load_resident,
    make_resident_views,
    resident_batches,
)
from PIL import Image, ImageFilter

CPU = torch.device("cpu")


@pytest.fixture
def pictures(tmp_path, picture):
    """Two reals, a fake, and the middle 64 pixels of the first real as its reconstruction."""
    images = [picture(1, 150, 131), picture(2, 96, 120), picture(3, 128, 128)]
    left, top = (150 - 64) // 2, (131 - 64) // 2
    images.append(images[0].crop((left, top, left + 64, top + 64)))
    builder = CatalogueBuilder()
    labels = (Label.REAL, Label.REAL, Label.FAKE, Label.FAKE)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        image.save(tmp_path / f"{number}.png")
        made = number == 3
        builder.add(str(tmp_path / f"{number}.png"), label, source=str(number), size=1,
                    generator=RECONSTRUCTION if made else "g" * label,
                    record=0 if made else number)  # fmt: skip
    return builder.build(), images


def load(catalogue, side=112):
    return load_resident(catalogue, np.arange(len(catalogue)), side, CPU, lambda _: None)


def group(real=0, fake=2, **changes):
    base = PairGroup(
        np.array([real]), np.array([fake]), False, scale=1.0, filter="bicubic", blur=0.0,
        subsample=False, quality=np.array([100]), earlier=np.array([0]),
        place=np.zeros((1, 2)), offset=np.zeros(2), mirrored=np.array([False]),
    )  # fmt: skip
    return replace(base, **changes)


def array(image):
    return np.asarray(image).transpose(2, 0, 1).astype(int)


def test_images_are_kept_whole_or_cut_to_their_middle(pictures):
    catalogue, images = pictures
    held = load(catalogue)
    left, top = (150 - 112) // 2, (131 - 112) // 2
    expected = images[0].crop((left, top, left + 112, top + 112))
    assert np.array_equal(held.pixels[0], array(expected))
    assert held.sides.tolist() == [[112, 112], [112, 96], [112, 112], [64, 64]]
    assert not held.pixels[3, :, 64:].any()
    assert not held.pixels[1, :, :, 96:].any()
    assert held.origins[0].tolist() == [top, left]
    assert held.origins[3].tolist() == [(131 - 64) // 2, (150 - 64) // 2]


def test_images_that_cannot_be_read_are_left_out_and_named(pictures, tmp_path):
    catalogue, _ = pictures
    (tmp_path / "1.png").write_bytes(b"broken")
    held = load(catalogue)
    assert held.numbers.tolist() == [0, 2, 3]
    assert held.places(np.array([3, 0])).tolist() == [2, 0]
    assert [bad.place for bad in held.bad] == [str(tmp_path / "1.png")]
    for number in (0, 2, 3):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="no image can be read"):
        load(catalogue)


def test_a_view_is_the_pixels_of_its_place(pictures):
    """Without resizing and at quality 100 only the coder's rounding is left."""
    catalogue, images = pictures
    held = load(catalogue)
    views = make_resident_views(
        held, group(place=np.array([[0.5, 0.25]]), offset=np.array([0.99, 0.0])), 32
    )
    assert views.shape == (1, 2, 3, 32, 32)
    assert views.dtype == torch.uint8
    # 32 + 16 pixels are cut where 65 offsets are possible, the view begins at row 16 of them
    for place, image in ((0, images[0]), (1, images[2])):
        origin = [(side - 112) // 2 for side in (image.height, image.width)]
        top, left = origin[0] + 32 + 16, origin[1] + 16
        expected = array(image.crop((left, top, left + 32, top + 32)))
        assert np.abs(views[0, place].numpy().astype(int) - expected).max() <= 3
        assert np.abs(views[0, place].numpy().astype(int) - expected).mean() < 0.6
    mirrored = make_resident_views(
        held, group(place=np.array([[0.5, 0.25]]), offset=np.array([0.99, 0.0]),
                    mirrored=np.array([True])), 32
    )  # fmt: skip
    assert torch.equal(mirrored.flip(-1), views)


@pytest.mark.parametrize(("name", "filter_"), [("bicubic", Image.Resampling.BICUBIC),
                                               ("bilinear", Image.Resampling.BILINEAR)])  # fmt: skip
def test_resizing_and_blur_are_pillows(name, filter_, pictures):
    catalogue, images = pictures
    views = make_resident_views(load(catalogue), group(scale=0.5, filter=name), 32)
    # 96 pixels of the picture's middle 112 become 48
    cut = images[2].crop((8, 8, 104, 104)).resize((48, 48), filter_)
    difference = np.abs(views[0, 1].numpy().astype(int) - array(cut)[:, :32, :32])
    assert difference.mean() < 0.9  # Pillow resizes in fixed point; the coder rounds
    blurred = make_resident_views(load(catalogue), group(blur=1.0), 32)
    soft = images[2].crop((8, 8, 72, 72)).filter(ImageFilter.GaussianBlur(1.0))
    difference = np.abs(blurred[0, 1].numpy().astype(int) - array(soft)[:, :32, :32])
    assert difference[:, 4:, 4:].mean() < 1.2  # Pillow's is a sum of boxes


def test_a_reconstruction_shows_the_same_place_as_its_real(pictures):
    """Here it changes nothing: real and fake come out equal to the pixel, wherever they are cut."""
    held = load(pictures[0])
    for place in ((0.0, 0.0), (0.3, 0.9), (0.99, 0.5)):
        made = group(0, 3, reconstructed=True, place=np.array([place]), quality=np.array([80]),
                     scale=0.8, subsample=True)  # fmt: skip
        views = make_resident_views(held, made, 16)
        assert torch.equal(views[0, 0], views[0, 1])
        assert views.float().std() > 5
        early = make_resident_views(held, replace(made, earlier=np.array([40])), 16)
        assert torch.equal(early[0, 0], views[0, 0])
        assert not torch.equal(early[0, 1], views[0, 1])


def test_a_small_picture_is_padded_around_as_at_inference(pictures):
    views = make_resident_views(load(pictures[0]), group(scale=0.5), 80)
    # 112 pixels become 56; 12 zeros on each side
    assert views[0, :, :, 12:68, 12:68].float().std() > 5
    assert not views[..., :12, :].any()
    assert not views[..., 68:].any()


def test_processes_together_see_the_joint_batch(pictures):
    catalogue, _ = pictures
    held = load(catalogue)
    base = TrainConfig()
    config = replace(base, data=replace(base.data, group=1, balance="root"),
                     views=replace(base.views, sides=(16, 32)),
                     schedule=replace(base.schedule, batch=2))  # fmt: skip
    sampler = GroupSampler(catalogue, np.arange(4), config)
    from code_forensics.train.distributed import Processes

    ranks = [
        resident_batches(held, sampler, Remake(), config, 3, 5, Processes(r, 2, CPU))
        for r in (0, 1)
    ]
    joint = replace(config, schedule=replace(config.schedule, batch=4))
    alone = list(resident_batches(held, sampler, Remake(), joint, 3, 5, Processes(0, 1, CPU)))
    for one, (a, b) in zip(alone, zip(*ranks, strict=True), strict=True):
        assert torch.equal(one.views, torch.cat((a.views, b.views)))
        assert one.corner == a.corner == b.corner
        assert one.views.shape[:4] == (4, 2, 1, 3)
    sides = [one.views.shape[-1] for one in alone]
    assert sides == [sampler.side(3), sampler.side(4)]
    assert {sampler.side(number) for number in range(20)} == {16, 32}


def test_views_are_made_where_the_images_are(pictures):
    """Tensors of another device in between would fail, as on a GPU: here on one without memory."""
    held = load(pictures[0])
    held = replace(held, pixels=held.pixels.to("meta"))
    for changes in ({}, {"scale": 0.5, "blur": 1.0, "subsample": True, "earlier": np.array([70])}):
        views = make_resident_views(held, group(**changes), 80)
        assert views.device.type == "meta"
        assert views.shape == (1, 2, 3, 80, 80)


class Inverting:
    """Stands for an autoencoder: what it makes is told apart from what it was given."""

    name, multiple, device = "inverting", 16, CPU

    def __call__(self, images):
        assert images.shape[-1] % 16 == 0
        return 1 - images


def test_fresh_fakes_are_made_of_what_is_cut_and_made_smaller(pictures):
    catalogue, images = pictures
    held = load(catalogue, 131)
    remake = Remake((Inverting(),))
    fresh = group(
        real=0, fake=0, reconstructed=True, fresh=Fresh(0, 0.75, (0.9, 0.4)),
        place=np.array([[0.3, 0.6]]), offset=np.array([0.5, 0.2]),
    )  # fmt: skip
    views = make_resident_views(held, fresh, 64, remake)[0].int()
    assert views.shape == (2, 3, 64, 64)
    # 64 + 16 pixels and a block more, in steps of 16, are 96: of 128 of the picture
    left, top = (150 - 131) // 2, 0
    top, left = top + int(0.3 * 4), left + int(0.6 * 4)
    given = images[0].crop((left, top, left + 128, top + 128)).resize((96, 96), Image.BICUBIC)
    row, column = int(0.9 * 17) + int(0.5 * 17), int(0.4 * 17) + int(0.2 * 17)
    expected = torch.from_numpy(array(given)[:, row : row + 64, column : column + 64])
    assert (views[0] - expected).abs().float().mean() < 2  # JPEG 100, and another's resizing
    assert (views[0] + views[1] - 255).abs().float().mean() < 2


def test_small_reals_are_reconstructed_too(pictures):
    catalogue, _ = pictures
    held = load(catalogue, 48)
    fresh = group(real=1, fake=1, reconstructed=True, fresh=Fresh(0, 1.0, (0.0, 0.0)), scale=0.5)
    views = make_resident_views(held, fresh, 64, Remake((Inverting(),)))
    assert views.shape == (1, 2, 3, 64, 64)
    assert views[0, 0, :, 24:40, 24:40].any()
    assert not views[0, 0, :, :16].any()
