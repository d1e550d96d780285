"""Runs that are wrong on purpose are wrong in just the way that they say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from headrace.export.controls import forgetful, gated, misordered, misplaced, ragged, strained
from headrace.export.streams import Named
from headrace.spec import LENGTHS

from .conftest import Traced


def test_misordered_gates_are_torchs(traced: Mapping[str, Traced]) -> None:
    tiny = traced["tiny-gru"]
    wrong = misordered(tiny.graph)
    (node,) = gated(wrong)
    tensors = {tensor.name: tensor for tensor in wrong.graph.initializer}
    rnn = tiny.model.core.rnn
    for name, weight in zip(node.input[1:3], rnn.all_weights[0], strict=False):
        np.testing.assert_array_equal(np.frombuffer(tensors[name].raw_data, np.float32), weight.detach().flatten())
    biases = torch.cat(rnn.all_weights[0][2:]).detach()
    np.testing.assert_array_equal(np.frombuffer(tensors[node.input[3]].raw_data, np.float32), biases)


def test_the_graph_itself_is_not_touched(traced: Mapping[str, Traced]) -> None:
    before = traced["tiny-lstm"].graph.SerializeToString()
    assert misordered(traced["tiny-lstm"].graph).SerializeToString() != before
    assert traced["tiny-lstm"].graph.SerializeToString() == before


def test_forgetful_and_misplaced_change_only_what_they_say(traced: Mapping[str, Traced]) -> None:
    feed: Named = {
        LENGTHS: np.array([1, 2]),
        "h": np.ones((2, 1, 8), np.float32),
        "values": np.ones((3, 3), np.float32),
    }
    seen = forgetful(lambda given: given, traced["tiny-gru"].spec)(feed)
    assert not seen["h"].any() and seen[LENGTHS].tolist() == [1, 2]
    seen = misplaced(lambda given: given)(feed)
    assert seen[LENGTHS].tolist() == [2, 1] and seen["h"].all()


def test_what_a_graph_can_be_tried_with(traced: Mapping[str, Traced]) -> None:
    assert len(gated(traced["tiny-lstm"].graph)) == 2 and not gated(traced["tiny-encoder"].graph)
    assert all(ragged(tiny.graph) for tiny in traced.values())


def test_strain_is_taken_back_exactly() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), strained(layer):
        torch.testing.assert_close(layer.weight.detach(), before * 3)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, before)


def test_integers_are_not_strained_and_spoil_nothing() -> None:
    layer = nn.Linear(3, 2)
    layer.places = nn.Parameter(torch.arange(4), requires_grad=False)
    before = [p.detach().clone() for p in layer.parameters()]
    with strained(layer):
        torch.testing.assert_close(layer.bias.detach(), before[1] * 3)
        assert layer.places.tolist() == [0, 1, 2, 3]
    assert all(torch.equal(p, kept) for p, kept in zip(layer.parameters(), before, strict=True))
