"""Which states are taken apart by layer, and which lie whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headrace.server.pieces import pieces, whole
from headrace.server.values import Values
from headrace.spec import State

STATE = State(name="h", input="h", output="h_out", dtype="float32", shape=(3, 2), initial=tuple(range(6)))
node = helper.make_node


def model(nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    constants = {"0": 0, "1": 1, "-1": -1, "[0]": [0], "[0,1]": [0, 1], "[1,2]": [1, 2], "[2,1]": [2, 1], "[2]": [2]}
    constants |= {"axis": [1], "wide": [-1, 2, 2], "thin": [-1, 1, 2]}
    graph = helper.make_graph(
        nodes,
        "layers",
        [info("h", TensorProto.FLOAT, ["rows", 3, 2])],
        [info("h_out", TensorProto.FLOAT, ["rows", 3, 2])],
        [numpy_helper.from_array(np.array(cells, np.int64), name) for name, cells in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def gather(index: str, result: str, axis: int = 1) -> onnx.NodeProto:
    return node("Gather", ["h", index], [result], axis=axis)


def reshape(part: str, shape: str) -> onnx.NodeProto:
    return node("Reshape", [part, shape], [f"{part}_end"])


def concat(*parts: str, axis: int = 1) -> onnx.NodeProto:
    return node("Concat", [f"{part}_end" for part in parts], ["h_out"], axis=axis)


ONE_BY_ONE = [gather("0", "a"), gather("1", "b"), gather("-1", "c")]
ENDS = [reshape(part, "thin") for part in "abc"]
TWO_AND_ONE = [gather("[0,1]", "a"), gather("[2]", "b"), reshape("a", "wide"), reshape("b", "thin")]


def test_layers_one_by_one() -> None:
    found = pieces(STATE, Values.of(model([*ONE_BY_ONE, *ENDS, concat("a", "b", "c")])))
    assert [(p.name, p.shape, p.flat, p.read, p.written) for p in found] == [
        ("h:0", (2,), True, "a", "a_end"),
        ("h:1", (2,), True, "b", "b_end"),
        ("h:2", (2,), True, "c", "c_end"),
    ]
    assert [p.cells().tolist() for p in found] == [[0, 1], [2, 3], [4, 5]]


def test_neighbours_together() -> None:
    found = pieces(STATE, Values.of(model([*TWO_AND_ONE, concat("a", "b")])))
    assert [(p.name, p.shape, p.flat, p.joined) for p in found] == [
        ("h:0", (2, 2), False, (2, 2)),
        ("h:2", (1, 2), False, (1, 2)),
    ]
    assert [p.cells().tolist() for p in found] == [[[0, 1], [2, 3]], [[4, 5]]]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Identity", ["h"], ["h_out"])],
        [*ONE_BY_ONE, node("Neg", ["h"], ["n"]), *ENDS, concat("a", "b", "c")],
        [*ONE_BY_ONE[:2], gather("[2,1]", "c"), *ENDS, concat("a", "b", "c")],
        [*ONE_BY_ONE[:2], gather("[1,2]", "c"), *ENDS, concat("a", "b", "c")],
        [*ONE_BY_ONE[:2], *ENDS[:2], concat("a", "b")],
        [*ONE_BY_ONE[:2], gather("0", "c", axis=2), *ENDS, concat("a", "b", "c")],
        [*ONE_BY_ONE, *ENDS, concat("a", "b", "c", axis=0)],
        [*ONE_BY_ONE, *ENDS, concat("a", "b", "c"), node("Neg", ["h_out"], ["n"])],
        [gather("0", "a"), gather("[1,2]", "b"), reshape("a", "wide"), reshape("b", "thin"), concat("a", "b")],
        [*ONE_BY_ONE, node("Add", ["a", "b"], ["h_out"])],
    ],
    ids=[
        "not taken apart",
        "read whole beside",
        "out of order",
        "a layer twice",
        "a layer never",
        "another axis",
        "joined along another axis",
        "used joined",
        "joined of other sizes than taken apart",
        "not joined",
    ],
)
def test_everything_else_lies_whole(nodes: Sequence[onnx.NodeProto]) -> None:
    assert pieces(STATE, Values.of(model(nodes))) == (whole(STATE),)


def test_a_name_that_an_inner_graph_uses_counts_as_used() -> None:
    inner = helper.make_graph(
        [node("Neg", ["h"], ["n"])], "inner", [], [helper.make_tensor_value_info("n", TensorProto.FLOAT, None)]
    )
    choice = node("If", ["yes"], ["m"], then_branch=inner, else_branch=inner)
    found = pieces(STATE, Values.of(model([*ONE_BY_ONE, choice, *ENDS, concat("a", "b", "c")])))
    assert found == (whole(STATE),)
