"""Modules as people write them, exported as they are; the parity check inside compares with each sequence alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from headrace.errors import ConfigurationError
from headrace.export import export_module
from headrace.export.parity import LIGHT, verify
from headrace.export.user.example import Example, read
from headrace.export.user.module import Alone
from headrace.export.user.noise import with_noise
from headrace.export.user.plan import Plan, Wishes, plan
from headrace.export.user.trace import to_onnx
from headrace.spec import METADATA_KEY, ModelSpec

from . import zoo

FLOATS, TOKENS = torch.zeros(2, 6, 4), torch.tensor([[0, 1, 2], [3, 4, 5]])


@dataclass(frozen=True, slots=True)
class Animal:
    """A module of the zoo, an example for it, and what its spec must say: states with shapes, outputs with axes."""

    make: Callable[[], nn.Module]
    example: Example
    states: Mapping[str, tuple[int, ...]]
    outputs: str
    options: Mapping[str, Any]


def animal(make: Callable[[], nn.Module], example: Example, states: Any, outputs: str, **options: Any) -> Animal:
    return Animal(make, example, states, outputs, options)


def wrapped() -> nn.Module:
    """For several devices and compiled, and a layer inside compiled by itself once more."""
    module = zoo.LastStep()
    module.head = torch.compile(module.head)  # type: ignore[assignment]
    return nn.DataParallel(torch.compile(module))  # type: ignore[arg-type]


ZOO = {
    "language-model": animal(zoo.LanguageModel, TOKENS, {"rnn.h": (2, 8)}, "y [time, 50]"),
    "state-is-the-answer": animal(zoo.Speaker, FLOATS, {"lstm.h": (2, 8), "lstm.c": (2, 8)}, "y [1, 3]"),
    "projected": animal(lambda: zoo.Speaker(proj_size=5), FLOATS, {"lstm.h": (2, 5), "lstm.c": (2, 8)}, "y [1, 3]"),
    "both-directions": animal(lambda: zoo.Speaker(bidirectional=True), FLOATS, {}, "y [1, 3]"),
    "last-step": animal(zoo.LastStep, FLOATS, {"rnn.h": (1, 8)}, "y [1, 3]"),
    "time-first": animal(
        zoo.TwoInARow, FLOATS.transpose(0, 1), {"first.h": (2, 8), "second.h": (1, 6)}, "y [time, 6]", time_first=True
    ),
    "learned-beginning": animal(zoo.Learned, FLOATS, {"core.h": (1, 8)}, "scores [time, 3], summary [1, 8]"),
    "two-inputs": animal(
        zoo.TwoInputs, (TOKENS, torch.zeros(2, 3, 2)), {"rnn.h": (1, 8), "rnn.c": (1, 8)}, "y [time, 3]"
    ),
    "packs-by-itself": animal(zoo.Packing, FLOATS, {}, "y [1, 3]"),
    "loops-over-cells": animal(zoo.Cells, FLOATS, {"low.h": (8,), "low.c": (8,), "high.h": (6,)}, "y [time, 3]"),
    "encoder": animal(zoo.Tagger, FLOATS, {}, "y [time, 3]"),
    "encoder-norm-first-causal": animal(lambda: zoo.Tagger(True, False, True), FLOATS, {}, "y [time, 3]"),
    "attention": animal(zoo.Attentive, FLOATS, {}, "y [time, 3]"),
    "decoder": animal(zoo.Decoder, FLOATS, {}, "y [time, 8]"),
    "stack-of-cells": animal(
        zoo.StackOfCells,
        FLOATS,
        {"cells.0.h": (8,), "cells.0.c": (8,), "cells.1.h": (8,), "cells.1.c": (8,)},
        "y [1, 3]",
    ),
    "a-layer-itself": animal(lambda: nn.GRU(4, 8), FLOATS, {"h": (1, 8)}, "y [time, 8]", time_first=True),
    "parametrised": animal(
        lambda: nn.Sequential(
            spectral_norm(nn.Linear(4, 6)), weight_norm(nn.GRU(6, 8, batch_first=True), "weight_hh_l0")
        ),
        FLOATS,
        {"1.h": (1, 8)},
        "y [time, 8]",
    ),
    "wrapped": animal(wrapped, FLOATS, {"rnn.h": (1, 8)}, "y [1, 3]"),
}


def spec_of(path: Path) -> ModelSpec:
    return next(ModelSpec.from_json(p.value) for p in onnx.load(path).metadata_props if p.key == METADATA_KEY)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # of torch.compile's own imports
def test_the_zoo_is_exported_as_it_is(name: str, tmp_path: Path, console: Console) -> None:
    torch.manual_seed(0)
    one = ZOO[name]
    path = export_module(one.make(), one.example, tmp_path, name, quick=True, console=console, **one.options)
    spec = spec_of(path)
    assert {state.name: state.shape for state in spec.states} == one.states
    assert f"-> {one.outputs}  parity" in spec.summary()
    assert spec.chunk.whole == (not one.states) and (spec.chunk.longest == 1) == ("cells" in name)
    assert spec.parity is not None and 0 < spec.parity.error < 1e-5


def test_inputs_have_their_names_and_vocabularies(tmp_path: Path, console: Console) -> None:
    path = export_module(zoo.TwoInputs(), ZOO["two-inputs"].example, tmp_path, "two", quick=True, console=console)
    found = [(i.name, i.dtype, i.shape, i.vocabulary) for i in spec_of(path).inputs]
    assert found == [("words", "int64", (), 9), ("loudness", "float32", (2,), None)]


def test_a_learned_beginning_stands_in_the_spec(tmp_path: Path, console: Console) -> None:
    module = zoo.Learned()
    path = export_module(module, {"values": FLOATS}, tmp_path, "learned", quick=True, console=console)
    (state,) = spec_of(path).states
    np.testing.assert_array_equal(state.cells(), module.begin[0].detach().numpy())


def test_the_module_is_left_as_it_was(tmp_path: Path, console: Console) -> None:
    module = zoo.Packing().eval()
    before = {path: vars(part).copy() for path, part in module.named_modules()}
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    export_module(module, FLOATS, tmp_path, "kept", quick=True, console=console)
    assert {path: vars(part) for path, part in module.named_modules()} == before
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert zoo.pack_padded_sequence is nn.utils.rnn.pack_padded_sequence


def test_training_goes_on_where_it_was(tmp_path: Path, console: Console) -> None:
    module = zoo.LanguageModel().train()
    module.head.eval()
    export_module(module, TOKENS, tmp_path, "trained", quick=True, console=console)
    assert module.training and module.rnn.training and not module.head.training


class Names(nn.Module):
    """An output named as the input, others as a state, as an operator, and as nothing can be named."""

    def __init__(self) -> None:
        super().__init__()
        self._rnn, self.linear = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, _y: torch.Tensor) -> dict[str, torch.Tensor]:
        out, _ = self._rnn(_y)
        return {"y": self.linear(out), "linear": -out, "rnn.h": out + 1, "lengths": out + 2, "top 1!": out + 3}


def test_names_are_kept_apart(tmp_path: Path, console: Console) -> None:
    spec = spec_of(export_module(Names(), FLOATS, tmp_path, "names", quick=True, console=console))
    assert [i.name for i in spec.inputs] == ["y"] and [s.name for s in spec.states] == ["rnn.h"]
    assert [o.name for o in spec.outputs] == ["y_out", "linear", "rnn.h_out_out", "lengths_out", "top_1_"]


def test_enlarged_weights_are_tried_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    console = Console(record=True, width=300)
    export_module(zoo.Learned(), FLOATS, tmp_path, "strained", console=console)
    assert "stateful  values [time, 4] -> scores [time, 3], summary [1, 8]" in console.export_text()


def planned(module: nn.Module, example: Example) -> Plan:
    call, tensors = read(module, example, False)
    return plan(module, call, tensors, Wishes("planned"))


def test_noise_stands_where_the_padding_was() -> None:
    """The gathers of both inputs take another index; that of each token's own values is not touched."""
    module = zoo.TwoInputs().eval()
    found = planned(module, ZOO["two-inputs"].example)
    graph = with_noise(to_onnx(module, found).graph, found.spec)
    changed = [node for node in graph.graph.node if "headrace.noise.index" in node.input]
    assert sorted(node.input[0] for node in changed) == ["loudness", "words"]


def test_parity_can_fail(console: Console) -> None:
    """Other weights than those that were traced."""
    torch.manual_seed(0)
    module = zoo.Speaker(bidirectional=True).eval()
    found = planned(module, FLOATS)
    graph = to_onnx(module, found).graph
    with torch.no_grad():
        module.get_parameter("lstm.weight_hh_l0_reverse").mul_(1.1)
    with pytest.raises(ConfigurationError, match="ONNX Runtime and PyTorch differ"):
        verify(Alone(module, found), graph, found.spec, grid=LIGHT, console=console)
