"""Every rule lets through what treats tokens one by one, and stops what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from headrace.server.caches.tokenwise import RULES, Known
from headrace.server.values import Values

#: Graph inputs: x, z [tokens, 4, 6], id [tokens], open, of no fixed size; of no token axis: m [rows, 6]. All else are
#: constants.
INPUTS = {
    "x": ["tokens", 4, 6],
    "z": ["tokens", 4, 6],
    "flat": ["tokens", 6],
    "open": ["tokens", "wide", "deep"],
    "m": ["rows", 6],
}
CONSTANTS = {
    "w": np.ones((6, 5), np.float32),
    "v": np.ones(6, np.float32),
    "batched": np.ones((1, 6, 5), np.float32),
    "one": np.ones((1, 4, 6), np.float32),
    "several": np.ones((3, 4, 6), np.float32),
    "four": np.ones((1, 1, 4, 6), np.float32),
    "rows": np.ones((3, 5), np.float32),
    "named": np.ones((3, 6), np.float32),
    "table": np.ones((9, 3), np.float32),
    "first": np.array([0]),
    "second": np.array([1]),
    "last": np.array([-1]),
    "front": np.array([-3]),
    "two": np.array([2]),
    "kept": np.array([0, 24]),
    "rest": np.array([-1, 24]),
    "mixed": np.array([-1, 12]),
    "all": np.array([-1]),
    "same": np.array([-1, 0]),
}


def known(operator: str, names: str, outputs: int = 1, **attributes: Any) -> bool:
    node = helper.make_node(operator, ["" if n == "-" else n for n in names.split()], ["y", "y2"][:outputs])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    made = [numpy_helper.from_array(cells, name) for name, cells in CONSTANTS.items()]
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in INPUTS.items()]
    given.append(helper.make_tensor_value_info("id", TensorProto.INT64, ["tokens"]))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    said = [helper.make_tensor_value_info("named", TensorProto.FLOAT, ["tokens", 6])]
    model = helper.make_model(
        helper.make_graph([node], "one", given, [result], made, value_info=said),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    return Known.of(model.graph, Values.of(model)).tokenwise(node)


APART = [
    ("Relu", "x", {}),
    ("Clip", "x - v", {}),
    ("Add", "x z", {}),
    ("Add", "v x", {}),
    ("Mul", "x one", {}),
    ("Where", "x z v", {}),
    ("MatMul", "x w", {}),
    ("MatMul", "x v", {}),
    ("Gemm", "flat w v", {}),
    ("LayerNormalization", "x v v", {"axis": -1}),
    ("LayerNormalization", "x v", {"axis": 1}),
    ("Softmax", "x", {"axis": -1}),
    ("Split", "x", {"axis": 1, "num_outputs": 2}),
    ("Concat", "x z", {"axis": 2}),
    ("Gather", "x second", {"axis": 1}),
    ("Gather", "table id", {"axis": 0}),
    ("Slice", "x first second second", {}),
    ("ReduceMean", "x last", {}),
    ("Squeeze", "x second", {}),
    ("Unsqueeze", "x second", {}),
    ("Unsqueeze", "x last", {}),
    ("Reshape", "x kept", {}),
    ("Reshape", "x rest", {}),
    ("Reshape", "id all", {}),
    ("Transpose", "x", {"perm": [0, 2, 1]}),
    ("Flatten", "x", {"axis": 1}),
    ("Flatten", "x", {"axis": -2}),
]
TOGETHER = [
    ("CumSum", "x first", {}),  # not listed
    ("Dropout", "x", {}),
    ("Add", "x several", {}),  # as many tokens as there happen to be
    ("Add", "x four", {}),
    ("Add", "x flat", {}),  # tokens against another axis
    ("Add", "flat m", {}),  # rows, of which there may be as many
    ("Add", "v w", {}),  # of no tokens at all
    ("Neg", "named", {}),  # a constant, though the graph calls its axis tokens
    ("MatMul", "w x", {}),
    ("MatMul", "x z", {}),
    ("MatMul", "x batched", {}),
    ("MatMul", "id first", {}),
    ("Gemm", "flat w v", {"transA": 1}),
    ("Gemm", "flat w flat", {}),
    ("Gemm", "flat w rows", {}),
    ("LayerNormalization", "x several", {"axis": 1}),
    ("LayerNormalization", "x v", {"axis": 0}),
    ("LayerNormalization", "x v", {"axis": -3}),
    ("Softmax", "x", {"axis": 0}),
    ("Softmax", "x", {"axis": -3}),
    ("Softmax", "id", {}),
    ("Split", "x", {"num_outputs": 2}),
    ("Concat", "x z", {"axis": 0}),
    ("Concat", "x several", {"axis": 1}),
    ("Gather", "x first", {}),
    ("Gather", "x id", {"axis": 0}),
    ("Gather", "table id", {"axis": 1}),
    ("Slice", "x first second first", {}),
    ("Slice", "x first second front", {}),
    ("Slice", "x first second", {}),  # of the first axes
    ("Slice", "x first second id", {}),
    ("ReduceMean", "x first", {}),
    ("ReduceMean", "x", {}),  # of all axes
    ("Squeeze", "x", {}),
    ("Unsqueeze", "x first", {}),
    ("Reshape", "x mixed", {}),
    ("Reshape", "x all", {}),
    ("Reshape", "open same", {}),  # of two axes one
    ("Reshape", "x kept", {"allowzero": 1}),
    ("Reshape", "x id", {}),
    ("Transpose", "x", {"perm": [1, 0, 2]}),
    ("Transpose", "x", {}),  # all axes the other way round
    ("Flatten", "x", {"axis": 0}),
    ("Flatten", "x", {"axis": 2}),
]


@pytest.mark.parametrize(("operator", "names", "attributes"), APART)
def test_what_treats_tokens_one_by_one_passes(operator: str, names: str, attributes: dict[str, Any]) -> None:
    assert known(operator, names, **attributes)


@pytest.mark.parametrize(("operator", "names", "attributes"), TOGETHER)
def test_what_mixes_tokens_or_may_do_so_does_not(operator: str, names: str, attributes: dict[str, Any]) -> None:
    assert not known(operator, names, **attributes)


def test_the_deviations_of_a_norm_are_no_tokens() -> None:
    assert known("LayerNormalization", "x v") and not known("LayerNormalization", "x v", outputs=2)


def test_an_operator_of_another_domain_is_another_one() -> None:
    made = helper.make_model(
        helper.make_graph([], "none", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens"])], [])
    )
    facts = Known.of(made.graph, Values.of(made))
    assert facts.tokenwise(helper.make_node("Relu", ["x"], ["y"]))
    assert not facts.tokenwise(helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft"))


def test_what_hangs_on_constants_alone_is_constant_unless_it_is_drawn() -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"]),
        helper.make_node("RandomNormal", [], ["noise"], shape=[6]),
        helper.make_node("RandomNormalLike", ["w"], ["more"]),
        helper.make_node("Add", ["turned", "given"], ["sum"]),
    ]
    weights = [numpy_helper.from_array(np.ones((2, 2), np.float32), name) for name in ("w", "given")]
    given = [helper.make_tensor_value_info("given", TensorProto.FLOAT, [2, 2])]  # its initializer is a default
    model = helper.make_model(helper.make_graph(nodes, "constants", given, [], weights))
    assert Known.of(model.graph, Values.of(model)).constants == {"w", "turned"}


def test_every_rule_has_a_graph_that_it_lets_through() -> None:
    rules = {RULES[operator] for operator, _, _ in APART}
    assert rules == set(RULES.values())
