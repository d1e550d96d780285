"""What modules are run on is like the example, so that one which takes raw units is not a constant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.export import export_module
from headrace.export.user.values import drawing, probe
from headrace.spec import Input

PASCALS = 101325 + 1000 * torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0))


class Barometer(nn.Module):
    """Normalises raw units; a mean over time leaks into what streams."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 101325) / 1000
        y: Tensor = self.rnn(x)[0] + x.mean(1, keepdim=True)
        return y


class Logarithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x.log())[0]
        return y


def test_probes_have_the_examples_values_feature_by_feature() -> None:
    example = torch.stack([torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 20.0], [30.0, 40.0]])], -1)
    (x,) = probe([example], 3, 50, 0)
    assert x.shape == (3, 50, 2) and x.dtype == torch.float32
    assert set(x[..., 0].flatten().tolist()) == {1, 2, 3, 4} and set(x[..., 1].flatten().tolist()) == {10, 20, 30, 40}


def test_what_is_constant_in_the_example_is_drawn_as_standard_normal() -> None:
    ids, zeros = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 5, 3)
    inputs = Input(name="ids", dtype="int64", vocabulary=9), Input(name="x", dtype="float32", shape=(3,))
    draw, rng = drawing([ids, zeros], inputs), np.random.default_rng(0)
    assert draw(inputs[1], 1000, rng).std() == pytest.approx(1, abs=0.1)
    assert set(draw(inputs[0], 1000, rng)) == set(range(9))


def test_a_leak_shows_at_the_examples_own_scale(tmp_path: Path, console: Console) -> None:
    """Of standard normal values this module sees the same number everywhere, and its mean over time is right."""
    with pytest.raises(ConfigurationError, match=r"PyTorch differ by .*mean over time"):
        export_module(Barometer(), PASCALS, tmp_path, "barometer", quick=True, console=console)


def test_only_real_values_can_be_compared(tmp_path: Path, console: Console) -> None:
    path = export_module(Logarithm(), torch.rand(2, 6, 4) + 1, tmp_path, "log", quick=True, console=console)
    assert path.exists()
    with pytest.raises(ConfigurationError, match=r"output y is not finite for inputs like the example's.*real values"):
        export_module(Logarithm(), torch.zeros(2, 6, 4), tmp_path, "log", quick=True, console=console)
