"""A `model.toml` that is wrong of a model's axes is found out before anybody is served."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.server.engine import OnnxEngine
from headrace.server.foreign import canonical
from headrace.server.rehearsal import rehearse

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
    rehearse(OnnxEngine(model, spec, 3, "CPU"), spec, rows=spec.chunk.rows or 3)


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
