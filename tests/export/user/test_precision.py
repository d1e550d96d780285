"""Anybody's module in half precision: graphs that ONNX Runtime once died of as it loaded them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.contract import read_model
from headrace.export import export_module
from headrace.export.lighter import lighter
from headrace.spec import Score
from headrace.training.models import SequenceModel

from . import zoo


class Each(nn.Module):
    """A recurrent layer, and an answer for each time step."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0])
        return y


MODULES: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: Each(nn.GRU(4, 8, batch_first=True)),
    "lstm": lambda: Each(nn.LSTM(4, 8, batch_first=True)),
    "rnn": lambda: Each(nn.RNN(4, 8, batch_first=True)),
    "bidirectional": lambda: Each(nn.GRU(4, 8, 2, batch_first=True, bidirectional=True)),
    "encoder": zoo.Tagger,
}


@pytest.fixture(params=MODULES)
def half(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A published file in half precision."""
    torch.manual_seed(0)

    def judge(_: SequenceModel) -> Score:
        return Score(metric="m", value=1.0, better="higher", data="d")

    lighten = partial(lighter, precision="fp16", judge=judge, most=0.0)
    module, console = MODULES[request.param](), Console(quiet=True)
    return export_module(
        module, torch.zeros(2, 6, 4), tmp_path, "half", longest=64, quick=True, lighten=lighten, console=console
    )


def test_a_module_is_published_in_half_precision(half: Path) -> None:
    model, spec = read_model(half)
    assert spec.name == "half-fp16"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds and onnx.TensorProto.FLOAT not in kinds
