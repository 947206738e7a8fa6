"""The forward pass in C: the vectors of PyTorch's and of transformers, whatever the encoder's sizes."""

import importlib
import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from code_forensics.engine.embedding.checkpoint import Checkpoint, write_checkpoint
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.embed_native import (
    NativeEmbedder,
    can_embed,
    pack,
    should_embed,
)
from code_forensics.engine.embedding.encoder import normalise
from code_forensics.engine.embedding.load import backend_of, load_embedder
from code_forensics.engine.embedding.tensors import read_tensors
from code_forensics.engine.embedding.weights import build_encoder, export_checkpoint
from code_forensics.engine.errors import CheckpointError
from safetensors.torch import load, save

from tests.conftest import SMALL, draw_checkpoint

TOLERANCE = 1e-5
pytestmark = pytest.mark.skipif(not can_embed(), reason="no pass is compiled that runs here")


@pytest.fixture
def vit_pass() -> ModuleType:
    """The one that embeds here."""
    name = "vit_pass_avx512" if "avx512" in NativeEmbedder.backend else "vit_pass"
    return importlib.import_module(f"code_forensics.engine.embedding.{name}")


def _crops(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def _exact(checkpoint: Checkpoint, crops: np.ndarray) -> np.ndarray:
    """The vectors in float64."""
    encoder = build_encoder(checkpoint)
    images = normalise(torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous())
    with torch.inference_mode():
        return encoder.double()(images.double()).numpy()


def _projected(config: EncoderConfig) -> Checkpoint:
    encoder = build_encoder(draw_checkpoint(config))
    width = config.hidden_size
    encoder.projection = torch.nn.Linear(width, width, bias=False)
    return export_checkpoint(encoder)


@pytest.mark.parametrize(
    ("width", "hidden", "layers", "heads"),
    [
        (192, 768, 12, 3),  # the published one
        (192, 768, 1, 3),  # the last block is the first
        (24, 48, 2, 3),  # heads of 8
        (33, 50, 2, 3),  # nothing is a multiple of anything
        (64, 1000, 2, 1),  # a perceptron wider than a patch
        (10, 1, 2, 5),
    ],
)
def test_vectors_are_those_of_float64(width: int, hidden: int, layers: int, heads: int) -> None:
    config = EncoderConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
    )
    checkpoint, crops = draw_checkpoint(config), _crops(2)
    vectors = NativeEmbedder(checkpoint).embed(crops)
    assert np.abs(vectors - _exact(checkpoint, crops)).max() <= TOLERANCE


def test_the_polynomials_for_avx512_are_those_of_erf() -> None:
    """They are compiled for all processors, and run by some: each piece beside erf itself."""
    source = (Path(__file__).parents[2] / "engine/embedding/vit_vectors.h").read_text("utf-8")
    body = source[source.index("table[DEGREE + 1]") : source.index("const Whole eighth")]
    columns = [
        [float.fromhex(number) for number in re.findall(r"(-?0x[0-9a-f.]+p-?\d+)f", row)]
        for row in re.findall(r"\{([^{}]+)\}", body)
    ]
    assert [len(column) for column in columns] == [23, *[22] * 5]  # the last piece is 1
    starts = [2.0**octave * (1 + quarter / 4) for octave in range(-3, 3) for quarter in range(4)]
    for piece, (first, end) in enumerate(pairwise([*starts[:22], 5.542594])):
        for x in np.linspace(0 if piece == 0 else first, end, 101):
            found = sum(column[piece] * x**degree for degree, column in enumerate(columns))
            assert abs(found - math.erf(x / math.sqrt(2))) < 1e-7
    assert columns[0][22] == 1.0 and 1 - math.erf(5.542594 / math.sqrt(2)) < 2.0**-24


def test_a_projection_follows_the_last_normalisation() -> None:
    checkpoint, crops = _projected(SMALL), _crops(2)
    vectors = NativeEmbedder(checkpoint).embed(crops)
    assert np.abs(vectors - _exact(checkpoint, crops)).max() <= TOLERANCE


@pytest.mark.parametrize("strength", [0.0, 1e-3, 30.0])
def test_extreme_activations(strength: float) -> None:
    """Softmaxes of one key and of all alike, and GELUs far out on both sides."""
    config = replace(SMALL, layer_norm_eps=1e-6)
    encoder = build_encoder(draw_checkpoint(config))
    with torch.no_grad():
        for block in encoder.blocks:
            block.qkv.weight.mul_(strength)
            block.fc1.weight.mul_(strength)
    checkpoint, crops = export_checkpoint(encoder), _crops(2)
    crops[1] = 255
    vectors = NativeEmbedder(checkpoint).embed(crops)
    expected = _exact(checkpoint, crops)
    assert np.isfinite(vectors).all()
    assert np.abs(vectors - expected).max() <= max(1.0, strength) * TOLERANCE


def test_a_vector_is_the_same_in_any_company_call_and_thread() -> None:
    embedder = NativeEmbedder(draw_checkpoint(SMALL))
    crops = _crops(24)
    together = embedder.embed(crops)
    assert np.array_equal(together[::-1], embedder.embed(crops[::-1]))
    assert np.array_equal(together[[5]], embedder.embed(crops[[5]]))
    assert embedder.embed(crops[:0]).shape == (0, SMALL.hidden_size)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(embedder.embed, np.array_split(crops, 7)))
    assert np.array_equal(np.concatenate(parts), together)


