"""Arenas inside the graph, and files that do not hold what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headrace.contract import ELEMENTS
from headrace.errors import ModelFailed
from headrace.server.batch import Batch
from headrace.server.engine import OnnxEngine
from headrace.server.graph import with_arenas
from headrace.spec import METADATA_KEY, Chunk, Dtype, Input, ModelSpec, Output, State

SPEC = ModelSpec(
    name="sum",
    inputs=(Input(name="x", dtype="float32", shape=(2,)),),
    outputs=(Output(name="y", dtype="float32", shape=(2,), time=True),),
    states=(
        State(name="s", input="s", output="s_out", dtype="float32", shape=(2,), initial=(1.0, 2.0)),
        State(name="n", input="n", output="n_out", dtype="int64", shape=(1,)),
    ),
    chunk=Chunk(longest=1),
)


def sum_model(spec: ModelSpec = SPEC) -> onnx.ModelProto:
    """For chunks of one step: s' = s + x, n' = n + 1, y = s'."""
    info, kinds = helper.make_tensor_value_info, (TensorProto.FLOAT, TensorProto.INT64)
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["s", "x"], ["s_out"]),
            helper.make_node("Unsqueeze", ["lengths", "one"], ["column"]),
            helper.make_node("Add", ["n", "column"], ["n_out"]),
            helper.make_node("Identity", ["s_out"], ["y"]),
        ],
        "sum",
        [
            info("x", kinds[0], ["tokens", 2]),
            info("lengths", kinds[1], ["rows"]),
            info("s", kinds[0], ["rows", 2]),
            info("n", kinds[1], ["rows", 1]),
        ],
        [
            info("y", kinds[0], ["tokens", 2]),
            info("s_out", kinds[0], ["rows", 2]),
            info("n_out", kinds[1], ["rows", 1]),
        ],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    return model


def batch(values: list[list[float]], read: list[int], write: list[int], fresh: list[bool]) -> Batch:
    rows = np.ones(len(values), np.int64)
    return Batch((np.array(values, np.float32),), rows, np.array(read), np.array(write), np.array(fresh))


def saved(tmp_path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_state_moves_from_the_read_to_the_written_slot_and_others_stay() -> None:
    engine = OnnxEngine(sum_model(), SPEC, 6, "CPU")
    first = engine.run(batch([[1, 1], [5, 5]], [0, 0], [3, 1], [True, True]))
    assert first.outputs.cells[0].tolist() == [[2, 3], [6, 7]] and first.sound.all()
    second = engine.run(batch([[1, 1], [1, 1]], [1, 3], [5, 4], [False, False]))
    assert second.outputs.cells[0].tolist() == [[7, 8], [3, 4]]
    again = engine.run(batch([[0, 0], [0, 0]], [1, 3], [0, 2], [False, False]))  # what was read is still there
    assert again.outputs.cells[0].tolist() == [[6, 7], [2, 3]]
    assert engine.arena("n")[:6, 0].tolist() == [2, 1, 2, 1, 2, 2]


def test_arenas_are_written_in_place() -> None:
    engine = OnnxEngine(sum_model(), SPEC, 4, "CPU")
    before = engine.arena("s")
    engine.run(batch([[1, 1]], [0], [2], [True]))
    assert before[2].tolist() == [2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_whose_new_state_is_not_finite_are_told_apart(bad: float) -> None:
    engine = OnnxEngine(sum_model(), SPEC, 4, "CPU")
    outcome = engine.run(batch([[1, 1], [bad, 1]], [0, 0], [1, 2], [True, True]))
    assert outcome.sound.tolist() == [True, False]


def test_large_cells_are_finite_though_their_sum_is_not() -> None:
    engine = OnnxEngine(sum_model(), SPEC, 4, "CPU")
    outcome = engine.run(batch([[3e38, 3e38], [np.inf, 1], [1, 1]], [0, 0, 0], [1, 2, 3], [True, True, True]))
    assert outcome.sound.tolist() == [True, False, True]


def test_a_batch_that_the_runtime_refuses_is_a_typed_error() -> None:
    engine = OnnxEngine(sum_model(), SPEC, 4, "CPU")
    with pytest.raises(ModelFailed, match="refused"):
        engine.run(batch([[1, 1]], [99], [1], [False]))
    assert engine.run(batch([[1, 1]], [0], [1], [True])).sound.all()


def test_placement_names_every_node() -> None:
    assert "CPU: " in OnnxEngine(sum_model(), SPEC, 4, "CPU").placement()


def test_wrapping_is_valid_onnx() -> None:
    wrapped = with_arenas(sum_model(), SPEC)
    onnx.checker.check_model(wrapped.model, full_check=True)
    assert wrapped.maps is not None
    onnx.checker.check_model(wrapped.maps, full_check=True)


@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_a_state_of_any_dtype_begins_at_its_initial_value_moves_and_is_watched(dtype: Dtype) -> None:
    state = State(name="s", input="s", output="s_out", dtype=dtype, shape=(2,), initial=(1.0, 0.0))
    output = Output(name="y", dtype=dtype, shape=(2,), time=False)
    x = Input(name="x", dtype=dtype, shape=(2,))
    spec = ModelSpec(name="copy", inputs=(x,), outputs=(output,), states=(state,), chunk=Chunk(longest=1))
    info, element = helper.make_tensor_value_info, ELEMENTS[dtype]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["y"]), helper.make_node("Identity", ["x"], ["s_out"])],
        "copy",
        [
            info("x", element, ["tokens", 2]),
            info("lengths", TensorProto.INT64, ["rows"]),
            info("s", element, ["rows", 2]),
        ],
        [info("y", element, ["rows", 2]), info("s_out", element, ["rows", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    engine, one = OnnxEngine(model, spec, 3, "CPU"), np.ones(1, np.int64)
    most = np.array([[0, np.finfo(dtype).max if np.dtype(dtype).kind == "f" else True]], dtype)
    first = engine.run(Batch((most,), one, one * 0, one, one.astype(np.bool_)))
    assert first.outputs.cells[0].tolist() == [[1, 0]] and first.sound.all()
    second = engine.run(Batch((most,), one, one, one * 2, (one * 0).astype(np.bool_)))
    assert second.outputs.cells[0].tolist() == most.tolist()
    if np.dtype(dtype).kind == "f":
        endless = np.array([[0, np.inf]], dtype)
        assert not engine.run(Batch((endless,), one, one, one * 2, (one * 0).astype(np.bool_))).sound.any()
