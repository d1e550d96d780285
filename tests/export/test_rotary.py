"""A decoder's positions are turned by one node for queries and one for keys; in standard operators it is the same."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from headrace.export.rotary import DOMAIN, ROTARY, plainly_turned
from headrace.export.runners import runtime
from headrace.training.cached import Rotary

from .decoders import decoder_graph, start_graph

TOKENS, HEADS, WIDTH = 5, 3, 8


def test_a_decoder_has_two_nodes_a_layer_and_a_start_graph_none() -> None:
    assert [node.op_type for node in decoder_graph().graph.node].count(ROTARY) == 4
    assert not any(node.domain == DOMAIN for node in start_graph().graph.node)


def test_standard_operators_turn_as_the_module_does() -> None:
    x = torch.randn(TOKENS, HEADS * WIDTH, generator=torch.Generator().manual_seed(0))
    rotary = Rotary(WIDTH)
    cosine, sine = rotary.angles(torch.tensor([3, 2]), torch.tensor([4, 900]), x)
    got = runtime(plainly_turned(one()))({"x": x.numpy(), "cosine": cosine.numpy(), "sine": sine.numpy()})["y"]
    np.testing.assert_allclose(got, rotary(x, (cosine, sine)).numpy(), atol=1e-6)
    assert np.abs(got - x.numpy()).max() > 0.1


def one() -> onnx.ModelProto:
    """A graph of one node."""
    node = helper.make_node(ROTARY, ["x", "cosine", "sine"], ["y"], domain=DOMAIN, width=WIDTH)
    shapes = {"x": ["tokens", HEADS * WIDTH], "cosine": ["tokens", 1, WIDTH // 2], "sine": ["tokens", 1, WIDTH // 2]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes["x"])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(helper.make_graph([node], "one", inputs, [output]), opset_imports=opsets, ir_version=10)
