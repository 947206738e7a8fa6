"""How many images one forward pass on the CPU takes."""

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import torch

from .config import CROP, EncoderConfig
from .encoder import Encoder

FLOAT32_PASS = 4
"""Images per pass in float32, where a place in a pass leaves no trace in a vector."""

BFLOAT16_PASS = 16

_TRIAL_BLOCKS = 2  # a whole one, and the last one, which computes the class token alone


def pass_size(config: EncoderConfig, precision: Literal["float32", "bfloat16"]) -> int:
    """Images per pass: as many as are fastest, or one where companions would show in float32.

    A matrix product may round a row otherwise where it lies elsewhere in the matrix (MKL on
    processors with AVX2 alone does), and an image's place in a pass would show in its vector.
    """
    if precision == "bfloat16":
        return BFLOAT16_PASS
    return FLOAT32_PASS if place_leaves_no_trace(config, FLOAT32_PASS) else 1


@lru_cache(maxsize=8)
def place_leaves_no_trace(config: EncoderConfig, size: int) -> bool:
    """Try whether an image's float32 vector is the same, to the bit, in every place of a pass.

    Noise goes through an encoder of the same widths and two blocks, in the order it has and
    shifted by one place; some 30 ms. Call it in one thread of torch, as the passes run.

    Args:
        config: Of the encoder.
        size: Images in a pass.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        trial = Encoder(replace(config, num_hidden_layers=_TRIAL_BLOCKS)).eval()
        images = torch.randn(size, 3, CROP, CROP)
        return bool(torch.equal(trial(images).roll(1, 0), trial(images.roll(1, 0))))
