"""All options of the stock recurrent modules in ONNX: a graph holds all that stream, another all of both directions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from headrace.export.compare import Typical, difference, reference
from headrace.export.controls import forgetful, gated, misordered, misplaced
from headrace.export.runners import eager, runtime
from headrace.export.streams import Batch, Cut, Runner, alone, chunks, drive, single, whole
from headrace.export.trace import to_onnx
from headrace.spec import Chunk, Input, ModelSpec, Output
from headrace.spec import State as Carried
from headrace.training.models import SequenceModel
from headrace.training.ragged import RaggedRNN, Recurrent, State

KINDS: dict[str, tuple[type[Recurrent], dict[str, Any]]] = {
    "lstm": (nn.LSTM, {}),
    "projected": (nn.LSTM, {"proj_size": 5}),
    "gru": (nn.GRU, {}),
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}


def stock(both: bool) -> Iterator[tuple[str, Recurrent]]:
    """20 modules: every kind, of one to two layers, with a bias or without, batch first or not."""
    for (kind, (make, options)), layers, bias in product(KINDS.items(), (1, 2), (True, False)):
        rnn = make(4, 8, layers, bias=bias, bidirectional=both, batch_first=bias, **options)
        yield f"{kind}-{layers}{'-bias' if bias else ''}", rnn


class Many(SequenceModel):
    """Modules side by side, each with an output and states of its own."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.parts = nn.ModuleDict({name: RaggedRNN(rnn) for name, rnn in stock(both)})

    def step(self, x: Tensor, lengths: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        results, ends = [], {}
        for name, part in self.parts.items():
            y, end = part(x, lengths, {n: state[f"{name}.{n}"] for n in part.names if not self.both})
            results.append(y)
            ends |= {f"{name}.{n}": value for n, value in end.items()}
        return tuple(results), ends

    def describe(self, name: str) -> ModelSpec:
        cores = [(key, part) for key, part in self.parts.items() if isinstance(part, RaggedRNN)]
        states = [(f"{key}.{n}", shape) for key, part in cores for n, shape in part.shapes.items() if not self.both]
        return ModelSpec(
            name=name,
            inputs=(Input(name="x", dtype="float32", shape=(4,)),),
            outputs=tuple(Output(name=key, dtype="float32", shape=(part.width,), time=True) for key, part in cores),
            states=tuple(Carried(name=n, input=n, output=f"{n}.out", dtype="float32", shape=s) for n, s in states),
            chunk=Chunk(longest=100, whole=self.both),
        )


@cache
def made(both: bool) -> tuple[ModelSpec, Runner, onnx.ModelProto]:
    """Weights three times the usual ones: at those, mistakes hide."""
    torch.manual_seed(0)
    model = Many(both).eval()
    spec = model.describe("many")
    for part in model.modules():
        if isinstance(part, nn.RNNBase):  # a ReLU explodes: relative to its last steps the others are nothing
            for p in part.parameters():
                p.data *= 1 if part.mode == "RNN_RELU" else 3
    return spec, eager(model, spec), to_onnx(model, spec)


@cache
def ordinary(both: bool) -> Typical:
    spec, truth, _ = made(both)
    return reference(truth, spec, Input.sample, np.random.default_rng(0))


def rows(lengths: list[int]) -> Batch:
    values = np.random.default_rng(1).standard_normal((sum(lengths), 4), np.float32)
    return Batch({"x": values}, np.array(lengths))


def errors(run: Runner, both: bool, batch: Batch, cut: Cut) -> dict[str, float]:
    """Of each output, against each row alone in eager PyTorch."""
    spec, truth, _ = made(both)
    got, want, known = drive(run, spec, batch, cut), drive(truth, spec, batch, alone), ordinary(both)
    return {o.name: difference(got, {o.name: want[o.name]}, spec, batch, "", known).error for o in spec.outputs}


@pytest.mark.parametrize("lengths", [[1], [9], [1, 1, 1], [3, 20, 1, 7]], ids=str)
def test_streamed_modules_are_the_same_in_onnx(lengths: list[int]) -> None:
    spec, truth, graph = made(False)
    batch = rows(lengths)
    want = drive(truth, spec, batch, alone)
    for cut in (whole, single, chunks(np.random.default_rng(0))):
        found = difference(drive(runtime(graph), spec, batch, cut), want, spec, batch, "", ordinary(False))
        assert found.error < 1e-5, found


@pytest.mark.parametrize("lengths", [[1], [9], [1, 1, 1], [3, 20, 1, 7]], ids=str)
def test_modules_of_both_directions_are_the_same_in_onnx(lengths: list[int]) -> None:
    found = errors(runtime(made(True)[2]), True, rows(lengths), whole)
    assert len(found) == 20 and max(found.values()) < 1e-5, found


def test_a_forgotten_state_shows_in_every_module() -> None:
    spec, _, graph = made(False)
    found = errors(forgetful(runtime(graph), spec), False, rows([6, 3, 9, 2, 14]), single)
    assert len(found) == 20 and min(found.values()) > 0.03, found


@pytest.mark.parametrize("both", [False, True])
def test_misplaced_lengths_show_in_every_module(both: bool) -> None:
    found = errors(misplaced(runtime(made(both)[2])), both, rows([6, 3, 9, 2, 14]), whole)
    assert min(found.values()) > 0.03, found


@pytest.mark.parametrize("both", [False, True])
def test_misordered_gates_show_in_every_module_that_has_gates(both: bool) -> None:
    graph = made(both)[2]
    assert len(gated(graph)) == 18
    found = errors(runtime(misordered(graph)), both, rows([6, 3, 9, 2, 14]), whole)
    assert all((error > 0.03) == name.startswith(("lstm", "gru", "projected")) for name, error in found.items()), found
