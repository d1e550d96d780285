"""Carried states, run further call by call: what ticks give, and nothing of what the batch had read is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace.contract import read_model
from headrace.export.trace import to_onnx
from headrace.server.batch import Batch
from headrace.server.engine import OnnxEngine
from headrace.server.walk import Walk
from headrace.training.models import CharacterModel

from ..export import decoders
from .test_engine import FAMILY, FEATURES, ROWS, Plain, exported

SLOTS = 4 * ROWS
READ, WRITE, SPARE = (np.arange(ROWS) + first for first in (0, ROWS, 2 * ROWS))


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, FEATURES), np.float32)


def batch(seed: int, read: np.ndarray, write: np.ndarray, *, fresh: bool = False) -> Batch:
    """One time step of each row."""
    return Batch((values(seed),), np.ones(ROWS, np.int64), read, write, np.full(ROWS, fresh))


def begun(engine: OnnxEngine) -> Walk:
    """Behind two time steps, the second of which read READ and wrote WRITE."""
    engine.run(batch(0, SPARE, READ, fresh=True))
    engine.run(batch(1, READ, WRITE))
    walk = engine.walk(WRITE, SPARE)
    assert walk is not None
    return walk


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "window"])
def test_a_walk_gives_what_ticks_give(name: str, tmp_path: Path) -> None:
    graph, spec = exported(tmp_path, name)
    engine, plain = OnnxEngine(graph, spec, SLOTS, "CPU"), Plain(graph, spec, SLOTS)
    walk, states = begun(engine), {state.name: engine.arena(state.name)[READ].copy() for state in spec.states}
    plain.run(batch(0, SPARE, READ, fresh=True))
    plain.run(batch(1, READ, WRITE))
    here, there = WRITE, SPARE
    for seed in range(2, 7):
        cells, expected = walk.on(values(seed)), plain.run(batch(seed, here, there))
        assert cells is not None and walk.slots.tolist() == there.tolist()
        for ours, theirs in zip(cells, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        here, there = there, here
    for state, before in states.items():
        np.testing.assert_array_equal(engine.arena(state)[READ], before)
        np.testing.assert_allclose(engine.arena(state)[walk.slots], plain.states[state][here], rtol=1e-6, atol=1e-6)
    assert walk.compute_cpu > 0


def test_what_is_not_finite_leaves_the_state_of_the_call_before(tmp_path: Path) -> None:
    """The state is a window of inputs."""
    graph, spec = exported(tmp_path, "window")
    engine, plain, one = OnnxEngine(graph, spec, 4, "CPU"), Plain(graph, spec, 4), np.ones(1, np.int64)

    def tick(value: float, read: int, write: int) -> Batch:
        return Batch((np.full(1, value, np.float32),), one, one * read, one * write, np.zeros(1, np.bool_))

    first = Batch((np.ones(5, np.float32),), 5 * one, 0 * one, 0 * one, one > 0)
    engine.run(first)
    plain.run(first)
    engine.run(tick(2, 0, 1))
    walk = engine.walk(one, 2 * one)
    assert walk is not None
    cells = walk.on(np.full(1, 3.0))
    before = [each.copy() for each in cells or ()]
    assert before and walk.on(np.full(1, np.nan)) is None and walk.slots.tolist() == [2]
    np.testing.assert_equal(cells, before)
    for value, read, write in ((2, 0, 1), (3, 1, 2)):
        plain.run(tick(value, read, write))
    np.testing.assert_array_equal(engine.run(tick(4, 2, 3)).outputs.cells[0], plain.run(tick(4, 2, 3))[0], strict=True)


def test_what_the_runtime_refuses_ends_a_walk() -> None:
    model = decoders.strained(CharacterModel("abcdef", 4, 8, layers=1))
    spec, two, none = model.describe("lm"), np.ones(2, np.int64), np.zeros(2, np.bool_)
    engine, slots = OnnxEngine(to_onnx(model, spec), spec, 6, "CPU"), np.arange(2)
    first = engine.run(Batch((two,), two, slots, slots, ~none)).outputs.cells[0]
    engine.run(Batch((two,), two, slots, slots + 2, none))
    walk = engine.walk(slots + 2, slots + 4)
    assert walk is not None
    with pytest.raises(Exception, match="indices"):
        walk.on(np.array([1, 1000]))
    assert walk.compute_cpu == 0
    again = engine.run(Batch((two,), two, slots + 2, slots + 4, ~none)).outputs.cells[0]
    np.testing.assert_array_equal(again, first)


def test_a_model_without_states_takes_no_walks(models: Path) -> None:
    graph, spec = read_model(models / "tiny-encoder/1/model.onnx")
    engine, ones = OnnxEngine(graph, spec, SLOTS, "CPU"), np.ones(2, np.int64)
    given = tuple(given.sample(2, np.random.default_rng(0)) for given in spec.inputs)
    engine.run(Batch(given, ones, 0 * ones, 0 * ones, ones < 0))
    assert engine.walk(ones, ones) is None
