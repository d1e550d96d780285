"""The ONNX translations against eager PyTorch, for every kind of layer, at other lengths than those traced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from torch import Tensor, nn

from headrace.export.groups import GROUPS
from headrace.export.runners import runtime
from headrace.export.streams import Batch, drive, whole
from headrace.export.trace import to_onnx
from headrace.spec import LENGTHS, Chunk, Input, ModelSpec, Output
from headrace.training.models import SequenceModel
from headrace.training.models.base import carried
from headrace.training.ragged import RaggedRNN, State

from .conftest import Traced


class Bare(SequenceModel):
    """A recurrent layer and nothing else."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.core = RaggedRNN(rnn)

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        return self.core(x, lengths, state)  # type: ignore[no-any-return]

    def describe(self, name: str) -> ModelSpec:
        rnn = self.core.rnn
        return ModelSpec(
            name=name,
            inputs=(Input(name="x", dtype="float32", shape=(rnn.input_size,)),),
            outputs=(Output(name="y", dtype="float32", shape=(rnn.hidden_size,), time=True),),
            states=tuple(carried(state, rnn.num_layers, rnn.hidden_size) for state in self.core.names),
            chunk=Chunk(longest=100),
        )


def batch(lengths: list[int], width: int, name: str = "values") -> Batch:
    values = np.random.default_rng(1).standard_normal((sum(lengths), width), np.float32)
    return Batch({name: values}, np.array(lengths))


@pytest.mark.parametrize("name", ["tiny-lstm", "tiny-encoder"])
def test_nothing_of_a_row_reaches_another(traced: Mapping[str, Traced], name: str) -> None:
    tiny, rows = traced[name], batch([2, 5, 1], 3)
    run = runtime(tiny.graph)
    clean = drive(run, tiny.spec, rows, whole)["log_probabilities"]
    rows.inputs["values"][2:7] = np.nan  # all of the row in the middle
    got = drive(run, tiny.spec, rows, whole)["log_probabilities"]
    others = [0, 1, 7] if tiny.spec.outputs[0].time else [0, 2]
    np.testing.assert_array_equal(got[others], clean[others])
    assert (np.delete(got, others, 0) != np.delete(clean, others, 0)).any()


def test_index_maps_are_made_once(traced: Mapping[str, Traced]) -> None:
    """Those of tokens and rows; in the encoder those of its groups too, of two layers' attention."""
    for name, tiny in traced.items():
        count = Counter(node.op_type for node in tiny.graph.graph.node)
        ranked = name == "tiny-encoder"
        assert count["ScatterElements"] == 1 and count["CumSum"] == 2 + ranked, (name, count)
        assert count["TopK"] == 2 * ranked and count["Softmax"] == 2 * GROUPS * ranked, (name, count)


def test_graphs_stay_small(traced: Mapping[str, Traced]) -> None:
    nodes = {name: len(tiny.graph.graph.node) for name, tiny in traced.items()}
    limits = {"tiny-gru": 36, "tiny-lstm": 48, "tiny-encoder": 230, "tiny-lm": 34}
    assert all(nodes[name] <= limit for name, limit in limits.items()), nodes


@pytest.mark.parametrize("hidden", [5, 150])
def test_gates_are_reordered_in_the_weights_not_in_the_graph(hidden: int) -> None:
    model = Bare(nn.LSTM(4, hidden))
    graph = to_onnx(model, model.describe("bare")).graph
    (node,) = (node for node in graph.node if node.op_type == "LSTM")
    assert set(node.input[1:4]) <= {tensor.name for tensor in graph.initializer}


def test_layers_share_one_padded_view(traced: Mapping[str, Traced]) -> None:
    graph = traced["tiny-lstm"].graph.graph
    made_by = {name: node for node in graph.node for name in node.output}
    first, second = (node for node in graph.node if node.op_type == "LSTM")
    between = made_by[second.input[0]]
    assert between.op_type == "Squeeze" and between.input[0] == first.output[0]


def test_opset_has_recurrent_kernels_on_every_device(traced: Mapping[str, Traced]) -> None:
    for tiny in traced.values():
        assert [(opset.domain, opset.version) for opset in tiny.graph.opset_import] == [("", 20)]
        assert not tiny.graph.functions


def test_lengths_are_used_as_given(traced: Mapping[str, Traced]) -> None:
    """Packed rows carry no borders: moved lengths must move the answers."""
    tiny, rows = traced["tiny-encoder"], batch([2, 5, 1], 3)
    run = runtime(tiny.graph)
    right = run({"values": rows.inputs["values"], LENGTHS: np.array([2, 5, 1])})["log_probabilities"]
    moved = run({"values": rows.inputs["values"], LENGTHS: np.array([5, 2, 1])})["log_probabilities"]
    assert np.abs(right - moved)[:2].max() > 1e-3
    np.testing.assert_allclose(right[2], moved[2], atol=1e-6)


def test_checker_accepts_every_graph(traced: Mapping[str, Traced]) -> None:
    for tiny in traced.values():
        onnx.checker.check_model(tiny.graph, full_check=True)
