"""Tracing: axes, names, what is refused, and that the model is left as it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from headrace.contract import check
from headrace.errors import ConfigurationError
from headrace.export.overrides import ragged_operators, refuse
from headrace.export.trace import to_onnx
from headrace.spec import Chunk, Input, ModelSpec, Output
from headrace.training.models import SequenceModel
from headrace.training.ragged import RaggedRNN, State

from ..models import untrained
from .conftest import Traced


class Doubled(SequenceModel):
    """Stateless; `frozen` makes it work for the traced number of tokens alone."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        return x.reshape(6, 2) * 2 if self.frozen else x * 2, state

    def describe(self, name: str) -> ModelSpec:
        return ModelSpec(
            name=name,
            inputs=(Input(name="x", dtype="float32", shape=(2,)),),
            outputs=(Output(name="y", dtype="float32", shape=(2,), time=True),),
            chunk=Chunk(longest=9),
        )


SPEC = Doubled(frozen=False).describe("doubled")


def shapes(graph: Traced) -> dict[str, list[int | str]]:
    values = [*graph.graph.graph.input, *graph.graph.graph.output]
    return {v.name: [axis.dim_param or axis.dim_value for axis in v.type.tensor_type.shape.dim] for v in values}


def test_axes_are_declared_symbolic(traced: Mapping[str, Traced]) -> None:
    assert shapes(traced["tiny-lstm"]) == {
        "values": ["tokens", 3],
        "lengths": ["rows"],
        "h": ["rows", 2, 8],
        "c": ["rows", 2, 8],
        "log_probabilities": ["tokens", 3],
        "h_out": ["rows", 2, 8],
        "c_out": ["rows", 2, 8],
    }
    assert shapes(traced["tiny-encoder"])["log_probabilities"] == ["rows", 3]
    assert shapes(traced["tiny-lm"])["tokens"] == ["tokens"]


def test_every_graph_fits_its_spec(traced: Mapping[str, Traced]) -> None:
    for tiny in traced.values():
        check(tiny.graph, tiny.spec)


def test_graph_keeps_nothing_of_where_it_was_made(traced: Mapping[str, Traced]) -> None:
    for tiny in traced.values():
        assert all(not node.metadata_props and not node.doc_string for node in tiny.graph.graph.node)
        assert b".py" not in tiny.graph.SerializeToString()


def test_model_is_left_as_it_was() -> None:
    model = untrained()["tiny-encoder"]
    before = {name: vars(part).copy() for name, part in model.named_modules()}
    with pytest.raises(ZeroDivisionError), ragged_operators(model):
        assert all("forward" in vars(layer.attend) for layer in model.layers)
        raise ZeroDivisionError
    assert {name: vars(part) for name, part in model.named_modules()} == before


def test_a_frozen_axis_is_refused() -> None:
    to_onnx(Doubled(frozen=False), Doubled(frozen=False).describe("free"))
    with pytest.raises(
        ConfigurationError, match=r"stuck cannot be traced \(UserError\): Constraints violated \(tokens\)"
    ):
        to_onnx(Doubled(frozen=True), Doubled(frozen=True).describe("stuck"))


def test_a_spec_that_the_graph_does_not_fit_is_refused() -> None:
    (output,) = SPEC.outputs
    by_row = SPEC.model_copy(update={"outputs": (output.model_copy(update={"time": False}),)})
    with pytest.raises(ConfigurationError, match=r"output y is float32 \[tokens, 2\], the spec needs .* \[rows, 2\]"):
        to_onnx(Doubled(frozen=False), by_row)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.GRU(2, 3), "1: GRU takes padded batches; put it into a RaggedRNN"),
        (RaggedRNN(nn.LSTM(2, 3, bidirectional=True)), "1.rnn: LSTM is bidirectional: it needs the end of a sequence"),
    ],
)
def test_layers_that_would_not_be_ragged_are_refused(layer: nn.Module, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        refuse(nn.Sequential(nn.Linear(2, 2), layer), SPEC)


def test_ragged_layers_are_not_refused() -> None:
    refuse(nn.Sequential(RaggedRNN(nn.GRU(2, 3)), nn.Linear(3, 2)), SPEC)
    whole = SPEC.model_copy(update={"chunk": Chunk(longest=9, whole=True)})
    refuse(RaggedRNN(nn.GRU(2, 3, bidirectional=True)), whole)


def test_dropout_is_off_in_the_graph() -> None:
    model = untrained()["tiny-gru"]
    model.dropout = nn.Dropout(0.5)
    model.train()
    graph = to_onnx(model, model.describe("dropped"))
    assert not any("Dropout" in node.op_type or "Random" in node.op_type for node in graph.graph.node)
    assert torch.is_grad_enabled()
