"""Tiny untrained models as real `.onnx` files, for every test that needs something to serve."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from headrace.export import export_model
from headrace.training.models import CharacterModel, EncoderClassifier, RecurrentClassifier, SequenceModel

SYMBOLS = "abcdefghijk"
FEATURES = 3
LABELS = ["low", "middle", "high"]


def tiny_models(folder: Path) -> None:
    """Writes `folder/<name>/1/model.onnx` of tiny-gru, tiny-lstm, tiny-encoder, tiny-lm; always the same weights."""
    for name, model in untrained().items():
        export_model(model, model.describe(name), folder, version="1", quick=True, console=Console(quiet=True))


def untrained() -> dict[str, SequenceModel]:
    """The models behind the files, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models: dict[str, SequenceModel] = {
            "tiny-gru": RecurrentClassifier("gru", FEATURES, 8, 1, LABELS),
            "tiny-lstm": RecurrentClassifier("lstm", FEATURES, 8, 2, LABELS),
            "tiny-encoder": EncoderClassifier(FEATURES, 8, 2, 2, LABELS),
            "tiny-lm": CharacterModel(SYMBOLS, 6, 8),
        }
    return {name: model.eval() for name, model in models.items()}
