"""Runs that are wrong on purpose. A parity check that does not tell them from right ones proves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from headrace.spec import LENGTHS, ModelSpec

from .streams import Named, Runner, initial
from .translate_recurrent import GATES


def forgetful(run: Runner, spec: ModelSpec) -> Runner:
    """Every step begins with a fresh state."""

    def wrong(feed: Named) -> Named:
        return run(feed | {s.input: initial(s, len(feed[LENGTHS])) for s in spec.states})

    return wrong


def misplaced(run: Runner) -> Runner:
    """Every row is taken to be as long as its neighbour."""

    def wrong(feed: Named) -> Named:
        return run(feed | {LENGTHS: np.roll(feed[LENGTHS], 1)})

    return wrong


def misordered(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose LSTM and GRU gates stand in torch's order."""
    wrong = onnx.ModelProto()
    wrong.CopyFrom(graph)
    tensors = {tensor.name: tensor for tensor in wrong.graph.initializer}
    for node in gated(wrong):
        for name in _weights(node):
            values = _reordered(numpy_helper.to_array(tensors[name]), np.argsort(GATES[node.op_type]))
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    return wrong


def _weights(node: onnx.NodeProto) -> list[str]:
    """w [directions, gates * hidden, ...], r the same, b [directions, 2 * gates * hidden] if there is one."""
    return [name for name in node.input[1:4] if name]


def gated(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes whose weights have gates, in an order that ONNX and torch do not share; of stored ones alone."""
    stored = {tensor.name for tensor in graph.graph.initializer}
    return [node for node in graph.graph.node if node.op_type in GATES and stored.issuperset(_weights(node))]


def ragged(graph: onnx.ModelProto) -> bool:
    """Whether the lengths matter at all."""
    return any(LENGTHS in node.input for node in graph.graph.node)


def reached(graph: onnx.ModelProto, sources: Iterable[str]) -> set[str]:
    """The tensors that are made of `sources`, and these."""
    found = set(sources)
    for node in graph.graph.node:  # sorted: behind those that it takes from
        if not found.isdisjoint(node.input):
            found.update(node.output)
    return found


@contextmanager
def strained(model: nn.Module, factor: float = 3.0) -> Iterator[None]:
    """While open, all parameters are larger: with small ones a network is nearly linear, and hides mistakes.

    Those of integers stay: they are places in tables, or counts.
    """
    kept = [(p, p.detach().clone()) for p in model.parameters() if p.is_floating_point()]
    with torch.no_grad():
        try:
            for p, _ in kept:
                p.mul_(factor)
            yield
        finally:
            for p, before in kept:
                p.copy_(before)


def _reordered(values: NDArray[np.generic], order: NDArray[np.intp]) -> NDArray[np.generic]:
    """values [directions, k * gates * hidden, ...]: k is 2 for a bias, which is of the input and of the recurrence."""
    halves = 2 if values.ndim == 2 else 1
    apart = values.reshape(len(values) * halves, len(order), -1, *values.shape[2:])
    return apart[:, order].reshape(values.shape)
