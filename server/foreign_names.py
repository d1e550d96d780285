"""Names: those that a state's tensors get, and how all names of a foreign graph are kept away from them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

THEIRS = "headrace:foreign:"
"""Prefix that all names of the foreign graph get, so that none of ours can meet one."""


def before(state: str) -> str:
    """Name of the graph's input for a state."""
    return f"{state}.before"


def after(state: str) -> str:
    """Name of the graph's output for a state."""
    return f"{state}.after"


def context(name: str) -> str:
    """Name of the state that holds the end of the chunk before, of the input `name`."""
    return f"{name}.context"


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all that stand inside its nodes: branches and bodies of loops."""
    yield graph
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield from graphs(inner)


def prefixed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which all names of tensors are THEIRS.

    `onnx.compose.add_prefix` loses sight of the outer graph's weights inside branches. Here every name gets the same
    prefix wherever it stands, so that whatever hid or saw another still does. Functions have names of their own.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in graphs(copy.graph):
        _prefix(graph)
    return copy


def _prefix(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = _named(value.name)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        tensor.name = _named(tensor.name)
    for node in graph.node:
        node.input[:] = [_named(name) for name in node.input]
        node.output[:] = [_named(name) for name in node.output]


def _named(name: str) -> str:
    """An empty name says that an optional tensor is left out."""
    return name and THEIRS + name
