from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from code_forensics.train.catalogue import RECONSTRUCTION, Label, decode
from code_forensics.train.config import ReconstructOptions
from code_forensics.train.dataset import open_catalogue
from code_forensics.train.distributed import Processes
from code_forensics.train.equalise import centre
from code_forensics.train.errors import ConfigError, DataError
from code_forensics.train.loader import PairViews
from code_forensics.train.reconstruct import load_autoencoder
from code_forensics.train.reconstructions import add_reconstructions
from code_forensics.train.sampling import PairSampler
from PIL import Image
from safetensors.torch import save_file

DATA = Path(__file__).parents[2].parent / "shared" / "data"
CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
needs_data = pytest.mark.skipif(
    not (DATA / "tae").is_dir(), reason="the tiny autoencoders are not at hand"
)
NAMES = ("taesd", "taesdxl", "taesd3", "taef1", "taef2")


def photos(count=6, side=96):
    """Native centre crops of photographs, (count, 3, side, side) in [0, 1]."""
    crops = []
    for path in sorted((DATA / "train" / "real").glob("*/0001.jpg"))[:count]:
        with Image.open(path) as image:
            crops.append(np.asarray(centre(image.convert("RGB"), side, side)))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255


def psnr(made, images):
    """Median peak signal-to-noise ratio, in dB."""
    return float((-10 * torch.log10(((made - images) ** 2).mean(dim=(1, 2, 3)))).median())


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_a_round_trip_keeps_the_photograph(name):
    images = photos()
    made = load_autoencoder(str(DATA / "tae" / name), CPU)(images)
    assert made.shape == images.shape
    assert not torch.equal(made, images)
    assert psnr(made, images) > (21 if name in ("taesd", "taesdxl") else 24)  # 4 or more channels


@needs_data
def test_the_pool_of_taef2_matters():
    """What the other four cannot show: without its pool branch the round trip breaks down."""
    images, loaded = photos(), load_autoencoder(str(DATA / "tae" / "taef2"), CPU)
    whole = psnr(loaded(images), images)
    for block in (*loaded.encoder, *loaded.decoder):
        if getattr(block, "pool", None) is not None:
            block.pool = None
    assert psnr(loaded(images), images) < whole - 6


