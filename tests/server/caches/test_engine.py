"""Sequences that come, go, fork, fail and wait in any order give what each gives alone and whole."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from headrace.errors import ConfigurationError, ModelFailed
from headrace.server.batch import Batch, Grown
from headrace.server.caches.engine import CachedEngine

from ...export.decoders import (
    decoder,
    decoder_graph,
    start_graph,
    translator,
    translator_graph,
    translator_loop,
    windowed,
    windowed_graph,
)
from ...export.test_caches import alone
from .driven import TOLERANCE, Driven
from .graphs import CHUNK, FEATURES, LONGEST, Case

CASES = {
    "heads": Case(),
    "grouped": Case(heads=4, kv_heads=2),
    "window": Case(heads=8, kv_heads=4, width=16, window=5),
    "carried": Case(carried=True),
    "cross": Case(heads=4, kv_heads=2, cross=True),
    "turned": Case(width=16, turned=True),
    "turned window": Case(width=16, turned=True, window=5),
    "turned, narrow": Case(turned=True),
    "fed": Case(fed=True, carried=True),
    "turned, fed": Case(width=16, turned=True, fed=True),
    "cross, fed": Case(cross=True, fed=True),
}
QUICK = settings(max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


class Machine(RuleBasedStateMachine):
    """2 rows in a batch, so 4 hot rows, for up to 12 sequences. NaN stands wherever a tick wrote in vain."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.driven = Driven(case)
        for number in range(4):
            self.driven.open(number)
        self.driven.spoil(dict.fromkeys(range(4), CHUNK))
        for number in range(3):
            self.driven.close(number)
        self.driven.tick({3: 1})

    @precondition(lambda self: len(self.driven.texts) < self.driven.numbers)
    @rule()
    def open(self) -> None:
        self.driven.open(self.unused()[0])

    @precondition(lambda self: self.driven.texts)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.driven.close(data.draw(self.one()))

    @precondition(lambda self: self.driven.texts)
    @rule(data=st.data(), fails=st.sampled_from(["not", "not", "not", "unsound", "refused"]))
    def tick(self, data: st.DataObject, fails: str) -> None:
        """A tick that fails is run again, with other tokens."""
        some = data.draw(st.lists(self.one(), min_size=1, max_size=4, unique=True))
        lengths = {number: data.draw(self.lengths(number)) for number in some}
        if fails == "unsound":
            assert not self.driven.spoil(lengths).sound.any() or self.driven.case.cross
        if fails == "refused":
            with pytest.raises(ModelFailed, match="refused"):
                self.driven.engine.run(wrong(self.driven.batch(self.driven.draw(lengths))))
        asked = {number: data.draw(st.sampled_from([length, 1, 0])) for number, length in lengths.items()}
        self.driven.tick(lengths, data.draw(st.sampled_from([None, asked])))

    @precondition(lambda self: self.driven.texts)
    @rule(data=st.data(), count=st.integers(1, 6))
    def walk(self, data: st.DataObject, count: int) -> None:
        some = data.draw(st.lists(self.one(), min_size=1, max_size=4, unique=True))
        for number in some:
            self.lengths(number)
        self.driven.walk(some, count)

    @precondition(lambda self: self.driven.texts and len(self.driven.texts) < self.driven.numbers - 1)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        self.driven.fork(data.draw(self.one()), self.unused()[:2])

    def teardown(self) -> None:
        engine, case = self.driven.engine, self.driven.case
        cells = sum(len(text) for text in self.driven.texts.values())
        if not case.window and not case.cross:
            assert engine.bytes == cells * engine.cell_bytes
        engine.forget(np.array(list(self.driven.texts), np.int64))
        assert engine.bytes == 0

    def one(self) -> st.SearchStrategy[int]:
        return st.sampled_from(sorted(self.driven.texts))

    def lengths(self, number: int) -> st.SearchStrategy[int]:
        spec = self.driven.case.spec
        room = CHUNK if spec.longest is None else min(CHUNK, LONGEST - len(self.driven.texts[number]))
        if not room:  # it is full: another one under its number
            self.driven.close(number)
            self.driven.open(number)
        return st.one_of(st.just(1), st.integers(1, room or CHUNK))

    def unused(self) -> list[int]:
        return [number for number in range(self.driven.numbers) if number not in self.driven.texts]


