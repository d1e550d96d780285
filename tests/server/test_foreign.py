"""Every rule of `model.toml`, on a graph that needs it: the rewritten graph gives what the stranger's would."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from headrace.errors import ConfigurationError
from headrace.foreign import Foreign
from headrace.server.foreign import canonical
from headrace.spec import Chunk

from .foreign_graphs import ALONE, CELL, CONTEXT, SUM, TIME_FIRST, Runner, Stranger, spec_of

RNG = np.random.default_rng(0)


def test_a_state_with_its_batch_axis_behind_streams_rows_of_equal_length() -> None:
    x = RNG.standard_normal((3, 6, 2)).astype(np.float32)  # [rows, time, features]
    runner = Runner(SUM, rows=3)
    first, second = runner.step(list(x[:, :4]))["y"], runner.step(list(x[:, 4:]))["y"]
    y = np.concatenate([first.reshape(3, 4, 2), second.reshape(3, 2, 2)], axis=1)
    np.testing.assert_allclose(y, np.array([1, 2]) + np.cumsum(x, axis=1), rtol=1e-5)
    assert runner.spec.chunk == Chunk(longest=8, equal_lengths=True)
    (state,) = runner.spec.states
    assert (state.shape, state.initial) == ((1, 2), (1.0, 2.0))


def test_rows_of_different_lengths_are_padded_inside_and_told_by_a_tensor_of_its_own_name_dtype_and_axes() -> None:
    rows = [RNG.standard_normal(n).astype(np.float32) for n in (3, 1, 5)]
    runner = Runner(TIME_FIRST, rows=3)
    results = runner.step(rows)
    totals = [row.sum() + len(row) for row in rows]
    np.testing.assert_allclose(results["total"], totals, rtol=1e-5)
    np.testing.assert_allclose(
        results["y"], np.concatenate([row + total for row, total in zip(rows, totals, strict=True)]), rtol=1e-5
    )
    assert runner.spec.chunk == Chunk(longest=8, whole=True)


@pytest.mark.parametrize(("axes", "declared"), [(["batch", 1], "[B, 1]"), ([1, "batch"], "[1, B]")])
def test_lengths_may_have_an_axis_of_one(axes: list[str | int], declared: str) -> None:
    given = {**TIME_FIRST.given, "lengths": {"tensor": "sizes", "axes": axes}}
    flat = "flat = Reshape(sizes, all)\n many = Cast<to = 1>(flat)"
    graph = TIME_FIRST.graph.replace("int32[B]", f"int32{declared}").replace("many = Cast<to = 1>(sizes)", flat)
    runner = Runner(Stranger(graph.replace("<int64[1] axis", "<int64[1] all = {-1}, int64[1] axis"), given), rows=2)
    assert runner.step([[1.0, 1.0], [5.0]])["total"].tolist() == [4, 6]


def test_exact_chunks_with_context_a_constant_and_a_padded_end() -> None:
    a, b = np.arange(1.0, 12.0), np.arange(101.0, 112.0)  # 11 time steps
    runner = Runner(CONTEXT, rows=2)
    assert runner.step([a[:4], b[:4]])["y"].tolist() == [[100], [4100]]  # zeros are the first context
    assert runner.step([a[4:8], b[4:6]])["y"].tolist() == [[10 * (3 + 4 + 26)], [10 * (103 + 104 + 105 + 106)]]
    assert runner.states["x.context.before"][0].tolist() == [7, 8]
    assert runner.spec.chunk == Chunk(longest=4, exactly=4, padded_end=True)
    assert [(s.name, s.shape) for s in runner.spec.states] == [("x.context", (2,))]
    assert runner.spec.outputs[0].shape == (1,)  # whatever the graph declares


def test_outputs_of_a_padded_end_have_its_real_length() -> None:
    given = deepcopy(SUM.given) | {"chunk": {"exactly": 4, "padded_end": True}}
    runner = Runner(Stranger(SUM.graph, given), rows=2)
    y = runner.step([np.ones((4, 2)), np.ones((2, 2))])["y"]
    assert y[:, 0].tolist() == [2, 3, 4, 5, 2, 3]


def test_time_as_the_only_axis_makes_batches_of_one_row() -> None:
    runner = Runner(ALONE, rows=1)
    assert runner.step([[1.0, 2.0]])["y"].tolist() == [4, 5]
    assert runner.step([[1.0]])["y"].tolist() == [5]
    assert runner.spec.chunk == Chunk(longest=8, rows=1)
    assert runner.spec.states[0].shape == (3,)


def test_one_step_without_time_axis_of_a_fixed_batch_in_an_old_opset() -> None:
    runner = Runner(CELL, rows=1)
    assert runner.step([[3]])["value"].tolist() == [[3, 3]]
    assert runner.step([[4]])["value"].tolist() == [[7, 7]]
    assert runner.spec.chunk == Chunk(longest=1, exactly=1, rows=1)
    assert (runner.spec.inputs[0].dtype, runner.spec.inputs[0].vocabulary) == ("int32", 9)


def test_weights_that_old_files_also_list_as_inputs_are_none() -> None:
    model = SUM.model
    model.graph.input.append(helper.make_tensor_value_info("one", onnx.TensorProto.INT64, []))
    rewritten, spec = canonical(model, SUM.foreign, "sum")
    assert [i.name for i in rewritten.graph.input] == [i.name for i in spec.graph_inputs]


@pytest.mark.parametrize(("value", "declared"), [(10, "int64[1]"), ([4, 6], "int64[2]"), ([[10]], None)])
def test_a_constant_fits_the_shape_that_the_graph_declares(value: Any, declared: str | None) -> None:
    given = {**CONTEXT.given, "constants": [{"tensor": "rate", "value": value}]}
    if declared is None:
        with pytest.raises(ConfigurationError, match=r"constants\.0\.value: needs a number"):
            Foreign.of(given)
        return
    graph = CONTEXT.graph.replace("int64 rate", f"{declared} rate")
    graph = graph.replace("factor = Cast<to = 1>(rate)", "all = ReduceSum(rate)\n factor = Cast<to = 1>(all)")
    assert Runner(Stranger(graph, given), 1).step([[1.0, 1.0, 1.0, 1.0]])["y"].item() == 40


@pytest.mark.parametrize(
    ("value", "declared"),
    [(3.7, "int64"), (7, "bool"), (1e30, "float16"), (99999999999, "int32"), (2**63, "int64")]
    + [(value, "int64") for value in (float("nan"), float("inf"), [1, 0.5])],
)
def test_a_constant_that_its_dtype_does_not_hold_is_refused(value: Any, declared: str) -> None:
    given = {**CONTEXT.given, "constants": [{"tensor": "rate", "value": value}]}
    shape = "[2]" if isinstance(value, list) else ""
    with pytest.raises(ConfigurationError, match=f"constant rate: {declared} does not hold "):
        spec_of(Stranger(CONTEXT.graph.replace("int64 rate", f"{declared}{shape} rate"), given))


def test_the_model_itself_is_never_changed() -> None:
    model = SUM.model
    before = model.SerializeToString()
    canonical(model, SUM.foreign, "sum")
    assert model.SerializeToString() == before


def test_names_of_the_graph_may_be_anything() -> None:
    graph = SUM.graph
    for theirs, ours in (("along", "tokens"), ("before", "lengths"), ("end", "rows")):
        graph = graph.replace(theirs, ours)
    assert Runner(Stranger(graph, SUM.given), 1).step([np.ones((1, 2))])["y"].tolist() == [[2, 3]]


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    given = {
        "chunk": {"exactly": 3},
        "inputs": [
            {"name": "x", "axes": ["batch", "time"], "context": 1},
            {"name": "z", "axes": ["batch", "time"]},
        ],
        "outputs": [{"name": "x", "tensor": "q", "axes": ["batch", 4], "labels": ["a"]}],
        "states": [{"name": "h", "input": "h", "output": "n", "axes": [2, "batch"]}],
        "constants": [{"tensor": "c", "value": [1, 2]}],
    }
    graph = """
    wrong (float[4, 5] x, float[3, B] h, float[3] c, complex64[1] w, float left) => (float[1] y, int64[1] n) {
        y = Identity(c)
        n = Cast<to = 7>(y)
    }
    """
    with pytest.raises(ConfigurationError) as caught:
        spec_of(Stranger(graph, given))
    for word in (
        "input x: the graph fixes its batch axis at 4",
        "input x: the graph fixes its time axis at 5; chunk.exactly and its context must add up to that, not to 4",
        "input z: the graph has no input z, it has x, h, c, w, left",
        "output x: the graph has no output q, it has y, n",
        "x: an input and an output need different names",
        "output x: 1 labels do not fit axes [batch, 4]",
        "state h: axes [2, batch] do not fit h, which is float32 [3, B]",
        "state h: h is float32 [3, B], but n is int64 [1]",
        "constant c: 2 cells do not fit float32 [3]",
        "the graph's input w (complex64 [1]) is in none of",
        "the graph's input left (float32 []) is in none of",
    ):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("stranger", "change", "message"),
    [
        (SUM, {"outputs": [{"name": "y", "axes": ["time", 2]}]}, "output y: no batch axis, while others have one"),
        (ALONE, {"chunk": {"longest": 8, "rows": 4}}, "chunk.rows is 4, but input x has no batch axis"),
        (SUM, {"inputs": [{"name": "x", "axes": ["batch", 2, 2]}]}, "input x: axes need a time axis"),
        (
            TIME_FIRST,
            {"inputs": [{"name": "x", "axes": ["time", "batch"], "context": 1}]},
            "input x: context and lengths do not go together",
        ),
        (SUM, {"states": [{**SUM.given["states"][0], "initial": [1.0]}]}, "initial has 1 cells, not the 2"),
        (CELL, {"inputs": [{"name": "lengths", "axes": ["batch"]}]}, "lengths: the name is taken"),
        (SUM, {"states": [{**SUM.given["states"][0], "initial": [1e39, 0.0]}]}, "float32 does not hold its initial"),
        (SUM, {"states": [{**SUM.given["states"][0], "initial": "8"}]}, "initial: needs a number"),
        (SUM, {"states": [{**SUM.given["states"][0], "initial": 2**53 + 1}]}, "whole numbers beyond 2**53 are rounded"),
        (SUM, {"states": [SUM.given["states"][0]] * 2}, "output h_new is the next value of 2 states"),
        (
            SUM,
            {"outputs": [{"name": "h.before", "tensor": "y", "axes": ["batch", "time", 2]}]},
            "h.before: the name is",
        ),
        (SUM, {"outputs": [{"name": "h.after", "tensor": "y", "axes": ["batch", "time", 2]}]}, "h.after: the name is"),
        (
            CONTEXT,
            {"outputs": [{"name": "x.context.after", "tensor": "y", "axes": ["batch", 1]}]},
            "the name is that of",
        ),
        (SUM, {"inputs": [{**SUM.given["inputs"][0], "vocabulary": 9}]}, "which holds no token ids up to 8"),
        (CELL, {"inputs": [{**CELL.given["inputs"][0], "vocabulary": 2**31 + 1}]}, "no token ids up to 2147483648"),
        (
            CELL,
            {"inputs": [{**CELL.given["inputs"][0], "vocabulary": True}]},
            "vocabulary: Input should be a valid int",
        ),
        (SUM, {"chunk": {"longest": True}}, "longest: Input should be a valid integer"),
        (SUM, {"chunk": {"longest": "8"}}, "longest: Input should be a valid integer"),
        (SUM, {"chunk": {"longest": 10**23}}, "longest: Input should be less than"),
        (SUM, {"chunk": {"exactly": 10**12}}, "exactly: Input should be less than"),
        (SUM, {"chunk": {"exactly": 8, "padded_end": 1}}, "padded_end: Input should be a valid boolean"),
        (SUM, {"inputs": [{**SUM.given["inputs"][0], "context": 10**12}]}, "context: Input should be less than"),
        (SUM, {"name": "no name"}, "name: String should match"),
        (SUM, {"states": [{**SUM.given["states"][0], "axes": ["time", 2]}]}, "no time axis"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(stranger: Stranger, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        spec_of(Stranger(stranger.graph, {**stranger.given, **change}))
    assert message in str(caught.value)


#: y = x + w, by a branch that sees a weight of the graph around it.
BRANCH = """
branch (float[B, T] x) => (float[B, T] y)
<float w = {2}, float big = {1000000}> {
    sum = ReduceSum<keepdims = 0>(x)
    large = Greater(sum, big)
    y = If (large) <
        then_branch = g1 () => (float[B, T] a) { a = Mul(x, w) },
        else_branch = g2 () => (float[B, T] b) { b = Add(x, w) }
    >
}
"""


def test_branches_see_the_weights_of_the_graph_around_them() -> None:
    given = {**ALONE.given, "states": [], "inputs": [{"name": "x", "axes": ["batch", "time"]}]}
    given["outputs"] = [{"name": "y", "axes": ["batch", "time"]}]
    assert Runner(Stranger(BRANCH, given), 1).step([[1.0, 2.0]])["y"].tolist() == [3, 4]