@needs_data
@pytest.mark.parametrize("name", ["taesd", "taef1"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_equals_the_implementation_of_diffusers(name, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    from safetensors.torch import load_file

    theirs = diffusers.AutoencoderTiny(latent_channels=4 if name == "taesd" else 16).eval()
    for part in ("encoder", "decoder"):
        state = load_file(DATA / "tae" / f"{name}_{part}.safetensors")
        # theirs has no module for our first one, the soft clamp of the decoder
        shift = 1 if part == "decoder" else 0
        named = {
            f"{int(k.split('.')[0]) - shift}.{k.split('.', 1)[1]}": v.float()
            for k, v in state.items()
        }
        getattr(theirs, part).layers.load_state_dict(named)
    images = photos(2, 64)
    ours = load_autoencoder(str(DATA / "tae" / name), CPU)(images)
    with torch.no_grad():
        expected = theirs.decode(theirs.encode(images * 2 - 1).latents).sample / 2 + 0.5
    assert torch.allclose(ours, expected.clamp(0, 1), atol=1e-4)
    theirs.save_pretrained(tmp_path / name)
    loaded = load_autoencoder(str(tmp_path / name), CPU)
    assert loaded.multiple == 8
    assert torch.allclose(loaded(images), expected.clamp(0, 1), atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_variational_autoencoder_of_diffusers_needs_no_noise(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=2)
    model.save_pretrained(tmp_path / "vae")
    loaded = load_autoencoder(str(tmp_path / "vae"), CPU)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(images), loaded(images))
    assert loaded(images).shape == images.shape


def test_every_real_gets_its_reconstruction(tree, autoencoder, tmp_path):
    (tree / "real" / "one" / "0.jpg").write_bytes(b"broken")
    catalogue = open_catalogue(str(tree))
    options = ReconstructOptions((autoencoder,), side=64, batch=3)
    said = []
    made = add_reconstructions(catalogue, options, tmp_path / "made", ALONE, said.append)
    assert len(made) == len(catalogue) + 11  # the broken one is passed over
    assert len(said) == 1
    for number in np.flatnonzero(made.reconstructed()):
        assert made.generators[made.generator[number]] == f"{RECONSTRUCTION}toy"
        real = [i for i in made.where(Label.REAL) if made.record[i] == made.record[number]]
        assert len(real) == 1
        assert made.sources[made.source[number]] == made.sources[made.source[real[0]]]
        image = decode(made.read(int(number)))
        assert image.size == (64, 64)
        centre = decode(made.read(int(real[0])))
        left, top = (centre.width - 64) // 2, (centre.height - 64) // 2
        pixels = np.asarray(centre.crop((left, top, left + 64, top + 64)))
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
        expected = load_autoencoder(autoencoder, CPU)(tensor)[0].permute(1, 2, 0) * 255
        assert np.abs(np.asarray(image) - expected.numpy()).max() <= 1


def test_making_goes_on_where_it_was_interrupted(tree, autoencoder, tmp_path):
    catalogue = open_catalogue(str(tree))
    options = ReconstructOptions((autoencoder,), side=32)
    first = add_reconstructions(catalogue, options, tmp_path / "made", ALONE, print)
    files = sorted((tmp_path / "made" / "toy").iterdir())
    files[0].unlink()
    files[2].write_bytes(b"")  # lost in a power cut: it had its name, but not yet its bytes
    kept = files[1].stat().st_mtime_ns
    said = []
    again = add_reconstructions(catalogue, options, tmp_path / "made", ALONE, said.append)
    assert "reconstructing 2 images" in said[0]
    assert files[2].stat().st_size > 0
    assert files[1].stat().st_mtime_ns == kept
    assert first.digest == again.digest


def test_reals_are_shared_out_over_the_autoencoders(tree, autoencoder, tmp_path):
    for part in ("encoder", "decoder"):
        (tmp_path / f"other_{part}.safetensors").symlink_to(tmp_path / f"toy_{part}.safetensors")
    catalogue = open_catalogue(str(tree))
    both = (autoencoder, str(tmp_path / "other"))
    options = ReconstructOptions(both, side=32, each=1)
    reals = catalogue.where(Label.REAL)[2:]
    made = add_reconstructions(catalogue, options, tmp_path / "m", ALONE, lambda _: None, reals)
    numbers = np.flatnonzero(made.reconstructed())
    assert sorted(made.record[numbers]) == sorted(catalogue.record[reals])
    counts = np.bincount(made.generator[numbers])
    assert sorted(counts[counts > 0]) == [5, 5]
    for other in (replace(options, side=64), replace(options, precision="bfloat16")):
        with pytest.raises(DataError, match="of another size or precision"):
            add_reconstructions(catalogue, other, tmp_path / "m", ALONE, print)


def test_reconstructions_in_bfloat16_are_those_in_float32_but_for_its_rounding(
    tree, autoencoder, tmp_path
):
    catalogue = open_catalogue(str(tree))
    exact, reduced = (
        add_reconstructions(
            catalogue,
            ReconstructOptions((autoencoder,), side=32, precision=precision),
            tmp_path / precision,
            ALONE,
            print,
        )
        for precision in ("float32", "bfloat16")
    )
    numbers = np.flatnonzero(exact.reconstructed())
    pairs = [
        [np.asarray(decode(made.read(int(n)))).astype(int) for made in (exact, reduced)]
        for n in numbers
    ]
    differences = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
    assert 0 < differences.max() <= 32
    assert differences.mean() < 4


def test_a_reconstructed_pair_goes_through_one_crop_resize_and_jpeg(tree, small, tmp_path):
    """With an autoencoder that changes nothing, real and fake come out equal to the pixel."""

    class Identity:
        name, multiple, device = "same", 16, CPU

        def __call__(self, images):
            return images

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "code_forensics.train.reconstructions.load_autoencoder", lambda *_: Identity()
        )
        catalogue = add_reconstructions(
            open_catalogue(str(tree)),
            ReconstructOptions(("same",)),
            tmp_path / "made",
            ALONE,
            print,
        )
    everything = np.arange(len(catalogue))
    config = replace(
        small,
        equalise=replace(small.equalise, side=224, scale=(1.0, 1.0)),
        views=replace(small.views, augmentations=0),
    )
    sampler = PairSampler(catalogue, everything, 0, reconstructed_share=1.0)
    dataset = PairViews(catalogue, sampler, config)
    for number in range(12):
        views = dataset[number].views.numpy()
        assert np.array_equal(views[0, 0], views[1, 0])
        assert views.any()


def test_a_missing_or_strange_autoencoder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no autoencoder"):
        load_autoencoder(str(tmp_path / "none"), CPU)
    for part in ("encoder", "decoder"):
        save_file({"0.weight": torch.zeros(1)}, tmp_path / f"odd_{part}.safetensors")
    with pytest.raises(ConfigError, match="is not a tiny autoencoder"):
        load_autoencoder(str(tmp_path / "odd"), CPU)
