"""The reference model of the measurements: an LSTM of 2 x 256, 64 inputs, 32 outputs, untrained."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from rich.console import Console

from headrace.contract import read_model, with_spec
from headrace.export import export_model
from headrace.spec import ModelSpec
from headrace.training.models import RecurrentClassifier

NAME, FEATURES, HIDDEN, LAYERS, OUTPUTS = "lstm-2x256", 64, 256, 2, 32


def reference(models: Path) -> Path:
    """`models/lstm-2x256/1/model.onnx`, made if it is not there."""
    return _made(models, NAME, HIDDEN)


def small(models: Path) -> Path:
    """The same with so few weights that any cache holds them, `models/lstm-2x8/1/model.onnx`."""
    return _made(models, "lstm-2x8", 8)


def _made(models: Path, name: str, hidden: int) -> Path:
    file = models / name / "1" / "model.onnx"
    if not file.exists():
        torch.manual_seed(0)
        model = RecurrentClassifier("lstm", FEATURES, hidden, LAYERS, [str(n) for n in range(OUTPUTS)]).eval()
        export_model(model, model.describe(name), models, version="1", quick=True, console=Console(quiet=True))
    return file


def named(file: Path, models: Path, name: str) -> ModelSpec:
    """The same model under another name, `models/NAME/1/model.onnx`, made if it is not there; returns its spec."""
    copy = models / name / "1" / "model.onnx"
    if not copy.exists():
        model, spec = read_model(file)
        copy.parent.mkdir(parents=True)
        onnx.save(with_spec(model, spec.model_copy(update={"name": name})), copy)
    return read_model(copy)[1]
