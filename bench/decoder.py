"""The reference decoder of the measurements: 4 layers of 256, 4 heads, 63 symbols, at most 2,048 tokens, untrained."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from rich.console import Console

from headrace.export import export_model
from headrace.training.models import Decoder

NAME, LAYERS, WIDTH, HEADS, LONGEST = "decoder-4x256", 4, 256, 4, 2048
SYMBOLS = string.ascii_letters + string.digits + " "


#: The matrices are so many times larger than they begin: else it writes one symbol for ever, and any answer is right.
ENLARGED = 3.0


def decoder() -> Decoder:
    """The same weights every time."""
    torch.manual_seed(0)
    made = Decoder(SYMBOLS, WIDTH, HEADS, LAYERS, LONGEST).eval()
    for weight in made.parameters():
        if weight.dim() == 2:
            weight.data *= ENLARGED
    return made


def reference_decoder(models: Path) -> Path:
    """`models/decoder-4x256/1/model.onnx`, made if it is not there."""
    file = models / NAME / "1" / "model.onnx"
    if not file.exists():
        model = decoder()
        export_model(model, model.describe(NAME), models, version="1", quick=True, console=Console(quiet=True))
    return file
