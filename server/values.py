"""What a graph says of itself, without its weights: who makes a value, who uses it, its dtype and its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

#: Initializers of more cells are weights; fewer may be shapes, axes or indices, which say something of the values.
SMALL = 64


@dataclass(frozen=True, slots=True)
class Values:
    """Of one graph: nodes by what they make, each name's number of uses, small constants, and what was inferred."""

    makers: dict[str, onnx.NodeProto]
    uses: Counter[str]
    constants: dict[str, onnx.TensorProto]
    infos: dict[str, onnx.ValueInfoProto]

    @classmethod
    def of(cls, model: onnx.ModelProto, told: Sequence[onnx.ValueInfoProto] = ()) -> Values:
        """told: what inference cannot find out, such as what operators of another domain give."""
        nodes = model.graph.node
        return cls(
            {name: node for node in nodes for name in node.output},
            Counter(name for node in nodes for name in used(node)),
            {tensor.name: tensor for tensor in model.graph.initializer if _small(tensor)},
            {info.name: info for info in _inferred(model, told)},
        )

    def cells(self, name: str) -> NDArray[np.generic] | None:
        """Of a small constant; None for everything else."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def shape(self, name: str) -> tuple[int | None, ...]:
        """None for an axis of no fixed size; empty if nothing is known."""
        axes = self.infos[name].type.tensor_type.shape.dim if name in self.infos else ()
        return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in axes)


def used(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node takes, those that its inner graphs take from outside among them."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            yield from (name for node in inner.node for name in used(node))
            yield from (output.name for output in inner.output)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _small(tensor: onnx.TensorProto) -> bool:
    return prod(tensor.dims) <= SMALL and tensor.data_location != onnx.TensorProto.EXTERNAL


def _inferred(model: onnx.ModelProto, told: Sequence[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
    """By onnx's shape inference of the graph with weights as mere inputs, so that it costs the same for any model."""
    graph = model.graph
    weights = [t for t in graph.initializer if not _small(t)]
    given = {info.name for info in graph.input}
    bare = helper.make_graph(
        graph.node,
        graph.name,
        [*graph.input, *(_info(t) for t in weights if t.name not in given)],
        graph.output,
        [t for t in graph.initializer if _small(t)],
        value_info=[*graph.value_info, *told],
    )
    inferred = onnx.shape_inference.infer_shapes(
        helper.make_model(
            bare, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
        )
    ).graph
    yield from inferred.value_info
    yield from inferred.output
    yield from inferred.input


def _info(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
