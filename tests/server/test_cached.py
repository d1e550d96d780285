"""A lane of a model with caches: what it asks of its engine, here a stand-in, and what bounds its sequences."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from headrace.errors import (
    AlreadyExists,
    HeadraceError,
    InvalidInput,
    ModelFailed,
    Overloaded,
    SequenceFull,
    UnknownSequence,
)
from headrace.server.budget import Budget, cell_bytes
from headrace.server.commands import Close, Command, Fork, Mode, Open, Step
from headrace.server.lane import Lane
from headrace.server.limits import Limits
from headrace.server.steps import NEVER_AGAIN, Closed, Failed, Opened, Stepped
from headrace.spec import Cache, Input, ModelSpec, Start

from .fakes import CUT_SUM, Clock, Heard, SumEngine, admit, steps, sum_lane

LONGEST = 12
GROWS, READ = Cache(name="grows", heads=1, width=2), Cache(name="read", heads=1, width=1, filled=True)
CACHED = CUT_SUM.model_copy(update={"caches": (GROWS,), "longest": LONGEST})
STARTED = CACHED.model_copy(
    update={
        "caches": (GROWS, READ),
        "start": Start(inputs=(Input(name="source", dtype="int64", vocabulary=20),), longest=6),
    }
)
LIMITS = Limits(rows=3, tokens=4, sequences=6, idle=60.0, part=2, few=0)


@dataclass
class Bench:
    """The model refuses the value 13; of it as a source too."""

    spec: ModelSpec = CACHED
    limits: Limits = LIMITS
    sink: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.engine = SumEngine(self.limits.slots, refuse=lambda row: bool((row == 13).any()))
        self.lane: Lane = sum_lane(Clock(), spec=self.spec, engine=self.engine, limits=self.limits)

    def post(self, *commands: Command) -> None:
        admit(self.lane, *commands)

    def open(self, *keys: int, source: list[int] | None = None) -> None:
        self.post(*(opening(self.sink, key, source) for key in keys))

    def send(self, *rows: tuple[int, int, list[float]]) -> None:
        self.post(Step(steps(self.sink, rows, acked=[0] * len(rows))))

    def finish(self) -> None:
        while self.lane.state.busy:
            self.lane.tick()
        self.lane.admit(wait=False)

    def last(self) -> list[float]:
        """What was answered last of each step."""
        return [y for a in self.sink.take() if isinstance(a, Stepped) for y in a.outputs[1][:, 0].tolist()]

    def errors(self) -> list[tuple[int | None, type[HeadraceError]]]:
        return [(a.key, type(a.error)) for a in self.sink.take() if isinstance(a, Failed)]


def opening(sink: Heard, key: int, source: list[int] | None = None, mode: Mode = Mode.FRESH) -> Open:
    given = () if source is None else (np.array(source, np.int64),)
    return Open(sink, key, ("", f"s{key}"), mode, 7, given)


def fork(sink: Heard, key: int, *keys: int) -> Fork:
    return Fork(sink, ("", f"s{key}"), keys, tuple(("", f"s{key}") for key in keys), 7)


def test_every_row_says_how_much_its_sequence_has_behind_it() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.send((1, 0, [1, 1, 1, 1, 1]), (2, 0, [1]))
    bench.finish()
    bench.send((2, 1, [1]))
    bench.finish()
    grown = [batch.grown for batch in bench.engine.batches]
    told = [list(zip(g.numbers.tolist(), g.past.tolist(), strict=True)) for g in grown if g is not None]
    assert told == [[(1, 0), (0, 0)], [(0, 2)], [(0, 4)], [(1, 1)]]


def test_a_long_prompt_stalls_no_one_who_goes_on_step_by_step() -> None:
    bench = Bench(limits=replace(LIMITS, rows=4))
    bench.open(1, 2, 3, 4, 5)
    bench.send((1, 0, [1.0] * 11), (4, 0, [1.0]), (5, 0, [1.0]))
    bench.lane.tick()
    bench.send((2, 0, [1.0] * 11))  # as much as the budget of prompts takes …
    bench.send((3, 0, [1.0] * 3))  # … so that a third one waits …
    bench.sink.take()
    for position in range(1, 4):
        bench.send((4, position, [1.0]), (5, position, [1.0]))  # … but nobody behind it
        bench.lane.tick()
        assert bench.last() == [position + 1] * 2
    parts = [batch.lengths.tolist() for batch in bench.engine.batches]
    assert parts == [[1, 1, 2]] + [[1, 1, 2, 2]] * 3
    bench.finish()
    assert sorted(bench.last()) == [3, 11, 11]


def test_where_prompts_are_the_most_more_of_them_are_read_at_once() -> None:
    bench = Bench(limits=replace(LIMITS, rows=6))
    bench.open(1, 2, 3, 4, 5)
    bench.send(*((key, 0, [1.0] * 4) for key in (1, 2, 3, 4)), (5, 0, [1.0]))
    bench.lane.tick()
    assert [batch.lengths.tolist() for batch in bench.engine.batches] == [[1, 2, 2, 2, 2]]


def test_who_asks_for_the_last_outputs_alone_gets_no_more_and_others_all_though_a_row_fails() -> None:
    bench = Bench(limits=replace(LIMITS, rows=4, tokens=64))
    bench.open(1, 2, 3, 4)
    asked = steps(bench.sink, [(1, 0, [1.0] * 5), (2, 0, [1.0, 1, 13]), (3, 0, [2.0])], acked=[NEVER_AGAIN] * 3)
    bench.post(Step(replace(asked, last_only=True)))
    bench.send((4, 0, [1.0] * 3))
    bench.finish()
    answers = [a for a in bench.sink.take() if isinstance(a, Stepped | Failed)]
    found = {key: a.outputs[0][:, 0].tolist() for a in answers if isinstance(a, Stepped) for key in a.keys.tolist()}
    assert found == {3: [2], 4: [1, 2, 3], 1: [5]}
    assert [a.key for a in answers if isinstance(a, Failed)] == [2]
    given = [np.zeros(0) if batch.asked is None else batch.asked for batch in bench.engine.batches]
    assert max(map(np.sum, given)) <= 3  # of two parts of prompts nothing, of the others' last ones 1


def test_a_prompt_beyond_every_budget_runs_alone_all_the_same() -> None:
    bench = Bench(limits=Limits(rows=3, tokens=1, sequences=6, part=4, few=0))
    bench.open(1, 2)
    bench.send((1, 0, [1.0] * 9), (2, 0, [1.0] * 9))
    bench.finish()
    assert bench.last() == [9, 9]


def test_a_full_sequence_is_its_own_row_s_error() -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.send((1, 0, [1.0] * 11))
    bench.finish()
    bench.send((1, 11, [1, 1]), (2, 0, [1]))
    bench.finish()
    assert [type(a) for a in bench.sink.take()] == [Opened, Opened, Stepped, Failed, Stepped]
    bench.send((1, 11, [1]))
    bench.finish()
    assert bench.last() == [12]
    bench.send((1, 12, [1]))
    assert bench.errors() == [(1, SequenceFull)]


def test_cells_are_asked_for_at_admission_and_given_back_with_the_sequence() -> None:
    bench = Bench(limits=Limits(rows=3, tokens=4, sequences=6, part=2, few=0, cache_bytes=10 * cell_bytes(GROWS)))
    bench.open(1, 2)
    bench.send((1, 0, [1.0] * 6), (2, 0, [1.0] * 5))
    bench.finish()
    assert bench.errors() == [(2, Overloaded)]
    bench.send((2, 0, [1.0] * 4))
    bench.post(Close(bench.sink, (1,)))
    bench.finish()
    assert bench.engine.forgotten == [0] and bench.lane.state.budget.total == 4 * cell_bytes(GROWS)
    bench.send((2, 4, [1.0] * 6))
    bench.finish()
    assert not bench.errors()


def test_what_is_not_applied_holds_no_cells() -> None:
    bench = Bench()
    bench.open(1)
    bench.send((1, 0, [1.0, 13.0]), (1, 2, [1.0] * 5))
    bench.finish()
    assert next(kind for _, kind in bench.errors()) is ModelFailed
    assert not bench.lane.state.budget.total


def test_a_fork_goes_on_from_where_its_source_stands() -> None:
    bench = Bench()
    bench.open(1)
    bench.send((1, 0, [1.0, 2.0]))
    bench.finish()
    bench.post(fork(bench.sink, 1, 5, 6))
    opened = [a for a in bench.sink.take() if isinstance(a, Opened) and a.key > 1]
    assert [(a.key, a.position) for a in opened] == [(5, 2), (6, 2)]
    bench.send((1, 2, [10]), (5, 2, [20]), (6, 2, [30]))
    bench.finish()
    assert bench.last() == [13, 23, 33]
    assert bench.lane.state.budget.total == 9 * cell_bytes(GROWS)


def test_a_fork_of_a_fresh_sequence_is_fresh() -> None:
    bench = Bench()
    bench.open(1)
    bench.post(fork(bench.sink, 1, 5))
    bench.send((5, 0, [2]))
    bench.finish()
    assert bench.last() == [2]


def test_a_fork_during_a_long_step_awaits_it() -> None:
    bench = Bench()
    bench.open(1)
    bench.send((1, 0, [1.0] * 5))
    bench.lane.tick()
    bench.post(fork(bench.sink, 1, 5))
    assert bench.sink.take()[-1] == Opened(5, "1", 5, resumed=False)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (fork(Heard(), 9, 5), UnknownSequence),
        (fork(Heard(), 1, 2), AlreadyExists),
        (fork(Heard(), 1, 5, 5), AlreadyExists),
        (fork(Heard(), 1, 5, 6, 7, 8, 9), Overloaded),
        (fork(Heard(), 1, 5, 1 << 20), InvalidInput),
    ],
)
def test_a_fork_that_cannot_be_leaves_nothing(command: Fork, error: type[HeadraceError]) -> None:
    bench = Bench()
    bench.open(1, 2)
    bench.send((1, 0, [1.0]))
    bench.finish()
    free, live = len(bench.lane.state.slots), len(bench.lane.state.sequences)
    bench.post(command)
    heard = command.sink
    assert isinstance(heard, Heard)
    assert [(a.key, type(a.error)) for a in heard.take() if isinstance(a, Failed)] == [(k, error) for k in command.keys]
    assert (len(bench.lane.state.slots), len(bench.lane.state.sequences)) == (free, live)


@pytest.mark.parametrize("last", ["n0", "s2"])
def test_a_fork_of_very_many_compares_no_id_with_all_the_others(last: str) -> None:
    compared = []

    class Id(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

    bench, count = Bench(), 500
    bench.open(2)
    names = (*(("", Id(f"n{number}")) for number in range(count)), ("", last))
    keys = tuple(range(10, 11 + count))
    bench.post(Fork(bench.sink, ("", "s2"), keys, names, 7))
    assert bench.errors() == [(key, AlreadyExists) for key in keys]
    assert len(compared) < 2 * count


def test_a_fork_without_cells_or_that_the_engine_refuses_leaves_nothing() -> None:
    @dataclass
    class Refusing(SumEngine):
        error: Exception = field(default_factory=lambda: ModelFailed("scripted"))

        def fork(self, *_: object) -> None:
            raise self.error

    lacking = Bench(limits=Limits(rows=3, tokens=4, sequences=6, part=2, few=0, cache_bytes=5 * cell_bytes(GROWS)))
    refused, faulty = Bench(), Bench()
    refused.lane = sum_lane(Clock(), spec=CACHED, engine=Refusing(LIMITS.slots), limits=LIMITS)
    without_memory = Refusing(LIMITS.slots, error=MemoryError("scripted"))
    faulty.lane = sum_lane(Clock(), spec=CACHED, engine=without_memory, limits=LIMITS)
    for bench, error in ((lacking, Overloaded), (refused, ModelFailed), (faulty, ModelFailed)):
        bench.open(1)
        bench.send((1, 0, [1.0] * 3))
        bench.finish()
        free = len(bench.lane.state.slots)
        bench.post(fork(bench.sink, 1, 5))
        assert bench.errors() == [(5, error)]
        assert (len(bench.lane.state.slots), len(bench.lane.state.sequences)) == (free, 1)
        assert bench.lane.state.budget.total == 3 * cell_bytes(GROWS)


def test_sources_are_read_together_and_steps_wait_for_them() -> None:
    bench = Bench(STARTED)
    bench.open(1, source=[1, 2])
    bench.open(2, source=[3])
    bench.send((1, 0, [1.0]), (2, 0, [1.0]))
    assert not bench.engine.sources
    bench.finish()
    assert bench.engine.sources == {0: 3.0, 1: 3.0} and bench.last() == [1, 1]
    bench.post(fork(bench.sink, 1, 5))
    assert bench.engine.sources[2] == 3.0
    bench.post(Close(bench.sink, (1, 5)))
    assert set(bench.engine.sources) == {1} and Closed((5,)) in bench.sink.take()
    assert bench.lane.state.budget.total == cell_bytes(READ) + cell_bytes(GROWS)


def test_a_source_that_cannot_be_read_ends_its_sequence_and_no_other() -> None:
    bench = Bench(STARTED)
    bench.open(1, source=[13])
    bench.open(2, source=[3])
    bench.send((1, 0, [1.0]), (2, 0, [1.0]))
    bench.finish()
    answers = bench.sink.take()
    failed = [(a.key, a.position, type(a.error)) for a in answers if isinstance(a, Failed)]
    assert failed == [(1, 0, ModelFailed), (1, None, ModelFailed)]
    assert [a.keys.tolist() for a in answers if isinstance(a, Stepped)] == [[2]]
    assert len(bench.lane.state.sequences) == 1


def test_who_takes_over_before_the_source_is_read_waits_for_it() -> None:
    bench, other = Bench(STARTED), Heard()
    bench.open(1, source=[1])
    bench.send((1, 0, [1.0]))
    bench.post(opening(other, 1, mode=Mode.RESUME))
    assert other.take() == [Opened(1, "1", 0, resumed=True)]
    bench.post(Step(steps(other, [(1, 0, [5.0])])))
    bench.finish()
    assert isinstance(other.take()[0], Stepped)


@pytest.mark.parametrize("source", [None, [], [1] * 7, [20], [-1]])
def test_a_sequence_begins_with_a_right_source(source: list[int] | None) -> None:
    bench = Bench(STARTED)
    bench.open(1, source=source)
    assert bench.errors() == [(1, InvalidInput)] and not len(bench.lane.state.sequences)


def test_a_model_without_start_graph_takes_no_source() -> None:
    bench = Bench()
    bench.open(1, source=[1])
    assert bench.errors() == [(1, InvalidInput)]


def test_a_window_holds_no_more_cells_than_it_needs() -> None:
    window = GROWS.model_copy(update={"window": 8})
    budget = Budget(CACHED.model_copy(update={"caches": (window,), "longest": None}), 2, 40 * cell_bytes(window))
    one, other = np.array([0]), np.array([1])
    needed = 8 - 1 + CACHED.chunk.longest  # a step that fails is taken back whole
    assert budget.grow(one, np.array([5])).all() and budget.grow(one, np.array([1000])).all()
    assert budget.total == needed * cell_bytes(window)
    assert budget.grow(other, np.array([8])).all()
    budget.drop(0)
    budget.drop(1)
    assert not budget.total


def test_all_or_none_of_some_sequences_may_grow() -> None:
    budget, numbers = Budget(CACHED, 3, 7 * cell_bytes(GROWS)), np.arange(3)
    assert budget.grow_all(numbers, np.array([2, 2, 2])) and not budget.grow_all(numbers, np.array([3, 3, 3]))
    assert budget.total == 6 * cell_bytes(GROWS) and budget.grow_all(numbers[:1], np.array([3]))
    assert budget.total == budget.most
