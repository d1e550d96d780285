"""A model of several inputs and several outputs, through tracing, both runners and the parity grid."""

from __future__ import annotations

import onnx
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headrace.errors import ConfigurationError
from headrace.export.parity import LIGHT, verify
from headrace.export.trace import to_onnx
from headrace.spec import Chunk, Input, ModelSpec, Output
from headrace.training.models import SequenceModel
from headrace.training.models.base import carried
from headrace.training.ragged import RaggedMean, RaggedRNN, State


class Sentences(SequenceModel):
    """Words and how loud each was → a score for each word, and the mean of what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.core = nn.Embedding(11, 4), RaggedRNN(nn.GRU(6, 8))
        self.head, self.mean = nn.Linear(8, 3), RaggedMean()

    def step(self, x: tuple[Tensor, Tensor], lengths: Tensor, state: State) -> tuple[tuple[Tensor, Tensor], State]:
        words, loudness = x  # [tokens], [tokens, 2]
        y, state = self.core(torch.cat([self.embed(words), loudness], -1), lengths, state)
        return (self.head(y), self.mean(y, lengths)), state

    def describe(self, name: str) -> ModelSpec:
        return ModelSpec(
            name=name,
            inputs=(
                Input(name="words", dtype="int64", vocabulary=11),
                Input(name="loudness", dtype="float32", shape=(2,)),
            ),
            outputs=(
                Output(name="scores", dtype="float32", shape=(3,), time=True),
                Output(name="mean", dtype="float32", shape=(8,), time=False),
            ),
            states=(carried("h", 1, 8),),
            chunk=Chunk(longest=9, whole=True),
        )


@pytest.fixture(scope="module")
def made() -> tuple[SequenceModel, ModelSpec, onnx.ModelProto]:
    torch.manual_seed(0)
    model = Sentences().eval()
    spec = model.describe("sentences")
    return model, spec, to_onnx(model, spec)


def test_names_and_axes_are_the_specs(made: tuple[SequenceModel, ModelSpec, onnx.ModelProto]) -> None:
    _, _, graph = made
    assert [value.name for value in graph.graph.input] == ["words", "loudness", "lengths", "h"]
    assert [value.name for value in graph.graph.output] == ["scores", "mean", "h_out"]


def test_graph_and_model_agree(made: tuple[SequenceModel, ModelSpec, onnx.ModelProto], console: Console) -> None:
    model, spec, graph = made
    report = verify(model, graph, spec, grid=LIGHT, console=console)
    assert 0 < report.parity.error < 1e-5


@pytest.mark.parametrize("name", ["scores", "mean"])
def test_each_output_is_compared(
    made: tuple[SequenceModel, ModelSpec, onnx.ModelProto], console: Console, name: str
) -> None:
    """One of the two is twice what it was."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(made[2])
    node = next(node for node in wrong.graph.node if name in node.output)
    node.output[list(node.output).index(name)] = "half"
    wrong.graph.node.append(onnx.helper.make_node("Add", ["half", "half"], [name]))
    with pytest.raises(ConfigurationError, match=f"differ by .* in {name} at row"):
        verify(made[0], wrong, made[1], grid=LIGHT, console=console)
