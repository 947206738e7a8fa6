"""One process of a two-process run, started by the test as torchrun would start it."""

import sys
from pathlib import Path

import torch
from code_forensics.engine.embedding.config import EncoderConfig
from code_forensics.engine.embedding.encoder import Encoder
from code_forensics.train.config import read_config
from code_forensics.train.loop import train
from code_forensics.train.model import initialise

if __name__ == "__main__":
    torch.set_num_threads(1)
    data, out, config = sys.argv[1:]
    sizes = EncoderConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24
    )
    encoder = initialise(Encoder(sizes), seed=5)
    train(data, Path(out), read_config(Path(config)), encoder=encoder)
