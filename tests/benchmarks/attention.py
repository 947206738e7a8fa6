"""Training on a CPU: a step with attention as plain products, and by the fused kernel.

    python -m tests.benchmarks.attention [--rounds 6]

Both ways in turns, medians of ratios. A step is the encoder's way there and back, six blocks in
bfloat16, with the views' sides and the share of kept patches that stand beside it.
Not a test: it prints.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.train import model
from code_forensics.train.model import Trainee, initialise

STEPS = ((256, 112, 1.0), (128, 224, 1.0), (256, 112, 0.5), (128, 224, 0.5))
"""Views, their side, and the share of their patches that is kept."""


def in_turns(work: Callable[[str], None], ways: tuple[str, str], rounds: int) -> tuple[float, ...]:
    """Seconds of each way, and how many times as fast the first one is: medians; a first is lost."""
    seconds = []
    for _ in range(rounds + 1):
        started = [time.perf_counter()]
        for way in ways:
            work(way)
            started.append(time.perf_counter())
        seconds.append(np.diff(started))
    kept = np.array(seconds[1:])
    return *np.median(kept, axis=0), float(np.median(kept[:, 1] / kept[:, 0]))


def steps(rounds: int) -> None:
    """Steps by both kinds of attention."""
    usual = model._FEW_TOKENS
    sizes = EncoderConfig(num_hidden_layers=6, layer_norm_eps=1e-6)
    encoder = initialise(Encoder(sizes), 0)
    trainee = Trainee(encoder, with_head=True, patches=True)
    rng = np.random.default_rng(0)
    print("| views | side | patches kept | plain products, views/s | the kernel | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for count, side, keep in STEPS:
        patches = (side // 16) ** 2
        pixels = torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), np.uint8))
        drawn = rng.random((count, patches)).argsort(axis=1)[:, : round(keep * patches)]
        kept = None if keep == 1 else torch.from_numpy(drawn)

        def step(way: str, pixels: torch.Tensor = pixels, kept: torch.Tensor | None = kept) -> None:
            model._FEW_TOKENS = encoder.config.tokens if way == "products" else 0
            with torch.autocast("cpu", torch.bfloat16):
                vectors, logits = trainee(pixels.permute(0, 3, 1, 2), (0, 0), kept)
            (vectors.float().square().mean() + logits.float().mean()).backward()
            trainee.zero_grad(set_to_none=True)

        first, second, ratio = in_turns(step, ("products", "kernel"), rounds)
        print(
            f"| {count} | {side} | {keep:.0%} | {count / first:.0f} | {count / second:.0f}"
            f" | {ratio:.2f} |"
        )
    model._FEW_TOKENS = usual


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    steps(options.rounds)


if __name__ == "__main__":
    main()
