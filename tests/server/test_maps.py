"""What hangs on lengths alone is lifted out of a graph, and the two together compute what it did."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from headrace.server.maps import split
from headrace.server.steps import Array
from headrace.server.values import SMALL, Values

node, info = helper.make_node, helper.make_tensor_value_info
LENGTHS = np.array([2, 1, 3])
FEED = {"x": np.arange(6, dtype=np.float32), "lengths": LENGTHS}


def model(nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto] = ()) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "maps",
        [info("x", TensorProto.FLOAT, ["tokens"]), info("lengths", TensorProto.INT64, ["rows"])],
        [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0), "zero"), numpy_helper.from_array(np.array([1]), "one"), *constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def ran(of: onnx.ModelProto, feed: dict[str, Array]) -> dict[str, Array]:
    session = ort.InferenceSession(of.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def names(values: Sequence[onnx.ValueInfoProto]) -> list[str]:
    return [value.name for value in values]


FIRST = [node("CumSum", ["lengths", "zero"], ["starts"], exclusive=1), node("Gather", ["x", "starts"], ["y"])]


def test_an_index_map_becomes_a_graph_of_its_own() -> None:
    whole = model(FIRST)
    apart = split(whole, Values.of(whole))
    assert apart.maps is not None and names(apart.model.graph.input) == ["x", "starts"]
    maps = ran(apart.maps, {"lengths": LENGTHS})
    assert {name: cells.tolist() for name, cells in maps.items()} == {"starts": [0, 2, 3]}
    assert ran(apart.model, {"x": FEED["x"]} | maps)["y"].tolist() == ran(whole, FEED)["y"].tolist() == [0, 2, 3]


def test_lengths_stay_where_they_meet_what_is_no_map() -> None:
    nodes = [*FIRST[:1], node("Gather", ["x", "starts"], ["z"]), node("Cast", ["lengths"], ["l"], to=TensorProto.FLOAT)]
    stays = node("Constant", [], ["half"], value=helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]))
    whole = model([*nodes, stays, node("Mul", ["l", "half"], ["m"]), node("Add", ["z", "m"], ["y"])])
    apart = split(whole, Values.of(whole))
    assert apart.maps is not None and sorted(names(apart.maps.graph.output)) == ["m", "starts"]
    maps = ran(apart.maps, {"lengths": LENGTHS})
    assert ran(apart.model, {"x": FEED["x"]} | maps)["y"].tolist() == ran(whole, FEED)["y"].tolist()


def test_an_output_of_the_model_stays_in_it() -> None:
    whole = model([node("Cast", ["lengths"], ["y"], to=TensorProto.FLOAT)])
    apart = split(whole, Values.of(whole))
    assert apart.maps is None and apart.model is whole


def test_what_differs_from_call_to_call_is_never_kept() -> None:
    noise = node("RandomNormalLike", ["l"], ["n"], dtype=TensorProto.FLOAT)
    whole = model([node("Cast", ["lengths"], ["l"], to=TensorProto.FLOAT), noise, node("Neg", ["n"], ["y"])])
    apart = split(whole, Values.of(whole))
    assert apart.maps is not None and names(apart.maps.graph.output) == ["l"]


def test_large_tables_are_not_looked_up_in_a_map() -> None:
    table = numpy_helper.from_array(np.ones(SMALL + 1, np.float32), "table")
    whole = model([node("Gather", ["table", "lengths"], ["t"]), node("Neg", ["t"], ["y"])], [table])
    assert split(whole, Values.of(whole)).maps is None