def wrong(batch: Batch) -> Batch:
    """Its cells have been made room for, then the runtime refuses its values."""
    return Batch((batch.values[0][:, 1:],), batch.lengths, batch.read, batch.write, batch.fresh, batch.grown)


@pytest.mark.parametrize("name", CASES)
def test_any_history_gives_what_each_sequence_gives_alone(name: str) -> None:
    run_state_machine_as_test(lambda: Machine(CASES[name]), settings=QUICK)


@pytest.mark.parametrize("chunk", [1, 3, CHUNK])
def test_a_window_slides_for_ever(chunk: int) -> None:
    driven = Driven(CASES["window"])
    driven.open(0)
    driven.open(1)
    for _ in range(120 // chunk):
        driven.tick({0: chunk, 1: 1})
    assert driven.engine.bytes <= 2 * 32 * driven.engine.cell_bytes


def test_a_step_that_is_taken_back_finds_what_its_window_has_left() -> None:
    """Its parts slide the window; then all of it is run anew."""
    driven = Driven(CASES["window"])
    driven.open(0)
    for _ in range(30):
        driven.tick({0: 3})
        numbers, past = np.zeros(1, np.int64), np.array([len(driven.texts[0])])
        for part in range(CHUNK):
            batch = driven.batch(driven.draw({0: 1}))
            driven.engine.run(Batch(batch.values, *columns(batch), Grown(numbers, past + part)))


def columns(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return batch.lengths, batch.read, batch.write, batch.fresh


@cache
def engine_of(name: str) -> CachedEngine:
    """Of a model as it is exported."""
    if name == "translator":
        spec = translator().describe(name)
        return CachedEngine(translator_graph(), spec, 8, "CPU", rows=2, start=start_graph())
    model, graph = (decoder(), decoder_graph()) if name == "decoder" else (windowed(), windowed_graph())
    return CachedEngine(graph, model.describe(name), 8, "CPU", rows=2)


@pytest.mark.parametrize("name", ["decoder", "windowed", "translator"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_model_gives_the_same_however_it_is_cut(name: str, data: st.DataObject) -> None:
    """Beside another sequence, whose steps come in other ticks."""
    engine, rng = engine_of(name), np.random.default_rng(0)
    engine.forget(np.arange(2))
    texts, source = rng.integers(0, 4, (2, 24)), rng.integers(0, 5, 9)
    if name == "translator":
        engine.begin(np.arange(2), (np.concatenate([source, source]),), np.array([9, 9]))
    done, got = np.zeros(2, np.int64), [np.zeros((0, 1), np.float32)] * 2
    while unfinished := [n for n in range(2) if done[n] < 24]:
        some = data.draw(st.lists(st.sampled_from(unfinished), min_size=1, unique=True))
        counts = np.array([data.draw(st.integers(1, min(9, 24 - int(done[n])))) for n in some])
        tokens = np.concatenate([texts[n, done[n] :][:count] for n, count in zip(some, counts, strict=True)])
        y = engine.run(batch(tokens, counts, np.array(some), done[some])).outputs.cells[0]
        for n, part in zip(some, np.split(y, np.cumsum(counts)[:-1]), strict=True):
            got[n] = np.concatenate([got[n], part]) if len(got[n]) else part
        done[some] += counts
    for logits, text in zip(got, texts, strict=True):
        want = translator_loop().begin([source]).step([text]) if name == "translator" else eager(name, text)
        np.testing.assert_allclose(logits, want, atol=TOLERANCE * np.abs(want).max())


def eager(name: str, text: np.ndarray) -> np.ndarray:
    return alone(text, decoder() if name == "decoder" else windowed())


def batch(tokens: np.ndarray, lengths: np.ndarray, numbers: np.ndarray, past: np.ndarray) -> Batch:
    """Of a model without carried states."""
    none = 0 * numbers
    return Batch((tokens,), lengths, none, none, none > 0, Grown(numbers, past))


@pytest.mark.parametrize("count", [1, 4], ids=["one token", "a chunk"])
def test_one_row_alone_goes_on_from_its_past(count: int) -> None:
    """The operator takes several tokens of a row with a past in a batch of one only: chunks must not go by it."""
    driven = Driven(Case())
    driven.open(0)
    driven.tick({0: CHUNK})
    driven.tick({0: count})


def test_a_chunk_attends_under_a_mask_of_its_own_beside_others() -> None:
    """Masks with one query, which the standard operator does not repeat, and with several, of other pasts."""
    driven = Driven(Case(heads=4, kv_heads=2))
    driven.open(0)
    driven.open(1)
    driven.tick({0: 5})
    driven.tick({0: 1, 1: 4})
    driven.tick({1: 2, 0: 7})


def test_cells_that_are_not_valid_are_never_read() -> None:
    """All of both rows is not finite before; the operator reads keys in blocks."""
    driven = Driven(Case(width=64, longest=600))
    driven.open(0)
    driven.open(1)
    assert not driven.spoil({0: 600, 1: 600}).sound.any()
    for _ in range(8):
        driven.tick({0: CHUNK, 1: 1})
        driven.tick({0: 1})
    driven.tick({0: 1, 1: 200})


@pytest.mark.parametrize("case", [Case(), Case(fed=True)], ids=["gathered last", "gathered before"])
def test_of_a_prompt_the_last_token_alone_may_be_asked_for_and_nothing_of_its_parts(case: Case) -> None:
    driven = Driven(case, rows=3)
    for number in range(4):
        driven.open(number)
    driven.tick({0: 5, 1: 3}, {0: 0, 1: 0})
    driven.tick({3: 4, 0: 7, 1: 1, 2: 1}, {3: 4, 0: 1, 1: 0, 2: 1})
    driven.tick({1: 1, 2: 1}, {1: 0, 2: 1})
    driven.tick({1: 1, 0: 1}, {1: 0, 0: 0})


def test_rows_come_in_any_order() -> None:
    driven = Driven(Case(carried=True), rows=3)
    for number in range(5):
        driven.open(number)
    driven.tick({4: 1, 0: 3, 2: 1, 3: 2, 1: 1})
    driven.tick({1: 1, 2: 1, 0: 1, 4: 1, 3: 1})
    driven.tick({3: 1, 1: 4})


def test_a_row_that_is_not_finite_fails_alone() -> None:
    driven = Driven(Case(), rows=3)
    for number in range(4):
        driven.open(number)
    steps = driven.draw({0: 1, 1: 1, 2: 3, 3: 2})
    steps[1][:], steps[2][1] = np.nan, np.inf
    outcome = driven.engine.run(driven.batch(steps))
    assert outcome.sound.tolist() == [True, False, False, True]
    want = driven.case.truth(steps[3])
    np.testing.assert_allclose(outcome.outputs.cells[0][-2:], want, atol=TOLERANCE, rtol=TOLERANCE)


def test_large_cells_are_sound() -> None:
    """Their sum is not finite."""
    driven = Driven(Case())
    driven.open(0)
    steps = driven.draw({0: 2})
    steps[0] *= 1e38 / np.abs(steps[0] @ driven.case.weights["k"]).max()
    steps[0][1] = steps[0][0]
    largest = 3e38 / max(np.abs(steps[0] @ driven.case.weights[name]).max() for name in "kv")
    assert driven.engine.run(driven.batch({0: steps[0] * np.float32(largest)})).sound.all()


def test_results_are_not_written_over_by_the_next_run() -> None:
    driven = Driven(Case())
    driven.open(0)
    kept = driven.tick({0: 1}).outputs.cells[0]
    before = kept.copy()
    driven.tick({0: 1})
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("name", ["heads", "window"])
def test_a_sequence_may_begin_anew(name: str) -> None:
    driven = Driven(CASES[name])
    driven.open(0)
    for _ in range(5):  # a window has slid by then
        driven.tick({0: CHUNK})
    driven.texts[0] = driven.texts[0][:0]
    driven.tick({0: 1})
    assert driven.engine.bytes == driven.engine.cell_bytes


def test_a_cell_is_a_key_and_a_value_of_each_head() -> None:
    assert Driven(Case(heads=4, kv_heads=2)).engine.cell_bytes == 2 * 4 * 2 * 8


def test_forks_have_a_source_and_cells_of_their_own() -> None:
    driven = Driven(Case(cross=True))
    driven.open(0)
    driven.fork(0, [1])  # before its first step
    driven.tick({0: 2, 1: 1})
    driven.fork(1, [2, 3])
    driven.close(1)
    driven.tick({2: 1, 3: 4})
    driven.tick({0: 1, 3: 1})


def test_more_cells_than_are_there_cannot_be_forked() -> None:
    driven = Driven(Case())
    driven.open(0)
    driven.tick({0: 2})
    with pytest.raises(ModelFailed, match="fewer cells"):
        driven.engine.fork(0, 0, 3, np.array([1]), np.array([2]))


def test_a_source_that_gives_no_finite_cells_begins_nothing() -> None:
    driven = Driven(Case(cross=True))
    source = driven.rng.standard_normal((7, FEATURES), np.float32)
    source[4] = np.nan
    sound = driven.engine.begin(np.arange(3), (source,), np.array([2, 3, 2]))
    assert sound.tolist() == [True, False, True]
    driven.texts |= dict.fromkeys(range(3), np.zeros((0, FEATURES), np.float32))
    driven.slot |= {number: 2 * number for number in range(3)}
    driven.sources |= {0: source[:2], 2: source[5:]}
    driven.tick({2: 1, 0: 2})
    with pytest.raises(ModelFailed, match="`begin` comes first"):
        driven.engine.run(driven.batch(driven.draw({1: 1})))


def test_sources_that_the_runtime_refuses_fail() -> None:
    with pytest.raises(ModelFailed, match="refused 1 sources"):
        Driven(Case(cross=True)).engine.begin(np.zeros(1, np.int64), (np.zeros((2, 1), np.float32),), np.array([2]))
    with pytest.raises(ModelFailed, match="no start graph"):
        Driven(Case()).engine.begin(np.zeros(1, np.int64), (), np.array([2]))


@pytest.mark.parametrize(
    ("past", "rows", "why"), [(3, 1, "fewer cells"), (0, 5, "5 rows wanted, 4 can be had")], ids=["ahead", "too many"]
)
def test_what_cannot_be_run_fails_and_harms_nobody(past: int, rows: int, why: str) -> None:
    driven = Driven(Case())
    driven.open(0)
    driven.tick({0: 2})
    numbers = np.arange(1, rows + 1)
    with pytest.raises(ModelFailed, match=why):
        driven.engine.run(batch(np.zeros((rows, FEATURES), np.float32), numbers * 0 + 1, numbers, numbers * 0 + past))
    driven.tick({0: 1})


@pytest.mark.parametrize("name", ["heads", "window"])
@pytest.mark.parametrize("past", [0, 1])
def test_more_cells_than_there_is_room_for_are_refused(past: int, name: str) -> None:
    driven = Driven(CASES[name])
    driven.open(0)
    if past:
        driven.tick({0: 1})
    with pytest.raises(ModelFailed, match="no room for 9"):
        driven.engine.run(driven.batch(driven.draw({0: 90})))


def test_a_batch_must_tell_how_far_its_rows_have_grown() -> None:
    driven, one = Driven(Case()), np.ones(1, np.int64)
    with pytest.raises(ModelFailed, match="how far its rows have grown"):
        driven.engine.run(Batch((np.zeros((1, FEATURES), np.float32),), one, one, one, one > 0))


def test_what_cannot_be_served_is_refused_at_load() -> None:
    case, cross = Case(), Case(cross=True)
    with pytest.raises(ConfigurationError, match="on the CPU for now"):
        CachedEngine(case.graph(), case.spec, 4, "CUDA", rows=1)
    with pytest.raises(ConfigurationError, match="the start graph must lie beside"):
        CachedEngine(cross.graph(), cross.spec, 4, "CPU", rows=1)
    narrow = Case(width=3)
    with pytest.raises(ConfigurationError, match="the runtime cannot"):
        CachedEngine(narrow.graph(), narrow.spec, 4, "CPU", rows=1)


def test_placement_tells_the_operators() -> None:
    assert "1 GroupQueryAttention" in Driven(Case()).engine.placement()
