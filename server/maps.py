"""Index maps apart from the model: what a graph computes from `lengths` alone becomes a small graph of its own.

Such maps lead between packed rows and a padded view. Lengths recur from tick to tick (mostly, all rows have one step),
so that their maps can be kept, and the model takes them as inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from headrace.spec import LENGTHS

from .values import Values, used

#: Operators whose result differs from call to call.
RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
DEFAULT_DOMAINS = ("", "ai.onnx")
CONSTANT = "Constant"


@dataclass(frozen=True, slots=True)
class Split:
    """maps: lengths → the index maps, by name; None if there are none. model: the rest, which takes them as inputs."""

    maps: onnx.ModelProto | None
    model: onnx.ModelProto


def split(model: onnx.ModelProto, values: Values) -> Split:
    """Takes out what hangs on `lengths` and constants alone, if all of it has a known dtype."""
    graph = model.graph
    lifted = _lifted(graph, values)
    rest = [node for node in graph.node if not any(node is each for each in lifted)]
    needed = {name for node in rest for name in used(node)}
    crossing = [name for node in lifted for name in node.output if name in needed]
    if not crossing or any(name not in values.infos for name in crossing):
        return Split(None, model)
    infos = [values.infos[name] for name in crossing]
    return Split(_maps(model, lifted, infos, values), _rest(model, rest, infos, needed))


def _lifted(graph: onnx.GraphProto, values: Values) -> list[onnx.NodeProto]:
    """In the graph's order. What makes one of the graph's own outputs stays."""
    outputs = {output.name for output in graph.output}
    constant, derived = set(values.constants), {LENGTHS}
    lifted = []
    for node in graph.node:
        names = set(used(node))
        if node.op_type == CONSTANT:
            constant |= set(node.output)
        elif names & derived and names <= constant | derived and not outputs & set(node.output) and steady(node):
            derived |= set(node.output)
            lifted.append(node)
    return lifted


def steady(node: onnx.NodeProto) -> bool:
    """Whether the same lengths always give the same."""
    return node.domain in DEFAULT_DOMAINS and node.op_type not in RANDOM


def _maps(
    model: onnx.ModelProto, lifted: list[onnx.NodeProto], outputs: Sequence[onnx.ValueInfoProto], values: Values
) -> onnx.ModelProto:
    names = {name for node in lifted for name in used(node)}
    sources = [node for node in model.graph.node if node.op_type == CONSTANT and names & set(node.output)]
    lengths = [given for given in model.graph.input if given.name == LENGTHS]
    constants = [tensor for name, tensor in values.constants.items() if name in names]
    return _model(model, [*sources, *lifted], lengths, outputs, constants)


def _rest(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], maps: Sequence[onnx.ValueInfoProto], needed: set[str]
) -> onnx.ModelProto:
    """`lengths` is no input of it where nothing else needs it."""
    inputs = [given for given in model.graph.input if given.name != LENGTHS or LENGTHS in needed]
    return _model(model, nodes, [*inputs, *maps], model.graph.output, model.graph.initializer)


def _model(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    sparse = model.graph.sparse_initializer if constants is model.graph.initializer else ()
    graph = helper.make_graph(nodes, model.graph.name, inputs, outputs, constants, sparse_initializer=sparse)
    return helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )
