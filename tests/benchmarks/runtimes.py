"""What may run the encoder on a CPU, on the same crops: images per second of CPU, and the error.

    pip install openvino onnxruntime onnx
    python -m tests.benchmarks.runtimes [--rounds 5] [--precision float32]

One thread each, in turns, the first round dropped; what is not installed is left out. Errors are
against transformers' ViTModel. ``code-forensics`` is what scans use: in float32 the pass in C, where
there is one, beside this project's encoder in PyTorch, which is used elsewhere and on a GPU.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from code_forensics.engine.embedding.checkpoint import Checkpoint, read_checkpoint
from code_forensics.engine.embedding.config import Precision
from code_forensics.engine.embedding.embed import Embedder
from code_forensics.engine.embedding.encoder import normalise
from code_forensics.engine.embedding.load import load_embedder
from code_forensics.engine.embedding.passes import pass_size
from code_forensics.engine.embedding.precision import calibration_crops
from code_forensics.engine.embedding.weights import build_encoder
from numpy.typing import NDArray

from tests.conftest import SHARED

Crops = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Run = Callable[[Crops], Vectors]


def passes(run: Callable[[Vectors], Vectors], size: int) -> Run:
    """Normalise and run in passes of one shape."""

    def embed(crops: Crops) -> Vectors:
        parts = []
        for first in range(0, len(crops), size):
            pixels = torch.from_numpy(crops[first : first + size]).permute(0, 3, 1, 2)
            parts.append(run(normalise(pixels.contiguous()).numpy()).copy())
        return np.concatenate(parts)

    return embed


def transformers(folder: Path, size: int) -> Run:
    """The published pipeline's model."""
    from transformers import ViTModel

    model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval().float()

    def run(images: Vectors) -> Vectors:
        with torch.inference_mode():
            vectors: Vectors = model(torch.from_numpy(images)).last_hidden_state[:, 0].numpy()
        return vectors

    return passes(run, size)


def openvino(checkpoint: Checkpoint, precision: Precision, size: int) -> Run:
    """OpenVINO's CPU plugin, one thread, one stream."""
    import openvino as ov

    encoder = build_encoder(checkpoint).eval()
    shape = (size, 3, 224, 224)
    model = ov.convert_model(encoder, example_input=torch.zeros(shape), input=[shape])
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
        "ENABLE_CPU_PINNING": False,
    }
    request = ov.Core().compile_model(model, "CPU", settings).create_infer_request()
    return passes(lambda images: request.infer({0: images})[0], size)


def onnxruntime(checkpoint: Checkpoint, size: int, folder: Path) -> Run:
    """ONNX Runtime's CPU provider, one thread."""
    import onnxruntime as ort

    file = folder / "encoder.onnx"
    example = (torch.zeros(size, 3, 224, 224),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(build_encoder(checkpoint).eval(), example, file,
                          input_names=["x"], dynamo=False)  # fmt: skip
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = ort.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return passes(lambda images: session.run(None, {"x": images})[0], size)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all in turns, print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--checkpoint", type=Path, default=SHARED / "data" / "deit_tiny")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    checkpoint, crops = read_checkpoint(options.checkpoint), calibration_crops(32)
    precision: Precision = options.precision
    assert precision != "float16"
    size = pass_size(build_encoder(checkpoint).config, precision)
    with tempfile.TemporaryDirectory() as folder:
        published = transformers(options.checkpoint, size)
        runs = {
            "transformers": published,
            "code-forensics": load_embedder(checkpoint, "cpu", precision).embed,
            "its PyTorch": Embedder(checkpoint, "cpu", precision).embed,
        }
        if find_spec("openvino"):
            runs["openvino"] = openvino(checkpoint, precision, size)
        if precision == "float32" and find_spec("onnxruntime"):
            runs["onnxruntime"] = onnxruntime(checkpoint, size, Path(folder))
        expected = published(crops)
        spent: dict[str, list[float]] = {name: [] for name in runs}
        errors = dict.fromkeys(runs, 0.0)
        for _ in range(options.rounds + 1):
            for name, run in runs.items():
                started = time.process_time()
                vectors = run(crops)
                spent[name].append(time.process_time() - started)
                errors[name] = float(np.abs(vectors - expected).max())
    own = float(np.median(spent["code-forensics"][1:]))
    for name, seconds in spent.items():
        taken = float(np.median(seconds[1:]))
        print(
            f"{name:15} {len(crops) / taken:6.1f} img per second of CPU, {own / taken:.2f} of"
            f" code-forensics, largest difference {errors[name]:.1e}"
        )


if __name__ == "__main__":
    main()
