"""Pictures are drawn from trained checkpoints, and what they show is what the models say."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.distributions import Normal

from headrace.training import pictures, run
from headrace.training.checkpoint import write
from headrace.training.models import Config, build

ENCODER: Config = {
    "architecture": "encoder-classifier",
    "features": 12,
    "width": 8,
    "heads": 2,
    "layers": 2,
    "labels": ["a", "b"],
}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """An untrained one, whose checkpoint says nothing of weights."""
    content = {"identity": {"task": "t", "model": ENCODER}, "model": build(ENCODER).state_dict(), "scores": []}
    write(tmp_path / "checkpoint.pt", content)
    return tmp_path / "checkpoint.pt"


def test_attention_of_a_model_trained_without_weights_is_drawn(encoder: Path, tmp_path: Path) -> None:
    weights = pictures.attention_weights(encoder, torch.randn(9, 12))
    torch.testing.assert_close(weights[..., :9].sum(-1), torch.ones(9, 2, 2))
    pictures.attention(tmp_path / "attention.png", encoder)
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_quantiles_of_a_gaussian() -> None:
    means, deviations = torch.tensor([[100.0], [50.0]]), torch.tensor([[10.0], [5.0]])
    for share in (0.1, 0.5, 0.9):
        exact = Normal(means, deviations).icdf(torch.tensor(share))[:, 0]
        found = pictures.quantile((torch.ones(2, 1), means, deviations), share)
        torch.testing.assert_close(found, exact, rtol=0, atol=0.31)


def test_intervals_are_drawn_for_the_scored_years(tmp_path: Path) -> None:
    trained = run("sunspots-mixture", out=tmp_path, quick=True, console=Console(file=io.StringIO()))
    pictures.intervals(tmp_path / "intervals.png", trained)
    assert (tmp_path / "intervals.png").read_bytes().startswith(b"\x89PNG")
