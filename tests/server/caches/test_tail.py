"""A graph whose tail runs for some tokens gives what the whole gives for them, however much of it is in the tail."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from headrace.server.caches.kinds import Layout, layout
from headrace.server.caches.rewrite import ASKED_ALONE, rewritten
from headrace.server.caches.tail import ASKED, shorten
from headrace.spec import ModelSpec, Output

from ...export.decoders import decoder, decoder_graph, translator, translator_graph
from .graphs import Case

NONE = Layout((), (), ())
X = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
make = helper.make_node

#: Of x [tokens, 4], "mixed" of which is a running sum; "y" comes of it.
GRAPHS = {
    "behind": [make("Relu", ["mixed"], ["r"]), make("Add", ["r", "x"], ["y"])],
    "mixes again": [make("Relu", ["mixed"], ["r"]), make("CumSum", ["r", "0"], ["s"]), make("Neg", ["s"], ["y"])],
    "mixes in the end": [make("Relu", ["mixed"], ["r"]), make("CumSum", ["r", "0"], ["y"])],
    "softmax over tokens": [make("Softmax", ["mixed"], ["s"], axis=0), make("Mul", ["s", "x"], ["y"])],
    "is used before": [make("Neg", ["mixed"], ["y"]), make("CumSum", ["y", "0"], ["n"]), make("Abs", ["n"], ["y2"])],
    "two outputs": [make("Neg", ["mixed"], ["y"]), make("Abs", ["y"], ["y2"])],
    "for rows as well": [
        make("Neg", ["mixed"], ["y"]),
        make("Exp", ["mixed"], ["e"]),
        make("ReduceSum", ["e", "axis"], ["all"]),
    ],
}
TAILS = {
    "behind": ["Relu", "Add"],
    "mixes again": ["Neg"],
    "mixes in the end": [],
    "softmax over tokens": ["Mul"],
    "is used before": ["Abs"],
    "two outputs": ["Neg", "Abs"],
    "for rows as well": ["Neg"],
}


def graph(nodes: list[onnx.NodeProto]) -> tuple[onnx.ModelProto, list[Output]]:
    made = {name for node in nodes for name in node.output}
    timed = [Output(name=name, dtype="float32", shape=(4,), time=True) for name in ("y", "y2") if name in made]
    whole = [Output(name="all", dtype="float32", shape=(4,), time=False)] if "all" in made else []
    real = TensorProto.FLOAT
    outputs = [helper.make_tensor_value_info(o.name, real, ["tokens", 4] if o.time else [1, 4]) for o in timed + whole]
    constants = [numpy_helper.from_array(np.array(0), "0"), numpy_helper.from_array(np.array([0]), "axis")]
    running = [make("CumSum", ["x", "0"], ["mixed"])]
    x = helper.make_tensor_value_info("x", real, ["tokens", 4])
    model = helper.make_model(
        helper.make_graph(running + nodes, "one", [x], outputs, constants),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    return model, timed + whole


def shortened(model: onnx.ModelProto, of: Layout, outputs: Sequence[Output]) -> onnx.ModelProto:
    """A copy."""
    short = onnx.ModelProto()
    short.CopyFrom(model)
    shorten(short, of, outputs)
    return short


def tail(model: onnx.ModelProto) -> list[str]:
    """The operators behind the last one that gathers."""
    operators = [node.op_type for node in model.graph.node]
    last = max(at for at, node in enumerate(model.graph.node) if ASKED in node.input)
    return operators[last + 1 :]


def run(model: onnx.ModelProto, **feed: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


@pytest.mark.parametrize("asked", [[3], [0, 6], [6, 2, 2], list(range(7))], ids=str)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_shorter_graph_gives_the_same_for_the_tokens_that_are_asked_for(name: str, asked: list[int]) -> None:
    model, outputs = graph(GRAPHS[name])
    short = shortened(model, NONE, outputs)
    onnx.checker.check_model(short)
    whole, some = run(model, x=X), run(short, x=X, **{ASKED: np.array(asked)})
    for output in outputs:
        want = whole[output.name][asked] if output.time else whole[output.name]
        np.testing.assert_allclose(some[output.name], want, rtol=1e-6)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_tail_ends_where_tokens_mix(name: str) -> None:
    model, outputs = graph(GRAPHS[name])
    assert tail(shortened(model, NONE, outputs)) == TAILS[name]


def test_an_output_that_an_inner_graph_takes_is_whole_there() -> None:
    """y is asked of some tokens, and its sum in a branch is that of all."""
    added = helper.make_graph(
        [make("ReduceSum", ["y", "axis"], ["sum"])],
        "sum",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 4])],
    )
    model, outputs = graph(
        [make("Neg", ["mixed"], ["y"]), make("If", ["true"], ["all"], then_branch=added, else_branch=added)]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    found = run(shortened(model, NONE, outputs), x=X, **{ASKED: np.array([2])})
    want = -np.cumsum(X, axis=0)
    np.testing.assert_allclose(found["y"], want[2:3], rtol=1e-5)
    np.testing.assert_allclose(found["all"], want.sum(0, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "model", "ends"),
    [
        (decoder().describe("decoder"), decoder_graph(), 8),
        (translator().describe("translator"), translator_graph(), 8),
        (Case(fed=True).spec, Case(fed=True).graph(), 2),
    ],
    ids=["decoder", "translator", "case"],
)
def test_all_behind_the_last_attention_is_in_the_tail(spec: ModelSpec, model: onnx.ModelProto, ends: int) -> None:
    """Projection, sum, norm, the two layers of the feed-forward part, sum, norm, head; its activation apart."""
    of = layout(spec, mmap.PAGESIZE)
    short = shortened(model, of, spec.outputs)
    assert len([operator for operator in tail(short) if operator != "Gelu"]) == ends
    onnx.checker.check_model(rewritten(short, of))


def asked_alone(model: onnx.ModelProto) -> list[str]:
    """The outputs of attention nodes that are asked for no more than the tail is."""
    return [n.output[0] for n in model.graph.node if any(each.name == ASKED_ALONE for each in n.attribute)]


def test_the_last_attention_looks_back_from_what_is_asked_for_alone() -> None:
    model, spec = decoder_graph(), decoder().describe("decoder")
    nodes = [node.output[0] for node in model.graph.node if node.op_type == "CachedAttention"]
    assert asked_alone(shortened(model, layout(spec, mmap.PAGESIZE), spec.outputs)) == nodes[-1:]


def test_an_attention_that_is_an_output_itself_looks_back_from_what_is_asked_for_alone() -> None:
    model, spec = Case().graph(), Case().spec
    assert asked_alone(shortened(model, layout(spec, mmap.PAGESIZE), spec.outputs)) == ["y"]


@pytest.mark.parametrize(("further", "alone"), [("Neg", ["y"]), ("CumSum", [])])
def test_an_attention_whose_tokens_are_mixed_behind_it_looks_back_from_all(further: str, alone: list[str]) -> None:
    case = Case()
    model, z = case.graph(), case.spec.outputs[0].model_copy(update={"name": "z"})
    model.graph.node.append(make(further, ["y", "0"] if further == "CumSum" else ["y"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["tokens", *z.shape]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0), "0"))
    assert asked_alone(shortened(model, layout(case.spec, mmap.PAGESIZE), [*case.spec.outputs, z])) == alone
