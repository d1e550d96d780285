"""The parity check: it passes what is right, and can fail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from rich.console import Console
from torch import Tensor

from headrace.errors import ConfigurationError
from headrace.export.controls import misordered
from headrace.export.parity import FULL, LIGHT, TOLERANCE, strain, verify
from headrace.export.trace import to_onnx
from headrace.training.models import RecurrentClassifier
from headrace.training.ragged import State

from ..models import LABELS, untrained
from .conftest import Traced


@pytest.mark.parametrize("name", ["tiny-gru", "tiny-lstm", "tiny-encoder", "tiny-lm"])
def test_whole_chunked_single_and_batched_agree_with_eager(
    traced: Mapping[str, Traced], console: Console, name: str
) -> None:
    tiny = traced[name]
    report = verify(tiny.model, tiny.graph, tiny.spec, grid=FULL, console=console)
    assert report.parity.error < TOLERANCE / 10
    assert report.parity.cases == (50 + 25 + 8 + 1) * (1 if tiny.spec.chunk.whole else 3)
    assert report.controls and min(report.controls.values()) > 0.01


def test_enlarged_weights_agree_too(traced: Mapping[str, Traced], console: Console) -> None:
    tiny = traced["tiny-gru"]
    assert 0 < strain(tiny.model, tiny.spec, console=console) < TOLERANCE


def test_the_weights_are_enlarged_at_the_opset_that_is_published(
    traced: Mapping[str, Traced], console: Console
) -> None:
    tiny = traced["tiny-gru"]
    with pytest.raises(ConfigurationError, match="opset 17 cannot be written"):
        strain(tiny.model, tiny.spec, opset=17, console=console)


def test_a_wrong_graph_is_refused_and_the_place_is_named(traced: Mapping[str, Traced], console: Console) -> None:
    tiny = traced["tiny-lstm"]
    with pytest.raises(
        ConfigurationError, match=r"tiny-lstm: .* differ by .* in \w+ at row \d.* of lengths \[.*published"
    ):
        verify(tiny.model, misordered(tiny.graph), tiny.spec, grid=LIGHT, console=console)


def test_another_models_weights_are_refused(traced: Mapping[str, Traced], console: Console) -> None:
    tiny, wrong = traced["tiny-encoder"], onnx.ModelProto()
    wrong.CopyFrom(tiny.graph)
    weights = next(t for t in wrong.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2)
    values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    with pytest.raises(ConfigurationError, match="differ"):
        verify(tiny.model, wrong, tiny.spec, grid=LIGHT, console=console)


def test_a_model_that_hides_its_mistakes_proves_nothing(console: Console) -> None:
    """With all weights of its layer the same, right and wrong gates give the same."""
    model = untrained()["tiny-gru"]
    for p in model.core.parameters():
        p.detach().fill_(0.3)
    spec = model.describe("alike")
    with pytest.raises(
        ConfigurationError, match=r"with gates misordered the graph's outputs differ by only .*proves nothing"
    ):
        verify(model, to_onnx(model, spec), spec, grid=LIGHT, console=console)


class Deaf(RecurrentClassifier):
    """Its state goes on, but its answers hardly hear of it."""

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        y, state = super().step(x, lengths, state)
        return 1e-6 * y + x.sum(-1, keepdim=True), state


def test_a_state_that_no_output_shows_proves_nothing(console: Console) -> None:
    model = Deaf("gru", 3, 8, 1, LABELS).eval()
    spec = model.describe("deaf")
    with pytest.raises(ConfigurationError, match=r"with state forgotten the graph's outputs differ by only"):
        verify(model, to_onnx(model, spec), spec, grid=LIGHT, console=console)


def test_a_control_that_is_no_farther_than_the_graph_itself_proves_nothing(
    traced: Mapping[str, Traced], console: Console
) -> None:
    tiny, wrong = traced["tiny-gru"], misordered(traced["tiny-gru"].graph)
    with pytest.raises(ConfigurationError, match="proves nothing"):
        verify(tiny.model, wrong, tiny.spec, grid=LIGHT, limit=1e9, console=console)
