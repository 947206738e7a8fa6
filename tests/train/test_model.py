import pytest
import torch
from code_forensics.engine.embedding.checkpoint import write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder, normalise
from code_forensics.engine.embedding.weights import build_encoder, export_checkpoint
from code_forensics.train.model import (
    Trainee,
    attention_for,
    initialise,
    plain,
    position_window,
    start_encoder,
    whiten,
)

SIZES = EncoderConfig(
    hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24
)


@pytest.fixture
def encoder():
    return initialise(Encoder(SIZES), seed=1)


def crops(count=2, side=224):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def test_a_whole_view_is_embedded_as_at_inference(encoder):
    features, logits = Trainee(encoder)(crops())
    assert torch.equal(features, encoder(normalise(crops())))
    assert not logits.any()


def test_a_part_has_the_positions_that_it_has_in_the_crop(encoder):
    grid = torch.arange(14 * 14).view(14, 14)
    with torch.no_grad():
        encoder.positions[0, 1:, 0] = grid.flatten().float()
        encoder.positions[0, 0, 0] = -1
    window = position_window(encoder, 3, (2, 5))
    assert window.shape == (1, 10, 24)
    assert window[0, 0, 0] == -1
    assert torch.equal(window[0, 1:, 0].view(3, 3), grid[2:5, 5:8].float())
    assert position_window(encoder, 14, (0, 0)) is None
    features, _ = Trainee(encoder)(crops(side=48), (2, 5))
    assert features.shape == (2, 24)
    other, _ = Trainee(encoder)(crops(side=48), (0, 0))
    assert not torch.allclose(features, other)


def test_patches_that_are_kept_are_embedded_as_if_there_were_no_others(encoder):
    trainee = Trainee(encoder, with_head=True, patches=True)
    pixels, every = crops(side=48), torch.arange(9).expand(2, -1)
    for corner in ((2, 5), (0, 0)):
        whole = trainee(pixels, corner)
        shuffled = every[:, torch.randperm(9, generator=torch.Generator().manual_seed(3))]
        for one, other in zip(whole, trainee(pixels, corner, shuffled), strict=True):
            assert torch.allclose(one[:, 0], other[:, 0], atol=1e-5)  # whatever their order
    kept = torch.tensor([[1, 8], [0, 4]])
    features, logits = trainee(pixels, (2, 5), kept)
    assert features.shape == (2, 24) and logits.shape == (2, 3)
    other = pixels.clone()
    other[0, :, :16, :16] = 255 - other[0, :, :16, :16]  # patch 0, which the first does not keep
    again, _ = trainee(other, (2, 5), kept)
    assert torch.equal(again[0], features[0])
    other[1, :, 16:32, 16:32] = 0  # patch 4, which the second keeps
    again, _ = trainee(other, (2, 5), kept)
    assert not torch.allclose(again[1], features[1], atol=1e-3)
    interleaved = pixels.contiguous(memory_format=torch.channels_last)
    assert torch.equal(trainee(interleaved, (2, 5), kept)[0], features)
    whole_crop, _ = trainee(crops(), kept=torch.arange(196).expand(2, -1))
    assert torch.allclose(whole_crop, encoder(normalise(crops())), atol=1e-5)


def test_attention_takes_the_kernel_that_trains_faster(encoder, monkeypatch):
    """Plain products to few tokens on a CPU in bfloat16; the library's choice elsewhere."""
    fused, seen = torch.backends.cuda.flash_sdp_enabled, []  # of all devices, whatever its name
    transform = encoder.transform
    monkeypatch.setattr(encoder, "transform", lambda *a: seen.append(fused()) or transform(*a))
    kept = torch.arange(98).expand(2, -1)
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            for arguments in ((crops(side=112),), (crops(), (0, 0), kept), (crops(),)):
                Trainee(encoder)(*arguments)
    assert seen == [False, False, True, True, True, True]
    with torch.autocast("cpu", torch.bfloat16), attention_for(50, torch.device("cuda")):
        assert fused()
    assert fused()


def test_whitening_changes_the_coordinates_not_the_encoder(encoder):
    before = encoder(normalise(crops()))
    names = set(encoder.state_dict())
    whiten(encoder)
    assert torch.allclose(encoder(normalise(crops())), before, atol=1e-4)
    [raw] = [p for n, p in encoder.named_parameters() if "original" in n]
    assert raw.requires_grad
    with torch.no_grad():
        raw.add_(torch.randn_like(raw) * 0.01)
    changed = encoder(normalise(crops()))
    assert not torch.allclose(changed, before, atol=1e-2)
    exported = plain(encoder)
    assert set(exported.state_dict()) == names
    assert torch.allclose(exported(normalise(crops())), changed, atol=1e-4)
    assert torch.allclose(build_encoder(export_checkpoint(exported))(normalise(crops())),
                          changed, atol=1e-4)  # fmt: skip
    assert plain(exported) is exported
    assert torch.equal(encoder(normalise(crops())), changed)  # the original goes on training


def test_equal_steps_move_high_frequencies_further(encoder):
    """In whitened coordinates a step on a coefficient is multiplied by its frequency."""
    whiten(encoder)
    before = encoder.patch.weight.detach().clone()
    [raw] = [p for n, p in encoder.named_parameters() if "original" in n]
    moved = []
    for place in (0, 15 * 16 + 15):
        with torch.no_grad():
            raw.flatten(2)[0, 0, place] += 1.0
        moved.append(float((encoder.patch.weight.detach() - before).norm()))
        with torch.no_grad():
            raw.flatten(2)[0, 0, place] -= 1.0
    assert moved[1] / moved[0] == pytest.approx(15 * 2**0.5, rel=1e-3)


def test_the_first_blocks_are_kept(encoder, tmp_path):
    write_checkpoint(export_checkpoint(encoder), tmp_path / "model")
    short = start_encoder(str(tmp_path / "model"), 0, layers=2)
    assert short.config.num_hidden_layers == len(short.blocks) == 2
    for key, value in short.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[key])
    assert build_encoder(export_checkpoint(short)).config.num_hidden_layers == 2
    assert len(start_encoder(str(tmp_path / "model"), 0, layers=9).blocks) == 3


def test_the_head_judges_patches_too(encoder):
    model = Trainee(encoder, with_head=True, patches=True)
    torch.nn.init.normal_(model.head.weight)
    features, logits = model(crops(side=48), (1, 1))
    assert logits.shape == (2, 1 + 9)
    alone = Trainee(encoder, with_head=True)
    alone.head = model.head
    expected, first = alone(crops(side=48), (1, 1))
    assert torch.allclose(features, expected, atol=1e-6)
    assert torch.allclose(logits[:, :1], first, atol=1e-5)
    unit = torch.nn.functional.normalize(features, dim=-1)
    assert torch.allclose(10 * unit @ model.head.weight[0] + model.head.bias, logits[:, 0],
                          atol=1e-4)  # fmt: skip


def test_the_head_sees_directions_only(encoder):
    model = Trainee(encoder, with_head=True)
    torch.nn.init.normal_(model.head.weight)
    _, logits = model(crops())
    with torch.no_grad():
        encoder.norm.weight.mul_(2)
        encoder.norm.bias.mul_(2)
    assert torch.allclose(model(crops())[1], logits, atol=1e-4)
