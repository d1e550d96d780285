"""Whether what stands in the padding matters: a graph whose padding is other rows' tokens must answer the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headrace.errors import ConfigurationError
from headrace.spec import LENGTHS, Input, ModelSpec
from headrace.training.models import SequenceModel

from ..compare import difference, reference
from ..parity import TOLERANCE
from ..runners import eager, runtime
from ..streams import Draw, Grid, alone, bounded, drive, whole

NOISE = Grid(sizes=(5,), longest=9)

PREFIX = "headrace.noise."


def refuse_leaks(model: SequenceModel, graph: onnx.ModelProto, spec: ModelSpec, draw: Draw = Input.sample) -> None:
    """Raises ConfigurationError naming the output that the padding reaches."""
    noisy, rng = with_noise(graph, spec), np.random.default_rng(0)
    run, truth, cut = runtime(noisy), eager(model, spec), bounded(whole, spec.chunk.longest)
    among = reference(truth, spec, draw, rng)
    for batch in replace(NOISE, draw=draw).batches(spec, rng):
        want = drive(truth, spec, batch, alone)
        found = difference(drive(run, spec, batch, cut), want, spec, batch, "with noise in the padding", among)
        if found.error > TOLERANCE:
            raise ConfigurationError(f"{spec.name}: padding reaches the outputs, by {found.error:.1e} in {found.where}")


def with_noise(graph: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """A copy that pads each input's rows with what follows them in the batch, not with their own last token.

    Raises ConfigurationError if an input's padding is not found, for then the copy would prove nothing.
    """
    noisy = onnx.ModelProto()
    noisy.CopyFrom(graph)
    names = {i.name for i in spec.inputs}
    padding = [n for n in noisy.graph.node if n.op_type == "Gather" and n.input[0] in names and _padded(n, noisy)]
    if spec.chunk.longest == 1:
        return noisy  # nothing is padded
    if unpadded := _used(noisy) & names - {node.input[0] for node in padding}:
        raise ConfigurationError(
            f"{spec.name}: the padding of {', '.join(sorted(unpadded))} is not found in the graph, so that nobody "
            "knows whether it reaches the outputs"
        )
    for node in padding:
        node.input[1] = PREFIX + "index"
    others = list(noisy.graph.node)
    del noisy.graph.node[:]
    noisy.graph.node.extend([*_index(spec.inputs[0].name), *others])
    noisy.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), PREFIX + name)
        for name, value in {"zero": 0, "one": 1, "first": [0], "second": [1]}.items()
    )
    return noisy


def _used(graph: onnx.ModelProto) -> set[str]:
    """The tensors whose values matter to some node, not their shapes alone."""
    return {name for node in graph.graph.node if node.op_type != "Shape" for name in node.input}


def _padded(node: onnx.NodeProto, graph: onnx.ModelProto) -> bool:
    """Whether a Gather of packed tokens makes [rows, time, ...] of them: its indices have two axes."""
    made = {name: other for other in graph.graph.node for name in other.output}
    return node.input[1] in made and made[node.input[1]].op_type == "Transpose"


def _index(tokens: str) -> list[onnx.NodeProto]:
    """[rows, time] (first token of the row + time) modulo all tokens: right where a row is, past its end another's."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [PREFIX + output], **attributes)

    def ours(*names: str) -> list[str]:
        return [PREFIX + name for name in names]

    return [
        node("CumSum", [LENGTHS, *ours("zero")], "starts", exclusive=1),
        node("ReduceMax", [LENGTHS], "longest", keepdims=0),
        node("Range", ours("zero", "longest", "one"), "times"),
        node("Unsqueeze", ours("starts", "second"), "rows"),
        node("Unsqueeze", ours("times", "first"), "columns"),
        node("Add", ours("rows", "columns"), "cells"),
        node("Shape", [tokens], "shape", start=0, end=1),
        node("Mod", ours("cells", "shape"), "index"),
    ]