def test_it_embeds_float32_on_the_cpu_and_nothing_else() -> None:
    checkpoint = draw_checkpoint(SMALL)
    embedder = load_embedder(checkpoint, "cpu")
    assert isinstance(embedder, NativeEmbedder) == should_embed()
    assert embedder.backend == backend_of("cpu", "float32")
    kinds = {f"{maker}-{unit}" for maker in ("intel", "amd") for unit in ("avx2", "avx512")}
    said = NativeEmbedder(checkpoint).arithmetic
    assert said.startswith("float32; vit_pass 1 ") and said.split()[-1] in kinds
    assert load_embedder(checkpoint, "cpu", "bfloat16").backend == "torch"
    assert backend_of("cuda", "float32") == "torch"


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_any_floating_point_type(kind: torch.dtype) -> None:
    stored = {
        name: tensor.to(kind) for name, tensor in load(draw_checkpoint(SMALL).weights).items()
    }
    checkpoint = replace(draw_checkpoint(SMALL), weights=save(stored))
    tensors = read_tensors(checkpoint, SMALL)
    for name, tensor in stored.items():
        assert np.array_equal(tensors[name], tensor.float().numpy())
        assert tensors[name].dtype == np.float32


def test_weights_that_are_no_such_numbers_are_one_line() -> None:
    whole = load(draw_checkpoint(SMALL).weights)
    whole["layernorm.bias"] = whole["layernorm.bias"].to(torch.int32)
    with pytest.raises(CheckpointError, match=r"layernorm\.bias holds I32, not floating"):
        NativeEmbedder(replace(draw_checkpoint(SMALL), weights=save(whole)))
    whole["layernorm.bias"] = torch.full((SMALL.hidden_size,), 1e300, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="not finite"):
        NativeEmbedder(replace(draw_checkpoint(SMALL), weights=save(whole)))


def _given(panel: int, **changed: object) -> list[object]:
    """Arguments of a call, some of them changed."""
    weights = pack(read_tensors(draw_checkpoint(SMALL), SMALL), SMALL, panel)
    given = {
        "width": SMALL.hidden_size,
        "hidden": SMALL.intermediate_size,
        "layers": SMALL.num_hidden_layers,
        "heads": SMALL.num_attention_heads,
        "eps": SMALL.layer_norm_eps,
        "projected": False,
        "weights": weights,
        "crops": _crops(2),
        "vectors": np.empty((2, SMALL.hidden_size), np.float32),
    }
    return list((given | changed).values())


def _shifted(weights: np.ndarray) -> np.ndarray:
    room = np.empty(weights.size + 32, np.float32)
    first = (-room.ctypes.data % 64) // 4 + 1
    return room[first : first + weights.size]


def test_arguments_that_do_not_belong_together_are_refused(vit_pass: ModuleType) -> None:
    given = partial(_given, vit_pass.PANEL)
    vit_pass.embed(*given())
    weights = given()[6]
    assert isinstance(weights, np.ndarray)
    frozen = np.empty((2, SMALL.hidden_size), np.float32)
    frozen.flags.writeable = False
    for error, changed in (
        (ValueError, {"width": 0}),
        (ValueError, {"width": 1 << 40}),
        (ValueError, {"hidden": -1}),
        (ValueError, {"layers": 1 << 20}),
        (ValueError, {"layers": 3}),
        (ValueError, {"heads": 0}),
        (ValueError, {"heads": 5}),
        (ValueError, {"projected": True}),
        (ValueError, {"weights": weights[:-1]}),
        (ValueError, {"weights": _shifted(weights)}),
        (ValueError, {"crops": _crops(2)[:, :-1].copy()}),
        (ValueError, {"vectors": np.empty((1, SMALL.hidden_size), np.float32)}),
        (ValueError, {"vectors": np.empty((3, SMALL.hidden_size), np.float32)}),
        (ValueError, {"crops": _crops(2)[:, :, ::2]}),
        (TypeError, {"vectors": frozen}),
        (TypeError, {"vectors": None}),
        (TypeError, {"eps": "small"}),
    ):
        with pytest.raises(error):
            vit_pass.embed(*given(**changed))


WITHOUT = """
import sys
for name in ("vit_pass", "vit_pass_avx512"):
    sys.modules[f"code_forensics.engine.embedding.{name}"] = None
import numpy as np
from code_forensics.engine.embedding.checkpoint import read_checkpoint
from code_forensics.engine.embedding.load import load_embedder
embedder = load_embedder(read_checkpoint(sys.argv[1]), "cpu")
assert embedder.backend == "torch"
crops = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(-1, 224, 224, 3)
sys.stdout.buffer.write(embedder.embed(crops).tobytes())
"""


def test_without_the_compiled_part_pytorch_embeds(tmp_path: Path) -> None:
    write_checkpoint(draw_checkpoint(SMALL), tmp_path)
    crops = _crops(2)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)],
        input=crops.tobytes(),
        capture_output=True,
        check=False,
    )
    assert done.stderr == b""
    vectors = np.frombuffer(done.stdout, np.float32).reshape(2, -1)
    assert np.abs(vectors - NativeEmbedder(draw_checkpoint(SMALL)).embed(crops)).max() <= TOLERANCE


SCAN = """
import sys
sys.modules["torch"] = None
from code_forensics.cli.scan import main
sys.argv = ["code-scan", sys.argv[1], "--workspace", sys.argv[2], "--device", "cpu", "-q"]
main()
"""


@pytest.mark.skipif(not should_embed(), reason="PyTorch embeds by this processor")
def test_a_scan_of_a_new_photo_does_without_pytorch(tmp_path: Path, labelled: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(labelled / "photos"), str(tmp_path / "space")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
