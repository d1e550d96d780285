"""A `model.toml` that is wrong of a model's axes is found out before anybody is served."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from headrace.errors import ConfigurationError
from headrace.foreign import Foreign
from headrace.server.engine import OnnxEngine
from headrace.server.foreign import canonical
from headrace.server.rehearsal import COARSE, TOLERANCE, rehearse, tolerance

from .foreign_graphs import ALONE, CELL, CONTEXT, SUM, TIME_FIRST, Stranger

#: Random results differ in a batch, and when they are drawn again.
NOISE = Stranger(
    "noise (float[B, T] x) => (float[B, T] y) { y = RandomNormalLike(x) }",
    {
        "chunk": {"longest": 8},
        "inputs": [{"name": "x", "axes": ["batch", "time"]}],
        "outputs": [{"name": "y", "axes": ["batch", "time"]}],
    },
)


def rehearsed(stranger: Stranger, **changes: Any) -> None:
    model, spec = canonical(stranger.model, Stranger(stranger.graph, {**stranger.given, **changes}).foreign, "stranger")
    rehearse(OnnxEngine(model, spec, 6, "CPU"), spec, rows=spec.chunk.rows or 3)


@pytest.mark.parametrize("stranger", [SUM, TIME_FIRST, CONTEXT, ALONE, CELL, NOISE])
def test_what_is_right_passes(stranger: Stranger) -> None:
    rehearsed(stranger)


def test_a_batch_axis_taken_for_time_is_found_out() -> None:
    outputs = [{"name": "y", "axes": ["time", "batch", 2]}]
    with pytest.raises(ConfigurationError, match="output y: a row has other results in a batch than alone"):
        rehearsed(SUM, outputs=outputs)


def test_results_of_another_shape_are_found_out() -> None:
    with pytest.raises(ConfigurationError, match=r"a first run of Batch\(rows=3, tokens=24\) failed"):
        rehearsed(SUM, outputs=[{"name": "y", "axes": ["batch", "time", 3]}])


def test_rows_that_are_mixed_by_the_model_itself_are_found_out() -> None:
    mixed = Stranger(
        """
        mixed (float[B, T] x) => (float[B, T] y)
        <int64[1] axis = {0}> {
            mean = ReduceMean<axes = [0]>(x)
            y = Sub(x, mean)
        }
        """,
        deepcopy(NOISE.given),
    )
    with pytest.raises(ConfigurationError, match="or the model mixes rows"):
        rehearsed(mixed)


#: y = x + s and s' = y at the end of a row, [rows, time]; what follows spoils one or the other.
KEEPS = {
    "chunk": {"longest": 8},
    "inputs": [{"name": "x", "axes": ["batch", "time"]}],
    "outputs": [{"name": "y", "axes": ["batch", "time"]}],
    "states": [{"name": "s", "input": "s", "output": "s_new", "axes": ["batch", 1]}],
}


def test_a_state_that_runs_on_over_the_padding_is_found_out_in_the_second_step() -> None:
    """The graph takes lengths, and its state is the last column whatever they say."""
    ignores = Stranger(
        """
        ignores (float[B, T] x, float[B, 1] s, int64[B] sizes) => (float[B, T] y, float[B, 1] s_new)
        <int64[1] last = {-1}, int64[1] far = {9223372036854775807}, int64[1] axis = {1}> {
            y = Add(x, s)
            s_new = Slice(y, last, far, axis)
        }
        """,
        {**KEEPS, "lengths": {"tensor": "sizes"}},
    )
    with pytest.raises(ConfigurationError, match=r"in its second step; .* the model does not heed its lengths"):
        rehearsed(ignores)


def test_results_that_run_over_the_padding_are_found_out() -> None:
    """The mean of a row is over its padding too."""
    graph = """
    padded (float[B, T] x, int64[B] sizes) => (float[B, T] y) {
        mean = ReduceMean<axes = [1]>(x)
        y = Sub(x, mean)
    }
    """
    with pytest.raises(ConfigurationError, match=r"than alone; .* the model does not heed its lengths"):
        rehearsed(Stranger(graph, {**NOISE.given, "lengths": {"tensor": "sizes"}}))


@pytest.mark.parametrize("chunk", [{"exactly": 1}, {"exactly": 4, "padded_end": True}, {"longest": 8}])
def test_rows_that_mix_in_their_states_are_found_out(chunk: dict[str, Any]) -> None:
    mixes = Stranger(
        """
        mixes (float[B, T] x, float[B, 1] s) => (float[B, T] y, float[B, 1] s_new)
        <int64[1] last = {-1}, int64[1] far = {9223372036854775807}, int64[1] axis = {1}> {
            y = Add(x, s)
            end = Slice(y, last, far, axis)
            mean = ReduceMean<axes = [0]>(end)
            s_new = Sub(end, mean)
        }
        """,
        {**KEEPS, "chunk": chunk},
    )
    with pytest.raises(ConfigurationError, match=r"output y: a row has other results .* in its second step"):
        rehearsed(mixes)


#: y = x less the mean of all rows, in a first column; the second one is always the same.
BESIDE = """
beside (float[B, T, 1] x) => (float[B, T, 2] y)
<float[1, 1, 1] one = {-1000000000}, float[1] zero = {0}> {
    mean = ReduceMean<axes = [0]>(x)
    first = Sub(x, mean)
    nothing = Mul(x, zero)
    second = %s
    y = Concat<axis = 2>(first, second)
}
"""


@pytest.mark.parametrize("second", ["Add(nothing, one)", "Div(one, nothing)", "Div(nothing, nothing)", "Abs(nothing)"])
def test_nothing_in_one_column_hides_what_is_wrong_in_another(second: str) -> None:
    """A large number, infinities, NaN, zeros."""
    given = {**NOISE.given, "inputs": [{"name": "x", "axes": ["batch", "time", 1]}]}
    given["outputs"] = [{"name": "y", "axes": ["batch", "time", 2]}]
    with pytest.raises(ConfigurationError, match="or the model mixes rows"):
        rehearsed(Stranger(BESIDE % second, given))


@pytest.mark.parametrize("operator", ["Log", "Sqrt"])
def test_rows_that_mix_in_where_their_results_are_no_numbers_are_found_out(operator: str) -> None:
    """Alone, less is zero: its logarithm less itself is NaN in all cells, and its root in none."""
    graph = f"""
    where (float[B, T] x) => (float[B, T] y) {{
        mean = ReduceMean<axes = [0]>(x)
        less = Sub(x, mean)
        some = {operator}(less)
        nothing = Sub(some, some)
        y = Add(nothing, x)
    }}
    """
    with pytest.raises(ConfigurationError, match="or the model mixes rows"):
        rehearsed(Stranger(graph, NOISE.given))


def test_results_that_random_values_make_no_numbers_are_none_against_a_model() -> None:
    """Products in another order in a batch than alone: the last bits differ, and the logarithms of half are NaN."""
    weights = ", ".join(f"{number:.6f}" for number in np.random.default_rng(0).standard_normal(64 * 64))
    graph = f"""
    logarithm (float[B, T, 64] x) => (float[B, 64] y)
    <float[64, 64] w = {{{weights}}}> {{
        mean = ReduceMean<axes = [1], keepdims = 0>(x)
        product = MatMul(mean, w)
        y = Log(product)
    }}
    """
    given = {**NOISE.given, "inputs": [{"name": "x", "axes": ["batch", "time", 64]}]}
    rehearsed(Stranger(graph, {**given, "outputs": [{"name": "y", "axes": ["batch", 64]}]}))


#: The mean over a window of 4 steps, of each row by itself and its lengths: one time step is too few for it.
WINDOW = Stranger(
    """
    window (float[B, T] x, int64[B] sizes) => (float[B] y)
    <int64[1] axis = {1}, int64[1] begin = {0}, int64[1] end = {2}> {
        row = Unsqueeze(x, axis)
        means = AveragePool<kernel_shape = [2]>(row)
        flat = Squeeze(means, axis)
        first = Slice(flat, begin, axis, axis)
        y = Squeeze(first, axis)
    }
    """,
    {
        "chunk": {"longest": 9},
        "inputs": [{"name": "x", "axes": ["batch", "time"]}],
        "outputs": [{"name": "y", "axes": ["batch"]}],
        "lengths": {"tensor": "sizes"},
    },
)


def test_a_model_that_cannot_take_a_single_time_step_is_rehearsed_with_more() -> None:
    rehearsed(WINDOW)


def test_models_in_eight_bits_and_half_precision_may_be_further_off() -> None:
    scaled = "scaled (float[B, T] x) => (uint8[B, T] y, float s, uint8 z) { y, s, z = DynamicQuantizeLinear(x) }"
    assert tolerance(Stranger(scaled, {}).model) == COARSE
    half = "half (float16[B, T] x) => (float16[B, T] y) <float16 w = {2}> { y = Mul(x, w) }"
    assert tolerance(Stranger(half, {}).model) == COARSE
    assert tolerance(SUM.model) == TOLERANCE


def test_sparse_weights_of_a_model_with_states_are_kept() -> None:
    graph = """
    sparse (float[B, T] x, float[B, 1] s) => (float[B, T] y, float[B, 1] s_new)
    <int64[1] last = {-1}, int64[1] far = {9223372036854775807}, int64[1] axis = {1}> {
        moved = Add(x, w)
        y = Add(moved, s)
        s_new = Slice(y, last, far, axis)
    }
    """
    model = Stranger(graph, KEEPS).model
    cells, places = np.array([3], np.float32), np.array([0], np.int64)
    tensors = numpy_helper.from_array(cells, "w"), numpy_helper.from_array(places)
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(*tensors, [1]))
    rewritten, spec = canonical(model, Foreign.of(KEEPS), "sparse")
    rehearse(OnnxEngine(rewritten, spec, 2, "CPU"), spec, rows=1)
