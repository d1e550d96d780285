"""From a model to a published file, and what stops it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.export import export_model
from headrace.spec import METADATA_KEY, ModelSpec
from headrace.training.models import RecurrentClassifier
from headrace.training.ragged import State

from ..models import LABELS, tiny_models, untrained


class Deceiver(RecurrentClassifier):
    """Whatever is traced of it differs from what it does."""

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().step(x, lengths, state)
        return y + 0.01 * torch.compiler.is_exporting(), state


def test_tiny_models_describe_themselves(tmp_path: Path) -> None:
    tiny_models(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(untrained())
    for name in untrained():
        (entry,) = onnx.load(tmp_path / name / "1" / "model.onnx").metadata_props
        spec = ModelSpec.from_json(entry.value)
        assert entry.key == METADATA_KEY and spec.name == name
        assert spec.parity is not None and 0 < spec.parity.error < 1e-5 and "onnxruntime" in spec.versions


def test_a_failing_grid_publishes_nothing(tmp_path: Path, console: Console) -> None:
    model = Deceiver("gru", 3, 8, 1, LABELS).eval()
    with pytest.raises(ConfigurationError, match=r"log_probabilities at row .* nothing was published"):
        export_model(model, model.describe("deceiver"), tmp_path / "models", console=console)
    assert not (tmp_path / "models").exists()


def test_what_was_done_is_said(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    model = untrained()["tiny-gru"]
    path = export_model(model, model.describe("told"), tmp_path, console=console)
    text = console.export_text()
    assert str(path) in text.replace("\n", "") and "252 cases" in text and "gates misordered" in text


def test_a_model_that_cannot_be_ragged_is_refused(tmp_path: Path, console: Console) -> None:
    model = untrained()["tiny-gru"]
    model.extra = nn.LSTM(3, 3)
    with pytest.raises(ConfigurationError, match="extra: LSTM takes padded batches"):
        export_model(model, model.describe("padded"), tmp_path, console=console)
    assert list(tmp_path.iterdir()) == []
