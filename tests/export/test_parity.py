"""The parity check: it passes what is right, and can fail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from rich.console import Console

from headrace.errors import ConfigurationError
from headrace.export.controls import misordered
from headrace.export.parity import FULL, LIGHT, TOLERANCE, difference, strain, verify
from headrace.export.streams import Batch, Named
from headrace.export.trace import to_onnx

from ..models import untrained
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
    """With all weights the same, right and wrong gates give the same."""
    model = untrained()["tiny-gru"]
    for p in model.parameters():
        p.detach().fill_(0.3)
    spec = model.describe("alike")
    with pytest.raises(ConfigurationError, match=r"with gates misordered the graph differs by only .*proves nothing"):
        verify(model, to_onnx(model, spec), spec, grid=LIGHT, console=console)


def compared(got: list[float], want: list[float], traced: Mapping[str, Traced]) -> tuple[float, str]:
    results: tuple[Named, Named] = ({"logits": np.array(got)}, {"logits": np.array(want)})
    found = difference(*results, traced["tiny-lm"].spec, Batch({}, np.array([1, 2])), "whole")
    return found.error, found.where


def test_errors_are_relative_to_the_largest_magnitude(traced: Mapping[str, Traced]) -> None:
    error, where = compared([1.0, 50.0, 2.5], [1.0, 50.0, 2.0], traced)
    assert error == pytest.approx(0.01)
    assert where == "logits at row 1, time step 1 of lengths [1, 2], whole"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_even_on_both_sides(traced: Mapping[str, Traced], bad: float) -> None:
    for got, want in (([1.0, bad, 2.0], [1.0, 1.0, 2.0]), ([1.0, bad, 2.0], [1.0, bad, 2.0])):
        error, where = compared(got, want, traced)
        assert error == float("inf") and "row 1, time step 0" in where


def test_small_values_are_compared_absolutely(traced: Mapping[str, Traced]) -> None:
    assert compared([0.0, 1e-8, 0.0], [0.0, 0.0, 0.0], traced)[0] == pytest.approx(1e-5)
