"""Each of the project's own models as a graph: driven in chunks it gives what eager PyTorch gives."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

from headrace.contract import check
from headrace.export.parity import LIGHT, verify
from headrace.export.trace import to_onnx
from headrace.training.models import Config, build

LABELS = ["a", "b", "c"]
RECURRENT: Config = {"architecture": "recurrent-classifier", "features": 3, "hidden": 6, "layers": 1, "labels": LABELS}
ENCODER: Config = {"architecture": "encoder-classifier", "features": 3, "width": 8, "heads": 2, "layers": 1}
VISION: Config = {"architecture": "vision-transformer", "side": 8, "patch": 2, "levels": 17, "width": 8, "heads": 2}
FAMILY: dict[str, Config] = {
    "markov": {"architecture": "autoregressive-forecaster", "order": 1},
    "autoregressive": {"architecture": "autoregressive-forecaster", "order": 5},
    "latent": {"architecture": "latent-forecaster", "kind": "gru", "hidden": 6},
    "mixture": {"architecture": "mixture-forecaster", "hidden": 6, "components": 3},
    "sampled": {"architecture": "mixture-forecaster", "hidden": 6, "components": 3, "sampled": True},
    "relu": RECURRENT | {"kind": "relu", "layers": 2, "dropout": 0.3},
    "projected": RECURRENT | {"kind": "lstm", "projection": 4},
    "both-ways": RECURRENT | {"kind": "lstm", "bidirectional": True},
    "weights": ENCODER | {"labels": LABELS, "weights": True},
    "vision": VISION | {"layers": 1, "labels": LABELS},
}


@pytest.mark.parametrize("config", FAMILY.values(), ids=FAMILY)
def test_the_graph_gives_what_the_model_gives(config: Config, console: Console) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config).eval()
    spec = model.describe("tiny")
    graph = to_onnx(model, spec)
    check(graph, spec)
    report = verify(model, graph, spec, grid=LIGHT, console=console)  # raises where they differ, or nothing tells
    assert report.parity.error < 1e-5 and report.parity.cases > 0
    assert ("state forgotten" in report.controls) == spec.stateful
