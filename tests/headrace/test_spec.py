"""A spec says nothing that cannot be, and comes back from its JSON as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from headrace.errors import ConfigurationError
from headrace.spec import FILLED, PAST, Cache, Chunk, Generation, Input, ModelSpec, Output, Start, State

X = Input(name="x", dtype="float32", shape=(2,))
Y = Output(name="y", dtype="float32", time=True)
H = State(name="h", input="h", output="h_out", dtype="float32", shape=(1, 3))
KEPT, READ = Cache(name="layer0", heads=2, width=4), Cache(name="cross0", heads=2, width=4, filled=True)
TOKENS_IN = Input(name="ids", dtype="int64", vocabulary=9)
LOGITS = Output(name="y", dtype="float32", shape=(9,), time=True)
START = Start(inputs=(Input(name="source", dtype="int64", vocabulary=5),), longest=7)


def spec(**changes: Any) -> ModelSpec:
    plain = {"name": "m", "inputs": (X,), "outputs": (Y,), "states": (H,), "chunk": Chunk(longest=9)}
    return ModelSpec.model_validate({**plain, **changes})


def test_json_and_back() -> None:
    assert ModelSpec.from_json(spec().to_json()) == spec()


def test_an_infinite_first_value_comes_back_from_json() -> None:
    maximum = spec(states=(H.model_copy(update={"initial": float("-inf")}),))
    assert ModelSpec.from_json(maximum.to_json()) == maximum


def test_every_wrong_field_is_named() -> None:
    wrong = json.loads(spec().to_json()) | {"name": "a b", "chunk": {"longest": 0}, "colour": "red"}
    with pytest.raises(ConfigurationError) as caught:
        ModelSpec.from_json(json.dumps(wrong))
    assert all(field in str(caught.value) for field in ("name:", "chunk.longest:", "colour:"))


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": (X, X)},
        {"inputs": (Input(name="lengths", dtype="float32"),)},
        {"inputs": (Input(name="h", dtype="float32"),)},
        {"outputs": (Output(name="h_out", dtype="float32", time=True),)},
        {"states": (H, H.model_copy(update={"input": "g", "output": "g_out"}))},
    ],
)
def test_names_that_collide_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="names must differ"):
        spec(**changes)


def test_the_graph_has_what_the_spec_says_in_its_order() -> None:
    assert [str(t) for t in spec().graph_inputs] == ["float32 [tokens, 2]", "int64 [rows]", "float32 [rows, 1, 3]"]
    assert [t.name for t in spec().graph_inputs] == ["x", "lengths", "h"]
    assert [t.name for t in spec().graph_outputs] == ["y", "h_out"]


def test_a_state_begins_where_it_says() -> None:
    assert H.cells().tolist() == [[0, 0, 0]]
    learned = State(name="h", input="h", output="h_out", dtype="float32", shape=(2, 1), initial=(1.5, 2.5))
    assert learned.cells().tolist() == [[1.5], [2.5]] and learned.cells().dtype == np.float32
    counted = State(name="n", input="n", output="n_out", dtype="int64", shape=(), initial=3)
    assert counted.cells().dtype == np.int64 and counted.cells() == 3
    with pytest.raises(ValidationError, match="2 cells, not the 3"):
        State(name="h", input="h", output="h_out", dtype="float32", shape=(3,), initial=(1, 2))


def test_samples_are_what_the_model_takes() -> None:
    rng = np.random.default_rng(0)
    ids = Input(name="ids", dtype="int64", vocabulary=3).sample(100, rng)
    assert ids.shape == (100,) and set(ids.tolist()) == {0, 1, 2}
    assert X.sample(4, rng).shape == (4, 2) and X.sample(4, rng).dtype == np.float32


def test_the_summary_names_inputs_and_outputs() -> None:
    assert spec().summary() == "stateful  x [time, 2] -> y [time]"


@pytest.mark.parametrize(
    ("given", "message"),
    [({"longest": 4, "exactly": 5}, "differ"), ({"longest": 4, "padded_end": True}, "give exactly")],
)
def test_rules_of_chunks_that_contradict_each_other_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Chunk(**given)


def test_caches_are_counted_by_the_graph_and_are_no_tensors_of_it() -> None:
    made = spec(caches=(KEPT, READ), longest=30, start=START)
    assert [t.name for t in made.graph_inputs] == ["x", "lengths", PAST, FILLED, "h"]
    assert [t.name for t in made.graph_outputs] == [t.name for t in spec().graph_outputs]
    assert made.stateful and spec(states=(), caches=(KEPT,), longest=30).stateful
    assert ModelSpec.from_json(made.to_json()) == made


def test_a_start_graph_is_a_stateless_model_that_gives_the_cells() -> None:
    started = spec(caches=(KEPT, READ), longest=30, start=START).started()
    assert not started.stateful and started.chunk == Chunk(longest=7, whole=True)
    assert [(o.name, o.shape, o.time) for o in started.outputs] == [
        ("cross0.keys", (2, 4), True),
        ("cross0.values", (2, 4), True),
    ]
    with pytest.raises(ConfigurationError, match="m has no start graph"):
        spec().started()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"caches": (KEPT,)}, "longest: must be given where caches grow"),
        ({"longest": 30}, "longest: must be given where caches grow"),
        ({"caches": (KEPT, READ), "longest": 30}, "start: must be given where caches are filled"),
        ({"caches": (KEPT,), "longest": 30, "start": START}, "start: must be given where caches are filled"),
        ({"caches": (KEPT, KEPT), "longest": 30}, "caches: names must differ"),
        ({"generation": Generation(output="y")}, "generation: a model that writes on has one input"),
        ({"inputs": (TOKENS_IN,), "generation": Generation(output="y")}, "generation: y is no output of 9 logits"),
        (
            {"inputs": (TOKENS_IN,), "outputs": (LOGITS,), "generation": Generation(output="y", end=9)},
            r"generation: begin and end lie in \[0, 9\)",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec(**changes)


def test_a_window_bounds_a_cache_instead_of_the_longest_sequence() -> None:
    assert spec(caches=(KEPT.model_copy(update={"window": 8}),)).longest is None
    with pytest.raises(ValidationError, match="a filled cache does not grow"):
        Cache(name="cross0", heads=2, width=4, filled=True, window=8)
