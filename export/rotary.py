"""Rotary positions in a graph: one neutral node for each of queries and keys, and the same in standard operators.

  Rotary   x [tokens, heads * width], cosine, sine [tokens, 1, width / 2] → y as x. Of each head the values i and
           i + width / 2 are turned together, by the angle i of their token (Su et al. 2021, equation 34).

Attribute: width, of a head. Domain "headrace". Whoever runs the graph replaces it by what turns best on the device.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import torch
from onnx import helper, inliner, parser
from torch import Tensor

from headrace.training.cached import Rotary

DOMAIN, ROTARY = "headrace", "Rotary"

_ROTARY = """
<opset_import: ["" : {opset}], domain: "headrace">
Rotary{width} (x, cosine, sine) => (y) {{
    apart = Constant <value_ints: ints = [0, -1, {width}]> ()
    heads = Reshape (x, apart)
    left, right = Split <axis: int = 2, num_outputs: int = 2> (heads)
    left_cosine = Mul (left, cosine)
    right_sine = Mul (right, sine)
    left_sine = Mul (left, sine)
    right_cosine = Mul (right, cosine)
    first = Sub (left_cosine, right_sine)
    second = Add (left_sine, right_cosine)
    turned = Concat <axis: int = 2> (first, second)
    flat = Shape (x)
    y = Reshape (turned, flat)
}}
"""


def rotary(part: Rotary) -> Callable[[Tensor, tuple[Tensor, Tensor]], Tensor]:
    """Its `forward` while it is traced: the neutral node."""

    def forward(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        given, width = (x, *turns), 2 * len(part.frequencies)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{ROTARY}", given, {"width": width}, dtype=x.dtype, shape=x.shape, version=1
        )

    return forward


def plainly_turned(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with standard operators in place of its Rotary nodes; itself if it has none."""
    if not _turning(graph):
        return graph
    made = onnx.ModelProto()
    made.CopyFrom(graph)
    widths = sorted({int(helper.get_node_attr_value(node, "width")) for node in _turning(graph)})
    version = next(int(o.version) for o in graph.opset_import if o.domain == "")
    for node in _turning(made):
        node.op_type = f"{ROTARY}{helper.get_node_attr_value(node, 'width')}"
        del node.attribute[:]
    made.functions.extend(parser.parse_function(_ROTARY.format(width=width, opset=version)) for width in widths)
    inlined: onnx.ModelProto = inliner.inline_local_functions(made)
    return inlined


def _turning(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in graph.graph.node if node.domain == DOMAIN and node.op_type == ROTARY]
